"""The masks of a search stay known, in the next run too, whatever was cut short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stages.tune_masks import MaskEntries


def test_where_masks_lie_is_known_in_the_next_run_too_once_each_and_a_damaged_line_costs_itself(tmp_path: Path) -> None:
    file = tmp_path / "tune" / "masks.jsonl"
    for _ in range(2):
        entries = MaskEntries(file)
        entries.add("print", "a")
        entries.add("print", "b")
    assert len(file.read_text().splitlines()) == 2
    with file.open("a") as lines:
        lines.write('{"fingerprint": "print"}\n7\n{"fingerprint": "pri')
    again = MaskEntries(file)
    assert again.known == {("print", "a"), ("print", "b")}
    again.add("other", "a")
    assert MaskEntries(file).known == {("print", "a"), ("print", "b"), ("other", "a")}


def test_gc_needs_no_torch() -> None:
    program = "import sys, stages.garbage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
