"""What the tests of the cache share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cache.store import TeacherStore


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    return TeacherStore.open(tmp_path / "run" / "teacher.zarr", "a")
