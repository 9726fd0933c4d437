"""Judgements of blends: predictors that roll with the sphere, collapse, and means over panoramas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import window_grid
from pipeline.teacher.masks import MaskSet
from pipeline.tune.blends import Blend, SeenPart
from pipeline.tune.judge import JudgedPanorama, Judgement, mean_judgement
from pipeline.tune.mask_pixels import MaskPixels

HEIGHT, WIDTH, CLASSES = 32, 64, 4
WINDOWS_ALONE = Blend(0, 0)


def panorama() -> JudgedPanorama:
    """Masks are stripes of 8 columns in windows of 32."""
    windows = window_grid(HEIGHT, WIDTH, WindowConfig(32, 32, 32, 32))
    stripes = np.stack([np.broadcast_to(np.arange(32) // 8 == k, (32, 32)) for k in range(4)])
    everywhere = np.ones((HEIGHT, WIDTH), np.bool_)
    pixels = MaskPixels.of(windows, [MaskSet.from_dense(stripes)] * len(windows), everywhere)
    return JudgedPanorama(pixels, np.ones(HEIGHT * WIDTH), CLASSES, np.ones(HEIGHT * WIDTH))


def seen(labels_HW: np.ndarray) -> dict[str, SeenPart]:
    certain_HWC = np.eye(CLASSES, dtype=np.float32)[labels_HW]
    return {"windows": SeenPart(np.moveaxis(certain_HWC, -1, 0).reshape(CLASSES, -1), np.ones(1, np.float32))}


STRIPES = np.broadcast_to(np.arange(WIDTH) // 8 % CLASSES, (HEIGHT, WIDTH))


def test_a_predictor_that_rolls_with_the_panorama_agrees_fully() -> None:
    judgement = panorama().judge(WINDOWS_ALONE, seen(STRIPES), seen(STRIPES), {"windows": 0.75})
    assert judgement.roll == judgement.corrected_purity == judgement.score == 1
    assert judgement.views == 0.75


def test_a_predictor_that_says_what_it_says_at_a_place_of_the_picture_does_not() -> None:
    stuck = np.roll(STRIPES, 8, axis=1)
    judgement = panorama().judge(WINDOWS_ALONE, seen(STRIPES), seen(stuck), {"windows": 1.0})
    assert judgement.roll < 0 and judgement.corrected_purity == 1 and judgement.score < 1


def test_one_class_everywhere_scores_nothing() -> None:
    one = np.full((HEIGHT, WIDTH), 2)
    judgement = panorama().judge(WINDOWS_ALONE, seen(one), seen(one), {"windows": 1.0})
    assert (judgement.purity, judgement.score, judgement.classes) == (1, 0, 1)


def test_parts_without_weight_do_not_count_in_the_agreement_of_views() -> None:
    parts = seen(STRIPES)
    parts |= {
        "whole": parts["windows"],
        "level": SeenPart(parts["windows"].probabilities_CN, np.ones(2048, np.float32)),
    }
    agreements = {"whole": math.nan, "windows": 0.5, "level": 0.9}
    for blend, expected in ((Blend(0.5, 0.5, ("level",)), 0.9), (Blend(0, 0.25, ("level",)), 0.6)):
        assert panorama().judge(blend, parts, parts, agreements).views == pytest.approx(expected)
    assert math.isnan(panorama().judge(Blend(1, 0), parts, parts, agreements).views)


def test_the_mean_leaves_out_what_is_unknown() -> None:
    one = Judgement(0.8, 0.6, 0.9, math.nan, 3, 0.5, 4)
    mean = mean_judgement([one, replace(one, purity=0.6, views=0.5)])
    assert mean.purity == pytest.approx(0.7) and mean.views == 0.5
    assert math.isnan(mean_judgement([one]).views)
