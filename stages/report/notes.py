"""What a report lacks, and how to get it, a sentence each."""

from __future__ import annotations

import re
from html import escape

from stages.report.source import ReportSource


def notes_on(source: ReportSource) -> list[str]:
    """One sentence for each thing that the source has not, or not of every panorama."""
    total = len(source.panoramas)
    pictures = sum(panorama.picture is not None for panorama in source.panoramas)
    placed = sum(panorama.position is not None for panorama in source.panoramas)
    labelled, reliable, overlays = (source.count(folder) for folder in ("labels", "reliability", "overlays"))
    is_prediction = "labels" not in source.layer_names  # of which nobody knows what is reliable
    instead = "overlays are shown instead" if overlays else "the maps are shown alone"
    notes = [
        _lack("picture at hand", pictures, total, f"{instead}; --panoramas names the folder of the pictures"),
        _lack("label map", labelled, total, "`goodsam predict`, and `goodsam export` with --what labels, write them"),
        "" if is_prediction else _lack("map of what is reliable", reliable, total,
                                       "`goodsam export` with --what reliability writes it"),
        _lack("position", placed, total,
              "--positions of `goodsam predict`, `export` and the report of a run takes a table of them, for the map"),
    ]  # fmt: skip
    return [note for note in notes if note] + list(source.notes)


def _lack(what: str, there: int, total: int, remedy: str) -> str:
    """A sentence where some panoramas lack something; else empty."""
    if there == total:
        return ""
    missing = total - there
    some = f"{missing} of {total} panoramas {'has' if missing == 1 else 'have'} no {what}"
    who = some if there else f"No panorama has a {what}"
    return f"{who}: {remedy}."


def with_commands(text: str) -> str:
    """A sentence as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
