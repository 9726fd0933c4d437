"""Predicting a folder: sizes, palette, resuming, broken files, and no break at the seam."""

import csv
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import CacheError, DeviceError, InputError, WeightsError
from pipeline.panorama.config import PanoramaConfig
from pipeline.student.config import StudentConfig
from pipeline.student.model import save_student, start_student
from stages.events import Event, ItemFailed, Note, StageAdvanced, StageStarted
from stages.files import write_whole
from stages.label_files import read_notes
from stages.models import StudentModel
from stages.predict import PredictJob, predict
from stages.predictor import load_predictor
from stages.report.source import read_source
from stages.training_record import training_geometry

HEIGHT, WIDTH = 64, 128
NAMES = ("one", "street/two", "street/three")
"""A file whose every write fails for want of room."""


@dataclass
class ByColour:
    """A student that looks at one pixel at a time, so that rolls move its predictions exactly."""

    label_set = DENSEPASS_13
    parameters = 1
    device = "cpu, 1 threads"
    calls = 0

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        self.calls += 1
        quarter = image_HW3[::4, ::4].astype(np.float32) / 255
        phase = np.arange(13, dtype=np.float32)[:, None, None]
        return np.sin(phase * (1 + quarter @ np.array([3.0, 5.0, 7.0], np.float32)))


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> ByColour:
    found = ByColour()
    monkeypatch.setattr("stages.predictor.load_predictor", lambda folder, device: found)
    return found


