"""Charts and the map as HTML and SVG: our own few lines, which need nothing and can be read aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from statistics import fmean

from pipeline.classes import LabelSet

_MAP_WIDTH, _MAP_HEIGHT, _MARGIN = 900.0, 460.0, 24.0
_EARTH = 6371008.8
"""Mean radius, metres."""
_LEAST_NAMED = 0.005
"""Share from which on a class is named where a bar is read aloud."""


def class_colour(labels: LabelSet, number: int) -> str:
    """A class's colour, for CSS."""
    red, green, blue = labels.palette[number]
    return f"#{red:02x}{green:02x}{blue:02x}"


def percent(share: float) -> str:
    """0.4213 -> "42.1 %"."""
    return f"{100 * share:.1f} %"


def shares_in_words(shares: Sequence[float], labels: LabelSet) -> str:
    """ "road 31.0 %, sky 20.4 %": the largest first, for people who do not see the bar."""
    named = [*labels.names, "not seen"]
    found = sorted(zip(shares, named, strict=True), reverse=True)
    return ", ".join(f"{name} {percent(share)}" for share, name in found if share >= _LEAST_NAMED)


def stacked_bar(shares: Sequence[float], labels: LabelSet) -> str:
    """All classes of one panorama in one bar."""
    colours = [*(class_colour(labels, number) for number in range(len(labels))), "#000000"]
    parts, left = list[str](), 0.0
    for share, colour, name in zip(shares, colours, [*labels.names, "not seen"], strict=True):
        if share >= 5e-4:
            parts.append(f'<rect x="{100 * left:.2f}" width="{100 * share:.2f}" height="10" fill="{colour}">'
                         f"<title>{escape(name)} {percent(share)}</title></rect>")  # fmt: skip
        left += share
    words = escape(shares_in_words(shares, labels))
    return (f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
            f'aria-label="Class shares: {words}"><g aria-hidden="true">{"".join(parts)}</g></svg>')  # fmt: skip


def bar_table(panoramas: Sequence[Sequence[float]], labels: LabelSet, title: str) -> str:
    """A table with a row per class, the largest first: name, a bar with its mean, lowest and highest figure.

    Args:
        panoramas: of each, the share per class and last what was not seen; at least one.
        labels: names and colours of the classes.
        title: what it shows.
    """
    shares = [fmean(column) for column in zip(*panoramas, strict=True)]
    ends = [f"{100 * min(column):.1f} to {percent(max(column))}" for column in zip(*panoramas, strict=True)]
    order, most = sorted(range(len(labels)), key=lambda number: -shares[number]), max(*shares[:-1], 1e-9)
    rows = [
        f'<tr><th scope="row">{escape(labels.names[number])}</th><td>'
        f'<span style="width:{60 * shares[number] / most:.1f}%;'
        f'background:{class_colour(labels, number)}"></span>{percent(shares[number])}</td><td>{ends[number]}</td></tr>'
        for number in order
    ]
    head = "".join(f'<th scope="col">{words}</th>' for words in ("class", "mean", "lowest to highest"))
    return (f'<table class="chart"><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table>')  # fmt: skip


def map_of(points: Sequence[tuple[int, float, float]], names: Sequence[str]) -> str:
    """Panoramas with a position, north up, without a background; the page colours the points.

    Args:
        points: (number of the panorama, latitude, longitude in degrees), at least one.
        names: of all panoramas.
    """
    placed = _metres(points)
    wide = max(x for _, x, _ in placed) - min(x for _, x, _ in placed)
    high = max(y for *_, y in placed) - min(y for *_, y in placed)
    inner = (_MAP_WIDTH - 2 * _MARGIN, _MAP_HEIGHT - 2 * _MARGIN)
    scale = min(inner[0] / max(wide, 20.0), inner[1] / max(high, 20.0))
    middle_x = min(x for _, x, _ in placed) + wide / 2
    middle_y = min(y for *_, y in placed) + high / 2
    circles = [
        f'<circle class="point" data-panorama="{number}" cx="{_MAP_WIDTH / 2 + scale * (x - middle_x):.1f}" '
        f'cy="{_MAP_HEIGHT / 2 - scale * (y - middle_y):.1f}" r="6" tabindex="0" role="link">'
        f"<title>{escape(names[number])}</title></circle>"
        for number, x, y in placed
    ]
    words = f"Positions of {len(placed)} panoramas, north up"
    return (f'<svg class="map" viewBox="0 0 {_MAP_WIDTH:.0f} {_MAP_HEIGHT:.0f}" role="group" aria-label="{words}">'
            f"{''.join(circles)}{_scale_bar(scale)}</svg>")  # fmt: skip


def _metres(points: Sequence[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """(Number, metres east, metres north): flat, true to scale at the middle latitude; no gap at the date line."""
    longitudes = [longitude for *_, longitude in points]
    wraps = max(longitudes) - min(longitudes) > 180
    latitude_0 = math.radians((max(lat for _, lat, _ in points) + min(lat for _, lat, _ in points)) / 2)
    degree = math.radians(1) * _EARTH
    return [
        (number, degree * math.cos(latitude_0) * (longitude % 360 if wraps else longitude), degree * latitude)
        for number, latitude, longitude in points
    ]


def _scale_bar(scale: float) -> str:
    """A bar of a round length, with that length in words."""
    longest = 200 / scale
    base = 10.0 ** math.floor(math.log10(longest))
    length = max(step * base for step in (1, 2, 5) if step * base <= longest)
    words = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    y = _MAP_HEIGHT - 14
    return (f'<path d="M16 {y - 5}v5h{scale * length:.1f}v-5" fill="none" stroke="currentColor"/>'
            f'<text x="20" y="{y - 8}">{words}</text>')  # fmt: skip
