"""Files of JSON lines: what was appended is read, and what is damaged costs its own line alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import CacheError
from stages.json_lines import append_line, read_lines


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.jsonl"
    assert list(read_lines(file)) == []
    for number in range(3):
        append_line(file, {"number": number, "name": "路"})
    assert list(read_lines(file)) == [{"number": number, "name": "路"} for number in range(3)]
    assert len(file.read_text().splitlines()) == 3


@pytest.mark.parametrize("damage", [b'{"number": ', b"7", b"[1]", b"", b"\xff\xfe"])
def test_damaged_lines_cost_themselves(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "file.jsonl"
    append_line(file, {"number": 0})
    with file.open("ab") as lines:
        lines.write(damage)
    append_line(file, {"number": 1})
    assert list(read_lines(file)) == [{"number": 0}, {"number": 1}]


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"lines\.jsonl cannot be written"):
        append_line(tmp_path / "file" / "lines.jsonl", {})