@pytest.fixture
def job(tmp_path: Path, student: ByColour) -> PredictJob:
    for seed, name in enumerate(NAMES):
        write_panorama(tmp_path / "in" / f"{name}.png", seed)
    (tmp_path / "student").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "student" / name).write_text("first")
    return PredictJob(
        StudentModel(tmp_path / "student"), tmp_path / "in", tmp_path / "out", PanoramaConfig(width=WIDTH // 2)
    )


def write_panorama(path: Path, seed: int, roll: int = 0) -> None:
    coarse = np.random.default_rng(seed).integers(10, 256, (8, 16, 3)).astype(np.uint8)
    image = coarse.repeat(HEIGHT // 8, axis=0).repeat(WIDTH // 16, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(image, roll, axis=1)).save(path)


def of_another_folder(job: PredictJob, *names: str) -> PredictJob:
    """The job for other panoramas, with the same outputs."""
    folder = job.panoramas.with_name("other")
    for seed, name in enumerate(names, start=7):
        write_panorama(folder / f"{name}.png", seed)
    return replace(job, panoramas=folder)


def read_labels(job: PredictJob, name: str) -> np.ndarray:
    return np.asarray(Image.open(job.out / "labels" / f"{name}.png"))


def read_shares(job: PredictJob) -> dict[str, dict[str, float]]:
    with (job.out / "class_shares.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {row.pop("panorama"): {name: float(value) for name, value in row.items()} for row in rows}


def test_labels_are_indexed_images_of_the_sources_size_under_the_sources_names(job: PredictJob) -> None:
    summary = predict(job)
    assert (summary.done, summary.skipped, summary.failed) == (3, 0, {})
    for name in NAMES:
        picture = Image.open(job.out / "labels" / f"{name}.png")
        assert (picture.mode, picture.size) == ("P", (WIDTH, HEIGHT))
        assert (picture.getpalette() or [])[:39] == [value for colour in DENSEPASS_13.palette for value in colour]
        assert read_notes(job.out / "labels" / f"{name}.png")["made_by"] == "student"
    assert read_source(job.out).made_by == "student"
    assert not list(job.out.rglob("*.partial"))


def test_rerun_predicts_nothing_and_keeps_the_whole_table(student: ByColour, job: PredictJob) -> None:
    predict(job)
    table = (job.out / "class_shares.csv").read_text()
    events: list[Event] = []
    summary = predict(job, events.append)
    assert student.calls == 3
    assert (summary.done, summary.skipped) == (0, 3)
    assert events[0] == StageStarted("predict", 0, "panoramas")
    assert (job.out / "class_shares.csv").read_text() == table


@pytest.mark.parametrize("mask", ["none.png", "square.png"])
def test_an_unusable_mask_is_one_error_and_not_one_of_every_panorama(
    job: PredictJob, tmp_path: Path, mask: str
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "square.png")
    events: list[Event] = []
    panorama = replace(job.panorama, ignore_mask=str(tmp_path / mask))
    with pytest.raises(InputError, match=mask):
        predict(replace(job, panorama=panorama), events.append)
    assert not events


def test_only_what_is_missing_is_predicted(job: PredictJob) -> None:
    predict(job)
    (job.out / "labels" / "street" / "two.png").unlink()
    events: list[Event] = []
    predict(job, events.append)
    assert [event.item for event in events if isinstance(event, StageAdvanced)] == ["street/two"]


def test_outputs_of_another_source_student_or_setting_are_not_kept(job: PredictJob) -> None:
    predict(job)
    write_panorama(job.panoramas / "one.png", seed=9)
    assert predict(job).done == 1
    (job.out.parent / "student" / "model.safetensors").write_text("second")
    assert predict(job).done == 3
    other = replace(job, panorama=replace(job.panorama, find_constant_border=False))
    assert predict(other).done == 3
    assert predict(replace(other, overwrite=True)).done == 3


def test_overlays_are_made_where_they_are_missing(job: PredictJob) -> None:
    predict(job)
    with_overlays = replace(job, overlays=True)
    assert predict(with_overlays).done == 3
    assert predict(with_overlays).done == 0
    sizes = {Image.open(path).size for path in (job.out / "overlays").rglob("*.jpg")}
    assert sizes == {(WIDTH, HEIGHT)}


def test_no_overlay_of_another_students_labels_stays(job: PredictJob) -> None:
    predict(replace(job, overlays=True))
    (job.out.parent / "student" / "model.safetensors").write_text("second")
    assert predict(job).done == 3
    assert not list((job.out / "overlays").rglob("*.jpg"))
    assert predict(replace(job, overlays=True)).done == 3


def test_names_that_are_no_utf8_are_kept(job: PredictJob) -> None:
    name = os.fsencode(job.panoramas / "caf") + b"\xe9.png"
    (job.panoramas / "one.png").rename(os.fsdecode(name))
    assert predict(job).done == 3
    assert b"caf\xe9," in (job.out / "class_shares.csv").read_bytes()


def test_the_table_of_a_rerun_is_the_same(job: PredictJob) -> None:
    predict(job)
    before = (job.out / "class_shares.csv").read_text()
    (job.out / "class_shares.csv").unlink()
    predict(job)
    assert (job.out / "class_shares.csv").read_text() == before


def test_a_student_knows_the_size_and_field_of_view_of_its_training(tmp_path: Path) -> None:
    assert training_geometry(tmp_path) == PanoramaConfig()
    (tmp_path / "training.json").write_text('{"working_size": [400, 2048], "vertical_fov": 70.3}')
    assert training_geometry(tmp_path) == PanoramaConfig(2048, 70.3)
    (tmp_path / "training.json").write_text('{"working_size": [400]')
    with pytest.raises(WeightsError, match=r"training\.json is damaged"):
        training_geometry(tmp_path)


def test_half_written_labels_are_done_again(job: PredictJob) -> None:
    predict(job)
    path = job.out / "labels" / "one.png"
    path.write_bytes(path.read_bytes()[:20])
    assert predict(job).done == 1
    assert read_labels(job, "one").shape == (HEIGHT, WIDTH)


def test_a_broken_file_is_set_aside_and_the_others_done(job: PredictJob) -> None:
    (job.panoramas / "street" / "two.png").write_bytes(b"no image")
    events: list[Event] = []
    summary = predict(job, events.append)
    assert summary.done == 2
    assert list(summary.failed) == ["street/two"]
    assert [event.item for event in events if isinstance(event, ItemFailed)] == ["street/two"]
    assert sorted(read_shares(job)) == ["one", "street/three"]


def test_panoramas_of_which_nothing_is_seen_are_named_with_every_run(job: PredictJob) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(job.panoramas / "black.png")
    Image.new("RGBA", (WIDTH, HEIGHT), (90, 90, 90, 0)).save(job.panoramas / "clear.png")
    for done, skipped in ((5, 0), (0, 5)):
        events: list[Event] = []
        summary = predict(job, events.append)
        assert (summary.done, summary.skipped, summary.failed) == (done, skipped, {})
        notes = [event.text for event in events if isinstance(event, Note)]
        assert [note for note in notes if note.startswith("all pixels of 2 panoramas are ignored (black.png, clear")]


def test_what_a_folder_holds_besides_is_reported_once_and_costs_only_itself(job: PredictJob) -> None:
    for name in ("twin.jpg", "twin.png", "film.mp4"):
        (job.panoramas / name).write_bytes(b"x")
    events: list[Event] = []
    summary = predict(job, events.append)
    assert summary.done == 3
    failed = [event.item for event in events if isinstance(event, ItemFailed)]
    assert failed == list(summary.failed) == ["twin.jpg", "twin.png"]
    assert [event.text for event in events if isinstance(event, Note)][:1] == ["left out: 1 .mp4"]


def test_the_longest_name_of_a_panorama_is_not_too_long_for_its_outputs(job: PredictJob) -> None:
    longest = "x" * 251  # with the ending 255 bytes, the most that a file system takes
    (job.panoramas / "one.png").rename(job.panoramas / f"{longest}.png")
    assert predict(replace(job, overlays=True)).failed == {}
    assert sorted(read_shares(job)) == ["street/three", "street/two", longest]


@pytest.mark.parametrize("overlays", [False, True])
def test_a_file_and_a_folder_of_outputs_that_want_one_name_cost_one_panorama(job: PredictJob, overlays: bool) -> None:
    (job.panoramas / "one.png").rename(job.panoramas / "one.webp")  # Pillow looks at what is in it
    ending = "jpg" if overlays else "png"
    write_panorama(job.panoramas / f"one.{ending}" / "b.png", seed=5)
    events: list[Event] = []
    summary = predict(replace(job, overlays=overlays), events.append)
    assert (summary.done, list(summary.failed)) == (3, [f"one.{ending}/b"])
    (failed,) = [event for event in events if isinstance(event, ItemFailed)]
    assert "for a folder" in failed.error and not failed.trace
    assert sorted(read_shares(job)) == ["one", "street/three", "street/two"]


def test_a_folder_in_the_place_of_a_label_file_costs_one_panorama(job: PredictJob) -> None:
    (job.out / "labels" / "one.png").mkdir(parents=True)
    summary = predict(job)
    assert (summary.done, list(summary.failed)) == (2, ["one"])


def test_an_overlay_that_cannot_be_had_is_not_missed_where_none_is_wanted(job: PredictJob) -> None:
    (job.panoramas / "one.png").rename(job.panoramas / "one.webp")
    write_panorama(job.panoramas / "one.jpg" / "b.png", seed=5)
    assert list(predict(replace(job, overlays=True)).failed) == ["one.jpg/b"]
    assert predict(job).failed == {}


@pytest.mark.parametrize("folder", ["labels", "overlays"])
def test_a_file_in_the_place_of_a_folder_of_outputs_ends_the_run(job: PredictJob, folder: str) -> None:
    job.out.mkdir()
    (job.out / folder).touch()
    with pytest.raises(CacheError, match=f"{folder} cannot be written"):
        predict(replace(job, overlays=True))


def test_panoramas_of_another_folder_are_added_to_outputs_and_table(job: PredictJob) -> None:
    predict(job)
    first = read_shares(job)
    other = of_another_folder(job, "four")
    events: list[Event] = []
    assert predict(other, events.append).done == 1
    both = read_shares(job)
    (told,) = [event.text for event in events if isinstance(event, Note)]
    assert "also have 3 panoramas of earlier predictions" in told and "one, street/three, street/two" in told
    assert list(both) == ["four", "one", "street/three", "street/two"]
    assert {name: both[name] for name in first} == first
    assert predict(job).done == 0
    assert read_shares(job) == both


def test_the_table_has_no_rows_of_another_student(job: PredictJob) -> None:
    predict(job)
    (job.out.parent / "student" / "model.safetensors").write_text("second")
    other = of_another_folder(job, "four")
    predict(other)
    assert list(read_shares(job)) == ["four"]


def test_a_panorama_of_another_folder_does_not_replace_one_of_its_name_unless_asked_to(job: PredictJob) -> None:
    predict(job)
    before, shares = read_labels(job, "one"), read_shares(job)
    other = of_another_folder(job, "one", "new")
    summary = predict(other)
    assert (summary.done, list(summary.failed)) == (1, ["one"])
    assert "another panorama with this name" in summary.failed["one"]
    assert (read_labels(job, "one") == before).all()
    assert read_shares(job)["one"] == shares["one"]
    assert predict(replace(other, overwrite=True)).failed == {}
    assert (read_labels(job, "one") != before).any()


def test_a_folder_that_was_moved_is_not_predicted_again(job: PredictJob) -> None:
    predict(job)
    moved = replace(job, panoramas=job.panoramas.rename(job.panoramas.with_name("moved")))
    assert predict(moved).skipped == 3


def test_a_full_disk_ends_the_run(job: PredictJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CacheError, match=r"one\.png cannot be written \(No space left"):
        predict(job)


def test_an_unforeseen_error_costs_one_panorama(job: PredictJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_once(self: ByColour, image_HW3: np.ndarray) -> np.ndarray:
        monkeypatch.undo()
        raise MemoryError("too large")

    monkeypatch.setattr(ByColour, "__call__", fails_once)
    events: list[Event] = []
    summary = predict(job, events.append)
    assert summary.done == 2
    (failure,) = [event for event in events if isinstance(event, ItemFailed)]
    assert failure.error == "MemoryError: too large"
    assert "fails_once" in failure.trace


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: an illegal memory access")]
)
def test_a_device_that_fails_ends_the_run(job: PredictJob, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(self: ByColour, image_HW3: np.ndarray) -> np.ndarray:
        raise error

    monkeypatch.setattr(ByColour, "__call__", fails)
    with pytest.raises(DeviceError, match="--device cpu"):
        predict(job)


def test_it_is_an_error_if_no_file_can_be_used(job: PredictJob) -> None:
    for path in job.panoramas.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of 3 panoramas"):
        predict(job)


def test_a_folder_that_does_not_exist_is_refused_before_anything_is_made(job: PredictJob, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        replace(job, panoramas=tmp_path / "nowhere")


def test_outputs_among_the_panoramas_are_refused(job: PredictJob) -> None:
    with pytest.raises(InputError, match="lies inside"):
        replace(job, out=job.panoramas / "labels")


@pytest.mark.parametrize("taken", ["labels/berlin.png", "overlays/mine.jpg", "panoramas.csv", "class_shares.csv"])
def test_a_folder_with_maps_or_tables_of_others_is_refused_untouched(job: PredictJob, taken: str) -> None:
    (job.out / taken).parent.mkdir(parents=True)
    (job.out / taken).write_text("mine")
    with pytest.raises(InputError, match=rf"out holds {taken.partition('/')[0]}, which `goodsam predict` has not"):
        replace(job)
    assert [path.read_text() for path in job.out.rglob("*") if path.is_file()] == ["mine"]


def test_a_folder_of_a_prediction_is_its_own_also_without_hidden_files(job: PredictJob) -> None:
    predict(job)
    (job.out / ".predict.lock").unlink()
    assert predict(replace(job)).skipped == 3


def test_a_folder_without_a_student_is_named(job: PredictJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real loader
    with pytest.raises(WeightsError, match="holds no student"):
        predict(replace(job, model=StudentModel(tmp_path)))


def test_shares_are_of_solid_angle_and_sum_to_one(job: PredictJob, tmp_path: Path) -> None:
    rig = np.zeros((HEIGHT, WIDTH), np.uint8)
    rig[-HEIGHT // 4 :] = 255
    Image.fromarray(rig).save(tmp_path / "rig.png")
    events: list[Event] = []
    predict(replace(job, panorama=replace(job.panorama, ignore_mask=str(tmp_path / "rig.png"))), events.append)
    assert events[0] == Note("predict", "rig.png ignores 25.0 % of every panorama (where it is not black)")
    assert ((read_labels(job, "one") == IGNORE) == (rig > 0)).all()
    shares = read_shares(job)
    # The lowest quarter of the rows lies below 45 degrees: (1 - sin 45) / 2 of the sphere.
    assert shares["one"]["ignored"] == pytest.approx((1 - np.sin(np.pi / 4)) / 2, abs=1e-5)
    assert [sum(row.values()) for row in shares.values()] == pytest.approx([1, 1, 1], abs=1e-4)


def test_each_panorama_has_the_mask_of_its_camera_and_a_changed_one_concerns_it_alone(
    job: PredictJob, tmp_path: Path, student: ByColour
) -> None:
    for name, rows in (("one", 8), ("street", 16)):
        rig = np.zeros((HEIGHT, WIDTH), np.uint8)
        rig[-rows:] = 255
        (tmp_path / "rigs").mkdir(exist_ok=True)
        Image.fromarray(rig).save(tmp_path / "rigs" / f"{name}.png")
    job = replace(job, panorama=replace(job.panorama, ignore_mask=str(tmp_path / "rigs")))
    events: list[Event] = []
    predict(job, events.append)
    counts = "rigs: ignore masks for 3 of 3 panoramas: 1 by their name, 2 by their folder, 0 by their size"
    assert events[0] == Note("predict", counts)
    assert [(read_labels(job, name) == IGNORE).sum() // WIDTH for name in NAMES] == [8, 16, 16]
    assert predict(job).skipped == 3
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "rigs" / "street.png")
    assert predict(job).done == 2
    assert [(read_labels(job, name) == IGNORE).sum() // WIDTH for name in NAMES] == [8, 0, 0]


def test_black_where_no_camera_looked_is_ignored(job: PredictJob) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    image[-HEIGHT // 4 :] = 0
    Image.fromarray(image).save(job.panoramas / "one.png")
    predict(job)
    labels = read_labels(job, "one")
    assert (labels[-HEIGHT // 4 :] == IGNORE).all()
    assert (labels[: HEIGHT // 2] != IGNORE).all()


@pytest.mark.parametrize("roll", [32, 64, -32])
def test_a_rolled_panorama_gives_the_rolled_prediction(job: PredictJob, roll: int) -> None:
    predict(job)
    before = read_labels(job, "one")
    write_panorama(job.panoramas / "one.png", seed=0, roll=roll)
    predict(job)
    assert len(np.unique(before)) > 3
    assert (read_labels(job, "one") == np.roll(before, roll, axis=1)).all()


def tiny_student(folder: Path) -> None:
    torch.manual_seed(0)
    save_student(start_student(StudentConfig(size="tiny"), DENSEPASS_13).model, folder)


def test_a_real_students_predictions_go_on_over_the_seam(tmp_path: Path) -> None:
    """Its attention is global, so rolls move its predictions nearly, not exactly; without wrapping 80 to 85 %."""
    tiny_student(tmp_path / "student")
    write_panorama(tmp_path / "in" / "plain.png", seed=3)
    write_panorama(tmp_path / "in" / "rolled.png", seed=3, roll=32)
    job = PredictJob(StudentModel(tmp_path / "student"), tmp_path / "in", tmp_path / "out", PanoramaConfig(width=WIDTH))
    predict(job)
    plain, rolled = read_labels(job, "plain"), read_labels(job, "rolled")
    assert len(np.unique(plain)) > 3
    assert (np.roll(plain, 32, axis=1) == rolled).mean() > 0.95
    seam = np.abs(np.diff(logits_round_the_seam(tmp_path / "student", tmp_path / "in" / "plain.png"), axis=2)).mean(
        axis=(0, 1)
    )
    assert seam[0] < 2 * np.median(seam)


def logits_round_the_seam(student: Path, path: Path) -> np.ndarray:
    """Logits [C, h, 1 + w]: the last column, then all."""
    logits = load_predictor(student)(np.asarray(Image.open(path)))
    return np.concatenate((logits[..., -1:], logits), axis=2)


def test_the_label_set_is_read_from_the_student(tmp_path: Path) -> None:
    tiny_student(tmp_path)
    predictor = load_predictor(tmp_path)
    assert predictor.label_set == DENSEPASS_13
    assert predictor.parameters > 100_000


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "file.txt"
    write_whole(path, "old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CacheError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"


def full(self: Path, content: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_two_that_write_one_file_at_once_leave_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write_bytes = tmp_path / "recipe.toml", Path.write_bytes

    def others_write_too(self: Path, content: bytes) -> int:
        monkeypatch.undo()
        count = write_bytes(self, content)
        write_whole(path, "the other's")
        assert path.read_text() == "the other's"
        return count

    monkeypatch.setattr(Path, "write_bytes", others_write_too)
    write_whole(path, "ours")
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_colour_profile_is_reported_once(job: PredictJob) -> None:
    for name in NAMES[:2]:
        path = job.panoramas / f"{name}.png"
        Image.open(path).save(path, icc_profile=b"no profile at all" * 20)
    events: list[Event] = []
    assert predict(job, events.append).done == 3
    notes = [event.text for event in events if isinstance(event, Note)]
    assert len(notes) == 1
    assert notes[0].startswith("pictures with a colour profile that cannot be used are treated as sRGB")
