"""Evaluation from callables: the ladder's rungs, what is written, and what is set aside."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE, LabelSet
from pipeline.errors import CacheError, DeviceMemoryError, InputError
from pipeline.evaluate import report
from pipeline.evaluate.categories import open_categories
from pipeline.evaluate.ladder import OWN_BLENDS, RUNGS
from stages.evaluate_job import EvaluateJob
from stages.events import Event, ItemFailed, StageAdvanced, StageStarted
from stages.ladder_chart import ladder_svg
from stages.measuring import measure, without_ignored
from stages.rungs import TeacherArrays
from stages.turning import TurningPlan

HEIGHT, WIDTH, CLASSES = 16, 32, 13
IDS = ("evaluation/a", "evaluation/b", "evaluation/c")
RUNGS_OF_ONE = tuple(name for name in RUNGS if name not in {*OWN_BLENDS, "assistants_agree"})
"""Those of one assistant."""


def truth(id_: str) -> np.ndarray:
    """Four wide stripes of classes, other ones per panorama."""
    return ((np.arange(WIDTH) // 8 + IDS.index(id_)) % CLASSES).astype(np.uint8)[None].repeat(HEIGHT, axis=0)


def probabilities(labels: np.ndarray, confidence: float) -> np.ndarray:
    rest = (1 - confidence) / (CLASSES - 1)
    return np.where(np.arange(CLASSES)[:, None, None] == labels, confidence, rest).astype(np.float32)


def spoiled(id_: str, rows: int) -> np.ndarray:
    labels = truth(id_)
    labels[:rows] = 12
    return labels


def teacher(id_: str) -> TeacherArrays:
    """Stage one that is better with every step: 8, 6, 4 wrong rows of 16; E_H blanks half of those of E."""
    reliable = np.ones((HEIGHT, WIDTH), np.bool_)
    reliable[:2] = False
    confidence = np.where(np.arange(HEIGHT)[:, None] < 6, 0.5, 0.8)
    windows = probabilities(spoiled(id_, 6), 1.0) * confidence + (1 - confidence) / CLASSES
    return TeacherArrays(
        assistant_CHW=windows.astype(np.float32),
        whole_CHW=probabilities(spoiled(id_, 8), 0.6),
        agreement_HW=np.full((HEIGHT, WIDTH), 0.75, np.float32),
        ensemble_HW=spoiled(id_, 4),
        reliable_HW=reliable,
        ignored_HW=np.zeros((HEIGHT, WIDTH), np.bool_),
    )


def image(id_: str) -> np.ndarray:
    """Each panorama's pixels tell the made-up student which one it is."""
    return np.full((HEIGHT, WIDTH, 3), IDS.index(id_), np.uint8)


@dataclass
class Oracle:
    """A student that knows the truth but for some rows."""

    wrong_rows: int = 1
    label_set: LabelSet = DENSEPASS_13
    parameters: int = 42
    device: str = "cpu, 1 threads"

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        return probabilities(spoiled(IDS[int(image_HW3[0, 0, 0])], self.wrong_rows), 0.9)


@pytest.fixture
def job(tmp_path: Path) -> EvaluateJob:
    return EvaluateJob(
        ids=IDS, label_set=DENSEPASS_13, out=tmp_path / "eval", open_image=image, open_labels=truth,
        read_teacher=teacher, read_masks=lambda id_: truth(id_).astype(np.int32),
        students={"student_start": Oracle(wrong_rows=12), "student": Oracle()}, overlays=0, facts={"run": "test"},
    )  # fmt: skip


def renamed(job: EvaluateJob, *names: str) -> EvaluateJob:
    """The job with other names for its panoramas."""
    ids = dict(zip(names, IDS, strict=True))
    return replace(
        job, ids=names, open_image=lambda id_: image(ids[id_]), open_labels=lambda id_: truth(ids[id_]),
        read_teacher=lambda id_: teacher(ids[id_]), read_masks=lambda id_: job.read_masks(ids[id_]),
    )  # fmt: skip


def pictures(job: EvaluateJob) -> list[str]:
    folder = job.out / "overlays"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def failing(work: Callable[[str], TeacherArrays], bad: str) -> Callable[[str], TeacherArrays]:
    def read(id_: str) -> TeacherArrays:
        if id_ == bad:
            raise CacheError(f"{id_} fails its checksum", "what was written", "Cache it again")
        return work(id_)

    return read


def test_rungs_stand_in_order_and_show_what_each_step_adds(job: EvaluateJob) -> None:
    metrics = measure(job)
    rungs = {record["name"]: record for record in metrics["ladder"]}
    assert tuple(rungs) == RUNGS_OF_ONE
    order = ("assistant_whole", "assistant_blend", "ensemble", "ensemble_reliable", "student")
    assert [rungs[name]["miou"] for name in order] == sorted(rungs[name]["miou"] for name in order)
    assert rungs["ensemble_reliable"]["coverage"] == pytest.approx(14 / 16)
    assert metrics["images"] == metrics["labelled"] == 3
    assert metrics["agreement"]["window_agreement"] == pytest.approx(0.75)


