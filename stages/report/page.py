"""The report's page: HTML with all figures as text, which the scripts beside this file make sortable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pipeline.classes import LabelSet
from stages.ladder_chart import can_draw, chart_html
from stages.report.agreement import LABELS, Agreement
from stages.report.agreement_section import agreement_html
from stages.report.canvas import KINDS, LAYER_NAMES, NUMBER_COLOURS
from stages.report.charts import bar_table, class_colour, map_of, percent, stacked_bar
from stages.report.notes import with_commands
from stages.report.share_chart import LEAST_PANORAMAS, share_svg
from stages.report.source import ReportSource, SourcePanorama
from stages.tables import LARGEST

FOLDER = Path(__file__).parent
GENERATOR = "goodsam report"
SCRIPTS = ("page.js", "sphere.js", "viewer.js")
FIGURES: Mapping[str, str] = {
    "doubt": "doubt", "green_view_index": "green view index", "sky_view_factor": "sky view factor", "seen": "seen",
    LARGEST: "largest class", "time": "time", "latitude": "latitude", "longitude": "longitude",
    "altitude": "altitude, m", "heading": "heading, degrees",
}  # fmt: skip
"""Columns of the table that a card shows, and what they are called there."""
SORTABLE = ("doubt", "green_view_index", "sky_view_factor", "latitude")
"""Columns that the scripts sort by, or colour the map by."""
_DIFFERS = "differs-"
"""Begins the scripts' names of differences."""
_SHARES = ("doubt", "green_view_index", "sky_view_factor", "seen")
"""Columns that are shown as per cent."""


@dataclass(frozen=True)
class PageParts:
    """What the page has besides the source's tables."""

    thumbnails: Sequence[str]
    """URL of every panorama's thumbnail; empty where it could not be made."""
    scripts: Sequence[str]
    """URL of every panorama's layers, or the id of the element that has them; empty for none."""
    notes: Sequence[str]
    """What is missing and how to get it, a sentence each."""
    evaluation: str = ""
    """HTML on what was measured; empty for nothing."""
    embedded: str = ""
    """HTML of the layers, where the page is a single file."""
    agreements: Sequence[Agreement] = ()
    """How far the label maps of every panorama agree; empty where nothing was compared."""

    @property
    def compared(self) -> list[str]:
        """Layers that were compared with the labels or the truth, in the order of the viewer."""
        found = {key for own in self.agreements for key in (*own.differs, *own.truth) if key != LABELS}
        return [key for key in KINDS if key in found] + sorted(found - KINDS.keys())


def page_html(source: ReportSource, parts: PageParts) -> str:
    """The page as a whole."""
    names = _readable([panorama.id for panorama in source.panoramas])
    points = [(number, *panorama.position) for number, panorama in enumerate(source.panoramas) if panorama.position]
    shares = [panorama.shares for panorama in source.panoramas]
    values = {
        "generator": GENERATOR,
        "title": escape(_clean(source.title)),
        "style": _text("page.css"),
        "count": f"{len(names)} panorama{'s' if len(names) != 1 else ''}{_made_by(source)}",
        "notes": "".join(f"<li>{with_commands(_clean(note))}</li>" for note in parts.notes),
        "evaluation": parts.evaluation,
        "agreement": agreement_html(parts.agreements, parts.compared, layer_names(source),
                                    is_measured=bool(parts.evaluation)),
        "differences": "".join(f'<option value="{_DIFFERS}{key}">{escape(title)}</option>'
                               for key, title in _differences(source, parts).items()),
        "chart": bar_table(shares, source.labels, "By solid angle, over all panoramas"),
        "spread": _spread(shares, source.labels),
        "map": map_of(points, names) if points else "",
        "map_hidden": "" if points else "hidden",
        "by_place": '<option value="latitude">place, north first</option>' if points else "",
        "options": "".join(f'<option value="{number}">{escape(name)}</option>'
                           for number, name in enumerate(source.labels.names)),
        "cards": "\n".join(_card(number, panorama, names[number], source, parts)
                           for number, panorama in enumerate(source.panoramas)),
        "data": json_in_html(_data(source, names, parts)),
        "embedded": parts.embedded,
        "scripts": "\n".join(_text(name) for name in SCRIPTS),
    }  # fmt: skip
    # One pass over the template: what is filled in is never searched for places itself.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _text("page.html"))


