"""NaN and infinity out of a network end a run with one error that names it, before anything is stored or written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SegformerForSemanticSegmentation

from pipeline.classes import DENSEPASS_13
from pipeline.errors import WeightsError
from pipeline.finite import require_finite
from pipeline.panorama.config import PanoramaConfig
from pipeline.student.config import StudentConfig
from pipeline.student.model import save_student, start_student
from pipeline.teacher.assistant import DEMO_FOLDER
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.sam import load_sam
from stages.events import silent
from stages.models import StudentModel
from stages.predict import PredictJob, predict
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import make_folders, small_run

BAD = (float("nan"), float("inf"))
NAMED = "outputs NaN or infinity"


@pytest.mark.parametrize("bad", [*BAD, -float("inf")])
def test_a_single_bad_number_is_found_and_large_ones_are_not_taken_for_it(bad: float) -> None:
    numbers = torch.full((3, 5), 3e38)  # their sum is infinite
    require_finite(numbers, "the network")
    numbers[2, 3] = bad
    with pytest.raises(WeightsError, match=f"the network {NAMED}"):
        require_finite(numbers, "the network")


def test_infinities_that_cancel_are_found() -> None:
    with pytest.raises(WeightsError):
        require_finite(torch.tensor([float("inf"), -float("inf")]), "the network")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("only_one_class", [False, True])
def test_predict_writes_nothing_with_a_student_that_has_a_bad_number(
    tmp_path: Path, bad: float, only_one_class: bool
) -> None:
    model = start_student(StudentConfig(size="tiny"), DENSEPASS_13).model
    bias = model.get_parameter("decode_head.classifier.bias")
    with torch.no_grad():
        bias[4 if only_one_class else slice(None)] = bad
    save_student(model, tmp_path / "student")
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((64, 128, 3), 90, np.uint8)).save(tmp_path / "in" / "a.png")
    job = PredictJob(StudentModel(tmp_path / "student"), tmp_path / "in", tmp_path / "out", PanoramaConfig(width=64))
    with pytest.raises(WeightsError, match=f"student .*{NAMED}"):
        predict(job, silent)
    assert not list((tmp_path / "out").rglob("*.png"))


def broken_assistant(folder: Path, bad: float) -> Path:
    network = SegformerForSemanticSegmentation.from_pretrained(DEMO_FOLDER).float()
    with torch.no_grad():
        network.get_parameter("decode_head.classifier.bias")[2] = bad
    network.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD)
def test_an_assistant_with_a_bad_number_is_reported_before_anything_is_stored(tmp_path: Path, bad: float) -> None:
    make_folders(tmp_path)
    name = str(broken_assistant(tmp_path / "assistant", bad))
    run = small_run(tmp_path, assistant={"kind": "transformers", "name": name})
    with pytest.raises(WeightsError, match=f"assistant .*{NAMED}"):
        teacher_cache(run, silent)
    assert not list(run.store.rglob("c"))  # no chunk of an array


@pytest.mark.parametrize("part", ["iou_prediction_head.layers.2.bias", "output_hypernetworks_mlps.2.layers.2.bias"])
@pytest.mark.parametrize("batched", [False, True])
def test_a_sam_with_a_bad_number_gives_no_masks_but_an_error(part: str, batched: bool) -> None:
    sam = load_sam(SamConfig(), torch.device("cpu"))
    with torch.no_grad():
        sam.mask_decoder.get_parameter(part)[-1] = float("nan")
    generator = AutomaticMaskGenerator(
        sam, points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, batched=batched
    )
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with pytest.raises(WeightsError, match=f"SAM {NAMED}"):
        generator.generate(image)
