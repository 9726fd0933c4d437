"""Tables beside label maps, from what was noted of each panorama; prediction and export share them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.classes import LabelSet
from pipeline.errors import counted, first_few
from pipeline.panorama.capture import Capture
from stages.files import write_whole
from stages.positions import Positions
from stages.tables import TABLE_FILES, PanoramaRow, write_tables

TABLES = ("class_shares.csv", *TABLE_FILES)
"""Files that are written anew with every prediction or export."""


def row_of_notes(panorama_id: str, notes: Mapping[str, Any], positions: Positions | None) -> PanoramaRow:
    """The row of a panorama from its notes (`map_files.map_facts`); positions of a table go before those of its tags.

    Raises:
        KeyError, TypeError: they are no such notes.
    """
    capture = Capture(**notes["capture"])
    capture = positions.of(panorama_id, capture) if positions else capture
    return PanoramaRow(notes["file"], capture, notes["seen"], tuple(notes["shares"]), notes["sky_view_factor"],
                       notes["doubt"], notes.get("vertical_fov"))  # fmt: skip


def write_map_tables(out: Path, rows: Mapping[str, PanoramaRow], labels: LabelSet) -> None:
    """Write class_shares.csv and all of `tables` into a folder.

    Args:
        out: the folder.
        rows: by the panoramas' ids.
        labels: names and colours of the classes.

    Raises:
        CacheError: a file cannot be written.
    """
    _write_shares(out, rows, labels)
    write_tables(out, list(rows.values()), labels)


def _write_shares(out: Path, rows: Mapping[str, PanoramaRow], labels: LabelSet) -> None:
    """The table of shares of the whole view."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["panorama", *labels.names, "ignored"])
    writer.writerows([id_, *(f"{share:.6f}" for share in row.shares)] for id_, row in rows.items())
    write_whole(out / TABLES[0], table.getvalue())


def doubtful_positions(rows: Sequence[PanoramaRow]) -> str:
    """A sentence on panoramas whose tags have an impossible position; empty for none."""
    found = [row for row in rows if row.capture.doubt]
    if not found:
        return ""
    first = f"{found[0].path}, {found[0].capture.doubt}"
    return (
        f"{len(found)} of {len(rows)} panoramas have a position in their EXIF that cannot be right (the first: {first})"
        " and none in the tables; --positions can give one"
    )


def unseen_panoramas(rows: Sequence[PanoramaRow]) -> str:
    """A sentence on panoramas of which nothing is seen, as of an export that failed; empty for none."""
    found = [row.path for row in rows if not row.seen]
    if not found:
        return ""
    return (
        f"all pixels of {counted(len(found), 'panorama')} are ignored ({first_few(found)}): black, transparent or "
        "under the ignore mask; their maps are empty, and `goodsam teacher-cache` sets such pictures aside"
    )