def _made_by(source: ReportSource) -> str:
    return f", mapped by {escape(_clean(source.made_by))}" if source.made_by else ""


def json_in_html(value: object) -> str:
    """JSON inside a script element, which no text in it can end."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _spread(shares: Sequence[Sequence[float]], labels: LabelSet) -> str:
    """A chart of the shares, where it says something and can be drawn: the table has its ends."""
    if len(shares) < LEAST_PANORAMAS or not can_draw():
        return ""
    return chart_html(share_svg(shares, labels), "The table above as a chart, with the median and the middle half")


def _data(source: ReportSource, names: Sequence[str], parts: PageParts) -> dict[str, Any]:
    """What the scripts need, as values for JSON."""
    panoramas = [
        {
            "name": names[number],
            "script": parts.scripts[number],
            "shares": [round(share, 4) for share in panorama.shares],
            **{column: panorama.number(column) for column in SORTABLE},
            **{f"{_DIFFERS}{key}": _rounded(_agreement(parts, number).differs.get(key)) for key in parts.compared},
        }
        for number, panorama in enumerate(source.panoramas)
    ]
    return {
        "classes": source.labels.names,
        "colours": [class_colour(source.labels, number) for number in range(len(source.labels))],
        "layerNames": layer_names(source),
        "numberColours": NUMBER_COLOURS,
        "panoramas": panoramas,
    }


def _card(number: int, panorama: SourcePanorama, name: str, source: ReportSource, parts: PageParts) -> str:
    """One panorama of the gallery."""
    what = f"{'Look around in' if parts.scripts[number] else 'Panorama'} {name}"
    picture = (f'<img src="{parts.thumbnails[number]}" alt="{escape(what)}" width="256" loading="lazy">'
               if parts.thumbnails[number] else '<span class="nothing">no picture</span>')  # fmt: skip
    look = f'<a href="#view={number}" class="look">{picture}</a>' if parts.scripts[number] else picture
    differs = _agreement(parts, number).differs
    known = {title: percent(differs[key]) for key, title in _differences(source, parts).items() if key in differs}
    known |= {title: text for column, title in FIGURES.items() if (text := _figure(panorama, column))}
    figures = "".join(f"<div><dt>{escape(title)}</dt><dd>{escape(text)}</dd></div>" for title, text in known.items())
    return (f'<li class="card" id="panorama-{number}" data-panorama="{number}">{look}<h3>{escape(name)}</h3>'
            f"{stacked_bar(panorama.shares, source.labels)}<dl>{figures}</dl></li>")  # fmt: skip


def layer_names(source: ReportSource) -> dict[str, str]:
    """What layers are called."""
    return {key: _clean(name) for key, name in {**LAYER_NAMES, **source.layer_names}.items()}


def _differences(source: ReportSource, parts: PageParts) -> dict[str, str]:
    """Layers whose difference from the labels is known of a panorama, and what that figure is called."""
    names, known = layer_names(source), {key for own in parts.agreements for key in own.differs}
    return {key: f"differs from {names[key]}" for key in parts.compared if key in known}


def _agreement(parts: PageParts, number: int) -> Agreement:
    return parts.agreements[number] if parts.agreements else Agreement()


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _figure(panorama: SourcePanorama, column: str) -> str:
    """A figure for people; empty where nothing is known."""
    value = panorama.figures.get(column, "")
    if column == "time":
        return value.replace("T", " ")
    return percent(float(value)) if value and column in _SHARES else value


def _readable(names: Sequence[str]) -> list[str]:
    """Names as a page can have them: file names need not be UTF-8."""
    return [_clean(name) for name in names]


def _clean(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
