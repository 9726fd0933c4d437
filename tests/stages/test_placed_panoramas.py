"""Panoramas that are parts of the sphere by their GPano tags, through the stages."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.classes import IGNORE
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.sphere import solid_angles
from stages.evaluate import evaluate
from stages.events import Event, Note
from stages.models import StudentModel
from stages.predict import PredictJob, predict
from stages.reading import RunReader
from stages.splits import evaluation_panoramas
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import HEIGHT, WIDTH, make_folders, small_run
from tests.stages.test_predict import ByColour

TOP, LEFT, ROWS, COLUMNS = 16, 32, 40, 64
NOTE = "1 panorama placed on the sphere by GPano tags; the rest of the sphere is ignored there"


def cut_out(path: Path) -> None:
    """Make a full panorama a part of itself that says where it lies."""
    tags = {"CroppedAreaTopPixels": TOP, "CroppedAreaLeftPixels": LEFT, "CroppedAreaImageHeightPixels": ROWS,
            "CroppedAreaImageWidthPixels": COLUMNS, "FullPanoHeightPixels": HEIGHT,
            "FullPanoWidthPixels": WIDTH}  # fmt: skip
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "".join(f'GPano:{key}="{value}" ' for key, value in tags.items()))
    part = np.asarray(Image.open(path))[TOP : TOP + ROWS, LEFT : LEFT + COLUMNS]
    Image.fromarray(part).save(path, pnginfo=info)


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


@pytest.mark.slow
def test_a_part_is_cached_and_measured_at_its_place_and_nowhere_else(tmp_path: Path) -> None:
    make_folders(tmp_path)
    cut_out(tmp_path / "held_out" / "9.png")
    cut_out(tmp_path / "labels" / "9.png")
    run, events = small_run(tmp_path, data={"panoramas": str(tmp_path / "held_out"), "evaluation": ""}), list[Event]()
    assert teacher_cache(run, events.append).failed == {}
    assert NOTE in notes(events)
    reader = RunReader.open(run, evaluation_panoramas(run.recipe))
    id_ = reader.ids[0]
    inside = np.zeros((HEIGHT, WIDTH), np.bool_)
    inside[TOP : TOP + ROWS, LEFT : LEFT + COLUMNS] = True
    teacher, sample = reader.teacher(id_), reader.sample_reader(id_)
    np.testing.assert_array_equal(teacher.ignored_HW, ~inside)
    np.testing.assert_array_equal(sample.ignored_HW, ~inside)  # what is ignored has no loss
    assert (teacher.ensemble_HW[~inside] == IGNORE).all() and (teacher.ensemble_HW[inside] != IGNORE).all()
    assert not sample.image_HW3[~inside].any()
    evaluate(run, lambda event: None)
    measured = json.loads((run.evaluation / "metrics.json").read_text())
    assert measured["labelled"] == 1
    assert {rung["coverage"] for rung in measured["ladder"] if rung["name"] == "ensemble"} == {1.0}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PredictJob:
    monkeypatch.setattr("stages.predictor.load_predictor", lambda folder, device: ByColour())
    coarse = np.random.default_rng(0).integers(10, 256, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8)
    for folder in ("in", "student"):
        (tmp_path / folder).mkdir()
    for name in ("whole", "part"):
        Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(tmp_path / "in" / f"{name}.png")
    cut_out(tmp_path / "in" / "part.png")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "student" / name).write_text("first")
    return PredictJob(
        StudentModel(tmp_path / "student"), tmp_path / "in", tmp_path / "out", PanoramaConfig(width=WIDTH), True
    )


def test_what_is_predicted_of_a_part_has_its_own_pixels(job: PredictJob) -> None:
    events: list[Event] = []
    predict(job, events.append)
    whole, part = (np.asarray(Image.open(job.out / "labels" / f"{name}.png")) for name in ("whole", "part"))
    assert part.shape == (ROWS, COLUMNS)
    np.testing.assert_array_equal(part[4:-4, 4:-4], whole[TOP + 4 : TOP + ROWS - 4, LEFT + 4 : LEFT + COLUMNS - 4])
    assert Image.open(job.out / "overlays" / "part.jpg").size == (COLUMNS, ROWS)
    assert notes(events) == [NOTE]
    rows = {row.pop("panorama"): row for row in csv.DictReader((job.out / "class_shares.csv").open())}
    weights = np.repeat(solid_angles(HEIGHT, WIDTH)[TOP : TOP + ROWS, None], COLUMNS, axis=1)
    road = weights[part == 0].sum() / weights.sum()
    assert float(rows["part"]["road"]) == pytest.approx(road, abs=1e-5)
    assert float(rows["part"]["ignored"]) == 0
