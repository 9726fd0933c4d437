"""The rerun that is measured has nothing to do."""

from __future__ import annotations

from pathlib import Path

from scripts.measure_rerun import fabricate
from stages.events import Event, StageStarted
from stages.teacher_cache import teacher_cache


def test_the_fabricated_cache_is_finished(tmp_path: Path) -> None:
    run = fabricate(tmp_path, 3)
    heard: list[Event] = []
    assert teacher_cache(run, heard.append).total == 3
    assert [event.total for event in heard if isinstance(event, StageStarted)] == [0]
