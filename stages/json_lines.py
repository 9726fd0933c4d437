"""Files of JSON, an object a line, to be appended to: a line that a killed writer cut short costs itself alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.files import writing


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, without lines that are damaged; none where it is not there.

    Raises:
        OSError: it is there and cannot be read.
    """
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append an object; the file and its folder are made.

    Raises:
        CacheError: it cannot be written.
    """
    line = json.dumps(record)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n" if is_cut_short(path) else f"{line}\n")


def is_cut_short(path: Path) -> bool:
    """Whether the last writer was killed in the middle of a line."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"
