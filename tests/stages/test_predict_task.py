"""One panorama predicted: what is written, what its label file says, and how it ends where it cannot be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import CacheError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.images import open_panorama
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from stages.label_files import label_path, overlay_path, read_notes
from stages.models import StudentModel
from stages.predict_task import PredictTask, predict_labels, predict_panorama

HEIGHT, WIDTH = 64, 128
ROAD, SKY = 0, 10


@dataclass
class SkyAbove:
    """A network that knows one thing: what is bright is sky, what is dark is road."""

    label_set = DENSEPASS_13
    parameters = 1
    device = "cpu"
    seen: tuple[int, ...] = ()

    def __call__(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.seen = image_HW3.shape
        bright = image_HW3[::4, ::4, 0] > 128
        logits = np.zeros((13, *bright.shape), np.float32)
        logits[SKY], logits[ROAD] = 5 * bright, 5 * ~bright
        return logits


def write_picture(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH), **options: Any) -> None:
    """Bright above the horizon and dark below."""
    pixels = np.full((*size, 3), 60, np.uint8)
    pixels[: size[0] // 2] = 200
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def task(tmp_path: Path) -> PredictTask:
    write_picture(tmp_path / "in" / "street.png")
    for folder in ("labels", "overlays"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    return PredictTask(
        PanoramaFile("street", tmp_path / "in" / "street.png"), "street.png", tmp_path / "out",
        StudentModel(tmp_path / "student"), PanoramaConfig(width=64), {"model": "one"}, overlays=True, overwrite=False,
        device="cpu",
    )  # fmt: skip


def labels_of(task: PredictTask) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(label_path(task.out, task.file.id)))


def test_labels_are_of_the_pictures_size_and_the_network_sees_the_working_size(task: PredictTask) -> None:
    network = SkyAbove()
    report = predict_panorama(task, network)
    assert (report.id, report.failed, report.fatal) == ("street", None, None)
    assert network.seen == (32, 64, 3)
    labels = labels_of(task)
    assert labels.shape == (HEIGHT, WIDTH)
    assert (labels[: HEIGHT // 2 - 2] == SKY).all() and (labels[HEIGHT // 2 + 2 :] == ROAD).all()
    assert Image.open(overlay_path(task.out, "street")).size == (WIDTH, HEIGHT)


def test_the_label_file_says_what_it_was_made_of_and_what_is_there(task: PredictTask) -> None:
    predict_panorama(task, SkyAbove())
    notes = read_notes(label_path(task.out, "street"))
    assert (notes["model"], notes["file"]) == ("one", "street.png")
    assert notes["shares"][SKY] == pytest.approx(0.5, abs=0.02)
    assert notes["seen"] == pytest.approx(1, abs=1e-6)
    assert notes["sky_view_factor"] == pytest.approx(1, abs=0.01)
    write_picture(task.file.path, (HEIGHT, WIDTH), compress_level=0)
    predict_panorama(task, SkyAbove())
    assert read_notes(label_path(task.out, "street"))["source"] != notes["source"]


def test_without_overlays_none_is_left_of_an_earlier_network(task: PredictTask) -> None:
    predict_panorama(task, SkyAbove())
    assert overlay_path(task.out, "street").is_file()
    predict_panorama(replace(task, overlays=False), SkyAbove())
    assert not overlay_path(task.out, "street").exists()


@pytest.mark.parametrize("network", ["one", "other"])
def test_killed_before_its_labels_are_written_no_overlay_has_those_of_another_network_beside_it(
    task: PredictTask, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    predict_panorama(task, SkyAbove())
    monkeypatch.setattr("stages.predict_task.write_labels", killed)
    with pytest.raises(KeyboardInterrupt):
        predict_panorama(replace(task, names={"model": network}), SkyAbove())
    assert overlay_path(task.out, "street").is_file()
    assert label_path(task.out, "street").exists() == (network == "one")


def test_labels_of_another_panorama_stay_unless_they_may_be_replaced(task: PredictTask, tmp_path: Path) -> None:
    predict_panorama(task, SkyAbove())
    write_picture(tmp_path / "other" / "street.png", (HEIGHT * 2, WIDTH * 2))
    other = replace(task, file=PanoramaFile("street", tmp_path / "other" / "street.png"))
    refused = predict_panorama(other, SkyAbove())
    assert refused.failed is not None and "holds the labels of another panorama with this name" in refused.failed.error
    assert labels_of(task).shape == (HEIGHT, WIDTH)
    assert predict_panorama(replace(other, overwrite=True), SkyAbove()).failed is None
    assert labels_of(task).shape == (2 * HEIGHT, 2 * WIDTH)


def test_peoples_labels_in_the_place_of_a_map_stay_unless_they_may_be_replaced(task: PredictTask) -> None:
    place = label_path(task.out, "street")
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(place)
    refused = predict_panorama(task, SkyAbove())
    assert refused.failed is not None and "people's labels are not overwritten" in refused.failed.error
    assert (labels_of(task) == 7).all()
    place.write_bytes(place.read_bytes()[:50])  # a broken file holds nothing
    assert predict_panorama(task, SkyAbove()).failed is None
    Image.open(place).save(place, pnginfo=None)  # as an editor saves it
    assert predict_panorama(task, SkyAbove()).failed is not None
    assert predict_panorama(replace(task, overwrite=True), SkyAbove()).failed is None


def test_a_panorama_that_was_moved_or_changed_in_its_place_is_no_other(task: PredictTask, tmp_path: Path) -> None:
    predict_panorama(task, SkyAbove())
    moved = task.file.path.rename(tmp_path / "moved.png")
    assert predict_panorama(replace(task, file=PanoramaFile("street", moved)), SkyAbove()).failed is None
    write_picture(moved, (HEIGHT * 2, WIDTH * 2))
    assert predict_panorama(replace(task, file=PanoramaFile("street", moved)), SkyAbove()).failed is None


def test_a_broken_picture_costs_itself_and_a_full_disk_ends_the_run(
    task: PredictTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise CacheError("the disk is full", "there must be room", "Free some")

    with monkeypatch.context() as patch:
        patch.setattr("stages.predict_task.write_labels", full)
        report = predict_panorama(task, SkyAbove())
        assert isinstance(report.fatal, CacheError) and report.failed is None
    task.file.path.write_bytes(b"no picture")
    report = predict_panorama(task, SkyAbove())
    assert report.failed is not None and report.fatal is None and "street.png" in report.failed.error
    assert not label_path(task.out, "street").exists()


def test_what_is_ignored_has_no_label(task: PredictTask, tmp_path: Path) -> None:
    rig = np.zeros((HEIGHT, WIDTH), np.uint8)
    rig[-8:] = 255
    Image.fromarray(rig).save(tmp_path / "rig.png")
    predict_panorama(replace(task, panorama=replace(task.panorama, ignore_mask=str(tmp_path / "rig.png"))), SkyAbove())
    np.testing.assert_array_equal(labels_of(task)[:, 5] == IGNORE, np.arange(HEIGHT) >= HEIGHT - 8)


def test_of_a_part_of_the_sphere_the_labels_are_of_that_part(task: PredictTask) -> None:
    place = Placement(HEIGHT, WIDTH, 16, 32, 32, 64)
    write_picture(task.file.path.with_suffix(".jpg"), (32, 64), quality=95, xmp=gpano_xmp(place, 180))
    part = replace(task, file=PanoramaFile("street", task.file.path.with_suffix(".jpg")))
    report = predict_panorama(part, SkyAbove())
    assert report.placed and report.failed is None
    labels = labels_of(task)
    assert labels.shape == (32, 64)
    assert (labels[4:14, 4:-4] == SKY).all() and (labels[18:28, 4:-4] == ROAD).all()


@pytest.mark.parametrize("are_probabilities", [False, True])
def test_confidence_is_that_of_the_most_probable_class(task: PredictTask, are_probabilities: bool) -> None:
    panorama = open_panorama(task.file.path, task.panorama)

    class Sure(SkyAbove):
        def __call__(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            logits = super().__call__(image_HW3)
            exponents = np.exp(logits)
            return exponents / exponents.sum(axis=0) if are_probabilities else logits

    labels, confidence = predict_labels(panorama, Sure(), task.panorama, are_probabilities)
    assert labels.shape == (HEIGHT, WIDTH) and confidence.shape == (8, 16)
    np.testing.assert_allclose(confidence, np.exp(5) / (np.exp(5) + 12), rtol=1e-4)
