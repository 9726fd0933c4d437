"""All that is written can be read, and where the umask says so changed, by whom the user's other files can."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from pipeline.recipe import Recipe
from stages.checkpoints import replace_folder, save_checkpoint
from stages.claims import exclusive_lock
from stages.events import Note, Scalars
from stages.files import write_picture, write_whole
from stages.listeners import JsonLines, TensorBoard
from stages.manifest import write_manifest
from stages.panorama_records import PanoramaRecord, PanoramaRecords
from stages.runs import Run


def _store(folder: Path) -> None:
    store = TeacherStore.open(folder / "teacher.zarr", "a")
    store.write(MASKS, "0123456789abcdef", "a/b", {"x": np.ones((4, 8), np.uint8)}, {})
    store.describe(MASKS, "0123456789abcdef", {"seed": 0})


def _student(folder: Path) -> None:
    def fill(partial: Path) -> None:
        (partial / "inner").mkdir()
        save_file({"weight": torch.zeros(1)}, partial / "model.safetensors")
        os.close(tempfile.mkstemp(dir=partial / "inner")[0])

    for _ in range(2):
        replace_folder(folder / "student" / "final", fill)


def _log(folder: Path) -> None:
    for listener in (JsonLines(folder / "run" / "log.jsonl"), TensorBoard(folder / "run" / "tensorboard")):
        listener(Note("distill", "a note"))
        listener(Scalars("distill", 1, {"loss": 0.5}))
        listener.close()


def _claim(folder: Path) -> None:
    with exclusive_lock(folder / "run", "distill"):
        pass


def _run(folder: Path) -> None:
    run = Run(Recipe(), folder / "run")
    run.record_recipe()
    write_manifest(run, {"masks": "m", "assistant": "a", "ensemble": "e"})
    run.record_student("one")
    PanoramaRecords(run.panoramas).add("panoramas/1", PanoramaRecord("1.png", "sha", 1, 1))


def _pictures(folder: Path) -> None:
    write_picture(folder / "labels" / "1.png", Image.new("P", (4, 2)))
    write_picture(folder / "overlays" / "1.jpg", Image.new("RGB", (4, 2)))
    write_whole(folder / "class_shares.csv", "panorama")


def _checkpoint(folder: Path) -> None:
    for step in range(2):
        save_checkpoint(folder / "student" / "checkpoint.pt", {"student": "one", "step": step})


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=["022", "002", "077"])
def umask(request: pytest.FixtureRequest) -> Generator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("write", [_store, _student, _log, _claim, _run, _pictures, _checkpoint])
def test_files_and_folders_have_the_permissions_of_the_users_own(
    write: Callable[[Path], None], tmp_path: Path, umask: int
) -> None:
    folder = tmp_path / "outputs"
    write(folder)
    written = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    assert any(path.is_file() for path in written)
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in written}
    assert modes == {str(p.relative_to(folder)): (0o777 if p.is_dir() else 0o666) & ~umask for p in written}
