"""What the tests of the stages share."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from stages.events import silent
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import arrays_of, make_folders, small_run


@pytest.fixture(autouse=True, scope="session")
def without_charts() -> Generator[None]:
    """Evaluations that tests are about write a ladder.svg without matplotlib, which would take most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.measuring.ladder_svg", lambda _: "<svg/>")
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of stage one, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_folders(folder)
    teacher_cache(small_run(folder), silent)
    return folder


@pytest.fixture
def own_finished(finished: Path, tmp_path: Path) -> Path:
    """A copy of it for one test, which may evaluate there and change things."""
    return shutil.copytree(finished, tmp_path / "own")


@pytest.fixture(scope="session")
def finished_arrays(finished: Path) -> dict[tuple[str, str, str], npt.NDArray[Any]]:
    """All that the finished run stored, by product, panorama and name."""
    return arrays_of(small_run(finished))
