"""Which points are prompted, and how a predicted mask is scored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything import SamPredictor

from pipeline.teacher.config import SamConfig
from pipeline.teacher.sam import load_sam
from pipeline.world.seeds import MODEL_VALIDATION
from scripts.demo_data import SIZE, Batch, render_windows
from scripts.evaluate_demo_sam import CAMVID_UNLABELLED, frames
from scripts.measure_one_point import (
    by_area,
    by_level,
    centre_prompts,
    grid_prompts,
    labelled_frame,
    labelled_window,
    predict_points,
    score_prediction,
)

SIDE = 32


def one_square() -> Batch:
    """A window of 32 pixels: a square object of two parts on a ground of one part."""
    instances = np.zeros((1, SIDE, SIDE), np.uint16)
    instances[0, 8:24, 8:24] = 1
    parts = instances.copy()
    parts[0, 8:24, 16:24] = 2
    return Batch(np.zeros((1, SIDE, SIDE, 3), np.uint8), instances.astype(np.uint8), instances, parts)


def test_the_grid_asks_all_levels_at_every_point() -> None:
    prompts = list(grid_prompts(labelled_window(one_square(), 0), side=4))
    assert len(prompts) == 3 * 16
    assert {prompt[1:] for prompt in prompts} == {(r, c) for r in (4, 12, 20, 28) for c in (4, 12, 20, 28)}


def test_centres_ask_every_mask_once_at_its_innermost_pixel() -> None:
    prompts = list(centre_prompts(labelled_window(one_square(), 0), smallest=64))
    assert [level for level, _, _ in prompts] == [0, 0, 0, 1, 1, 2, 2]
    objects = [(row, column) for level, row, column in prompts if level == 1]
    assert any(12 <= row <= 19 and 12 <= column <= 19 for row, column in objects)
    right_part = [(row, column) for level, row, column in prompts if level == 0][2]
    assert 18 <= right_part[1] <= 21


def test_small_masks_are_not_asked_for() -> None:
    assert len(list(centre_prompts(labelled_window(one_square(), 0), smallest=200))) == 1 + 2 + 2


def test_a_point_counts_the_best_of_three_masks() -> None:
    instances = one_square().instances_NHW[0]
    said = np.stack([instances == 0, instances == 1, np.ones((SIDE, SIDE), bool)])
    result = score_prediction(1, instances, 12, 12, said)
    assert (result.level, result.area, result.iou) == (1, 256, 1.0)
    half = np.stack([instances == 0, np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)])
    assert score_prediction(1, instances, 12, 12, half).iou == 256 / 1024
    assert "object 1.000" in by_level([score_prediction(k, instances, 12, 12, said) for k in range(3)])
    assert "256 to   1023 pixels: 1.000 (1)" in by_area([result])


def write_frame(folder: Path) -> None:
    """A photograph twice as wide as high; its middle square is road and car below and has no label above."""
    labels = np.full((SIZE, 2 * SIZE), 3, np.uint8)
    labels[:, SIZE:] = 8
    labels[: SIZE // 2] = CAMVID_UNLABELLED
    for name, array in (("images/a.jpg", np.stack([20 * labels] * 3, axis=-1)), ("labels/a.png", labels)):
        (folder / name).parent.mkdir(parents=True)
        Image.fromarray(array).save(folder / name)


def test_a_photograph_is_asked_for_its_class_regions_where_it_is_labelled(tmp_path: Path) -> None:
    write_frame(tmp_path)
    (frame,) = map(labelled_frame, frames(tmp_path, 5))
    asked = list(grid_prompts(frame, side=4))
    assert {level for level, _, _ in asked} == {2}
    assert {row for _, row, _ in asked} == {160, 224}  # the upper half has no label
    assert len(asked) == 8
    half = SIZE // 2
    centres = sorted(centre_prompts(frame, smallest=64), key=lambda prompt: prompt[2])
    assert [(level, row >= half, column >= half) for level, row, column in centres] == [
        (2, True, False),
        (2, True, True),
    ]


def test_what_a_mask_covers_of_unlabelled_pixels_counts_neither_way(tmp_path: Path) -> None:
    write_frame(tmp_path)
    (frame,) = map(labelled_frame, frames(tmp_path, 5))
    left = np.zeros((3, SIZE, SIZE), bool)
    left[0, :, : SIZE // 2] = True  # the road, and what lies above it
    result = score_prediction(2, frame.ids[2], SIZE - 1, 0, left)
    assert (result.area, result.iou) == (SIZE * SIZE // 4, 1.0)
    assert by_level([result]) == "region 1.000  all 1.000  (1 masks)"


@pytest.mark.slow
def test_the_embedded_sam_finds_masks_from_points_of_scenes_that_it_has_not_seen() -> None:
    windows = render_windows(MODEL_VALIDATION[9000:9002], per_scene=2)
    predictor = SamPredictor(load_sam(SamConfig(), torch.device("cpu")))
    with torch.inference_mode():
        images = [labelled_window(windows, index) for index in range(len(windows))]
        found = [
            result for image in images for result in predict_points(predictor, image, list(grid_prompts(image, 6)))
        ]
    assert np.mean([result.iou for result in found]) > 0.65
