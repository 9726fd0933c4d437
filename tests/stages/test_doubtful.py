"""The most doubtful panoramas of an evaluation are those of which the student is least sure; without a student, those
whose stored labels fit their masks worst."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.cache import codec, records
from pipeline.cache.schema import ASSISTANT, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.teacher.masks import MaskSet
from stages.doubtful import Doubtful, most_doubtful, text_of
from stages.evaluate import evaluate
from stages.events import Event, ItemFailed, silent
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.views import shared_views
from tests.stages.small_run import discard, entry_of, read_product, small_run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    """A finished run of stage one, to be changed."""
    shutil.copytree(finished, tmp_path / "copy")
    return small_run(tmp_path / "copy")


def store(run: Run, panorama_id: str, shift: int) -> None:
    """Have a panorama's masks be stripes of 16 columns, and its labels such stripes that are shifted."""
    stripes_Mhw = np.stack([np.broadcast_to(np.arange(64) // 16 == k, (64, 64)) for k in range(4)])
    masks = [MaskSet.from_dense(stripes_Mhw) for _ in shared_views(run.recipe)]
    labels_HW = np.broadcast_to((np.arange(128) + shift) // 16 % 2, (64, 128))
    certain_CHW = np.moveaxis(np.eye(13, dtype=np.float32)[labels_HW], -1, 0)
    replace(run, MASKS, panorama_id, records.pack_masks(masks))
    replace(run, ASSISTANT, panorama_id, {"assistant_probabilities": codec.encode_probabilities(certain_CHW)})


def replace(run: Run, product: str, panorama_id: str, changed: records.Arrays) -> None:
    """Store other arrays in the place of some of a panorama's."""
    arrays, folder = read_product(run, product, panorama_id), entry_of(run, product, panorama_id)
    discard(run, product, panorama_id)
    TeacherStore.open(run.store, "a").write(product, folder.parent.name, folder.name, {**arrays, **changed}, {})


def test_the_panorama_that_fits_its_masks_worst_comes_first(run: Run) -> None:
    shifts = {"panoramas/0": 0, "panoramas/1": 8, "panoramas/2": 4}
    for panorama_id, shift in shifts.items():
        store(run, panorama_id, shift)
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    found = most_doubtful(reader, reader.ids, {}, "eval", silent)
    assert [one.id for one in found] == ["panoramas/1", "panoramas/2", "panoramas/0"]
    assert found[0].purity == pytest.approx(0, abs=0.01) and found[-1].purity == 1
    assert all(0 <= one.agreement <= 1 + 1e-6 for one in found)


def test_those_of_which_the_student_is_least_sure_come_first(run: Run) -> None:
    for panorama_id, shift in (("panoramas/0", 0), ("panoramas/1", 8)):
        store(run, panorama_id, shift)
    replace(
        run,
        MASKS,
        "panoramas/2",
        records.pack_masks([MaskSet.from_dense(np.zeros((0, 64, 64), bool))] * len(shared_views(run.recipe))),
    )
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    doubts = {"panoramas/0": 0.3, "panoramas/1": 0.1, "panoramas/2": 0.2}
    found = most_doubtful(reader, reader.ids, doubts, "eval", silent)
    assert [(one.id, one.doubt) for one in found] == sorted(doubts.items(), key=lambda pair: -pair[1])
    assert "| panoramas/2 | 0.200 |  | " in text_of(found), "one without masks has no purity"


def test_a_panorama_whose_masks_are_lost_is_told_and_the_others_are_listed(run: Run) -> None:
    discard(run, MASKS, "panoramas/1")
    heard: list[Event] = []
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    found = most_doubtful(reader, reader.ids, {}, "eval", heard.append)
    assert {one.id for one in found} == {"panoramas/0", "panoramas/2"}
    assert [event.item for event in heard if isinstance(event, ItemFailed)] == ["panoramas/1"]
    by_student = most_doubtful(reader, reader.ids, {"panoramas/0": 0.1, "panoramas/1": 0.2}, "eval", silent)
    assert "| panoramas/1 | 0.200 |  |  |" in text_of(by_student), "its doubt is known all the same"


def test_the_evaluation_lists_them(run: Run) -> None:
    evaluation = evaluate(run, silent)
    assert [one.id for one in evaluation.doubtful] == ["evaluation/9"]
    assert "| evaluation/9 | " in evaluation.table
    assert "| evaluation/9 | " in (evaluation.folder / "doubtful.md").read_text()


def test_the_table_says_what_its_numbers_are() -> None:
    table = text_of([Doubtful("street/one", 0.71234, 0.9)])
    assert "purity of SAM's masks" in table and "| street/one | 0.712 | 0.900 |" in table