def test_categories_are_measured_for_every_rung_and_named(job: EvaluateJob) -> None:
    categories = open_categories("cityscapes7", DENSEPASS_13)
    metrics = measure(replace(job, categories=categories))
    assert metrics["categories"]["vehicle"] == ["car"] and metrics["categories"]["flat"] == ["road", "sidewalk"]
    for record in metrics["ladder"]:
        assert not record["categories"]["pixel_accuracy"] < record["pixel_accuracy"]  # nan where none is covered
        assert list(record["categories"]["per_category_iou"]) == list(metrics["categories"])
    assert "| construction |" in (job.out / "ladder.md").read_text()
    assert "categories" not in measure(job)


def test_the_student_is_described_with_its_size_time_and_device(job: EvaluateJob) -> None:
    student = measure(job)["student"]
    assert student["parameters"] == 42
    assert student["milliseconds_per_panorama"] >= 0
    assert student["device"] == "cpu, 1 threads"


def test_what_is_written_is_what_is_returned(job: EvaluateJob) -> None:
    metrics = measure(job)
    written = json.loads((job.out / "metrics.json").read_text())
    assert written["run"] == "test"
    assert report.text_of(written) == report.text_of(metrics)
    table = (job.out / "ladder.md").read_text()
    assert "| ensemble reliable |" in table
    assert "| vegetation |" in table
    assert "| student start | 42 |" in table
    assert "| student | 42 |" in table


def test_the_ladder_is_drawn_where_matplotlib_is_installed(job: EvaluateJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.measuring.can_draw", lambda: False)
    measure(job)
    assert not (job.out / "ladder.svg").exists()
    monkeypatch.undo()
    monkeypatch.setattr("stages.measuring.ladder_svg", ladder_svg)  # which tests do without
    measure(job)
    drawn = (job.out / "ladder.svg").read_text()
    assert all(name.replace("_", " ") in drawn for name in RUNGS_OF_ONE)


def test_pictures_are_made_of_the_first_panoramas_and_old_ones_go(job: EvaluateJob) -> None:
    measure(replace(job, overlays=1))
    assert pictures(job) == ["evaluation/a.png"]
    assert Image.open(job.out / "overlays" / "evaluation" / "a.png").width > 1000
    measure(job)
    assert not list((job.out / "overlays").iterdir())


def test_an_evaluation_that_fails_leaves_the_pictures_of_the_one_before(job: EvaluateJob) -> None:
    def unreadable(id_: str) -> npt.NDArray[np.uint8]:
        raise InputError(f"{id_} is broken", "a panorama", "Mend it")

    measure(replace(job, overlays=1))
    with pytest.raises(InputError, match="could be measured"):
        measure(replace(job, overlays=1, open_image=unreadable))
    assert pictures(job) == ["evaluation/a.png"]


def test_every_panorama_has_a_picture_of_its_own(job: EvaluateJob) -> None:
    measure(renamed(replace(job, overlays=3), "a/b", "a__b", "b"))
    assert pictures(job) == ["a/b.png", "a__b.png", "b.png"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), [("x" * 252, "name too long"), ("a.png/b", "for a folder")])
def test_a_name_that_cannot_be_had_costs_the_picture_alone(job: EvaluateJob, name: str, reason: str) -> None:
    events: list[Event] = []
    metrics = measure(renamed(replace(job, overlays=3), "a", name, "c"), events.append)
    assert pictures(job) == ["a.png", "c.png"]
    assert (metrics["images"], metrics["set_aside"]) == (3, {})
    (failed,) = [event for event in events if isinstance(event, ItemFailed)]
    assert failed.item == f"overlays/{name}.png"
    assert reason in failed.error and failed.error.endswith("Rename the panorama.") and not failed.trace


def test_a_full_disk_ends_the_evaluation(job: EvaluateJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CacheError, match=r"a\.png cannot be written \(No space left"):
        measure(replace(job, overlays=1))


def test_both_passes_are_announced_and_counted(job: EvaluateJob) -> None:
    events: list[Event] = []
    measure(job, events.append)
    assert events[0] == StageStarted("eval", 6, "panoramas")
    assert [event.done for event in events if isinstance(event, StageAdvanced)] == list(range(1, 7))


def test_an_unusable_panorama_is_set_aside_and_the_others_measured(job: EvaluateJob) -> None:
    events: list[Event] = []
    metrics = measure(replace(job, read_teacher=failing(teacher, IDS[1])), events.append)
    without = measure(replace(job, ids=(IDS[0], IDS[2])))
    assert report.to_json({"ladder": metrics["ladder"]}) == report.to_json({"ladder": without["ladder"]})
    assert list(metrics["set_aside"]) == [IDS[1]]
    assert [event.item for event in events if isinstance(event, ItemFailed)] == [IDS[1]]


def test_a_panorama_that_is_ignored_altogether_is_set_aside(job: EvaluateJob) -> None:
    def blind(id_: str) -> TeacherArrays:
        found = teacher(id_)
        return replace(found, ignored_HW=np.ones_like(found.ignored_HW)) if id_ == IDS[1] else found

    metrics = measure(replace(job, read_teacher=blind))
    assert (list(metrics["set_aside"]), metrics["images"]) == ([IDS[1]], 2)


def test_a_device_that_fails_ends_the_evaluation(job: EvaluateJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Oracle, image_HW3: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Oracle, "__call__", fails)
    with pytest.raises(DeviceMemoryError, match="smaller student"):
        measure(job)


def test_a_panorama_that_fails_late_counts_for_no_rung(job: EvaluateJob) -> None:
    def labels(id_: str) -> np.ndarray:
        if id_ == IDS[2]:
            raise InputError("c.png is broken", "a PNG", "Copy it again")
        return truth(id_)

    metrics = measure(replace(job, open_labels=labels))
    assert (metrics["images"], metrics["labelled"]) == (2, 2)


def test_it_is_an_error_if_nothing_could_be_measured(job: EvaluateJob) -> None:
    with pytest.raises(InputError, match="fails its checksum"):
        measure(replace(job, ids=IDS[:1], read_teacher=failing(teacher, IDS[0])))
    with pytest.raises(InputError, match="none of 0"):
        measure(replace(job, ids=()))


def test_without_labels_coverage_and_agreement_are_measured(job: EvaluateJob) -> None:
    metrics = measure(replace(job, open_labels=lambda id_: None))
    assert metrics["ladder"] == []
    assert metrics["agreement"]["coverage"]["ensemble_reliable"] < 1
    assert sum(metrics["agreement"]["class_shares"]["student"].values()) == pytest.approx(1)
    assert "coverage" in report.text_of(metrics)


def test_some_labels_are_enough_for_a_ladder(job: EvaluateJob) -> None:
    metrics = measure(replace(job, open_labels=lambda id_: truth(id_) if id_ == IDS[0] else None))
    assert (metrics["images"], metrics["labelled"]) == (3, 1)
    assert len(metrics["ladder"]) == len(RUNGS_OF_ONE)


def test_what_the_masks_change_is_reported_class_by_class(job: EvaluateJob) -> None:
    changes = measure(job)["class_changes"]
    assert (changes["from"], changes["to"]) == ("assistant_blend", "ensemble")
    assert [own["name"] for own in changes["classes"]] == list(DENSEPASS_13.names)
    car = changes["classes"][-1]  # the spoiled rows are cars
    assert car["before"] == car["after"] == 0
    assert changes["classes"][1]["after"] > changes["classes"][1]["before"]
    assert "class_changes" not in measure(replace(job, open_labels=lambda id_: None))


def test_students_are_turned_and_stage_one_only_where_asked_for(job: EvaluateJob) -> None:
    asked: list[tuple[str, int]] = []

    def turned_stage_one(id_: str, image_HW3: np.ndarray, columns: int) -> TeacherArrays:
        asked.append((id_, columns))
        assert (image_HW3 == np.roll(image(id_), columns, axis=1)).all()
        own = teacher(id_)  # does not turn with the camera
        return replace(own, assistant_CHW=np.roll(own.assistant_CHW, columns, axis=2))

    assert "yaw" not in measure(job)
    (half, odd) = measure(replace(job, turning=TurningPlan(window_stride=16)))["yaw"]
    assert (half["degrees"], odd["degrees"]) == (90, 360 * 11 / 32)
    assert list(half["rungs"]) == ["student_start", "student"] and not asked
    assert half["rungs"]["student"]["panoramas"] == 3
    assert half["rungs"]["student"]["label"] > 0.9  # it sees the panorama's number alone: other stripes, turned back
    larger = measure(
        replace(job, turning=TurningPlan(16), open_labels=lambda id_: truth(id_).repeat(2, 0).repeat(2, 1))
    )
    assert larger["yaw"] == [half, odd]  # turned at the working size, whatever the truth's
    plan = TurningPlan(window_stride=16, panoramas=2, read_turned=turned_stage_one)
    metrics = measure(replace(job, turning=plan))
    (half, odd) = metrics["yaw"]
    assert asked == [(IDS[0], 8), (IDS[0], 11), (IDS[1], 8), (IDS[1], 11)]
    rungs = half["rungs"]
    assert rungs["assistant_blend"] == {"panoramas": 2, "label": 0, "coverage": 0}
    assert rungs["ensemble"]["label"] == pytest.approx(12 / 16)
    assert rungs["student"]["panoramas"] == 3
    assert "| ensemble | 2 | 75.0 |" in (job.out / "ladder.md").read_text()


def test_no_rung_is_measured_where_the_recipe_ignores_the_image() -> None:
    ignored_HW = np.array([[False, True], [False, False]])
    labels = np.full((4, 4), 3, np.uint8)
    kept = without_ignored(labels, ignored_HW)
    assert (kept == IGNORE).tolist() == np.kron(ignored_HW, np.ones((2, 2), bool)).tolist()
    assert (labels == 3).all()
