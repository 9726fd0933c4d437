"""The comparison of fusion's settings: on two made-up panoramas, and its table."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.classes import LabelSet
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.controls import FusionInput
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import window_grid
from pipeline.teacher.config import SamConfig
from pipeline.teacher.masks import MaskSet
from pipeline.world.seeds import MODEL_VALIDATION
from scripts.measure_fusion import BLEND, DEFAULT, OPTIONS, SCENES, has_what_it_needs, measure, row, table

THREE = LabelSet("three", ("road", "pole", "sky"), ((0, 0, 0),) * 3, thin=())
WINDOWS = window_grid(32, 64, WindowConfig(32, 64, 32, 64))


def panorama(poles: int) -> tuple[FusionInput, np.ndarray]:
    """A road with some columns of poles under one mask, which deletes them; the assistant is right."""
    truth = np.zeros((32, 64), np.uint8)
    truth[:, :poles], truth[:4] = 1, 2
    probabilities = np.where(np.arange(3)[:, None, None] == truth, 0.8, 0.1).astype(np.float32)
    mask = np.zeros((1, 32, 64), np.bool_)
    mask[0, 4:] = True
    one, no = np.ones(truth.shape, np.float32), np.zeros(truth.shape, np.bool_)
    known = FusionInput(probabilities, one, no, WINDOWS, [MaskSet.from_dense(mask)], THREE, FusionConfig())
    return known, truth


def test_options_are_scored_on_the_same_panoramas_and_losers_are_named() -> None:
    options = {DEFAULT: {}, "rare": {"protect_rare": 0.2}}
    scores = measure([panorama(2), panorama(6)], options)
    blend, default, rare = (row(name, own, scores[DEFAULT], scores[BLEND], THREE) for name, own in scores.items())
    assert (blend["option"], blend["miou"], blend["classes that lose"]) == (BLEND, 100, {})
    assert default["miou change"] == [0, 0]
    assert default["classes that lose"]["pole"] == pytest.approx(-100)
    assert (rare["miou"], rare["pixels"], rare["classes that lose"]) == (100, 100, {})
    assert 0 < rare["miou change"][0] <= rare["miou change"][1]
    assert 0 < rare["pixels change"][0] < 100 - default["pixels"] + 10
    lines = table([default, rare]).splitlines()
    assert lines[2].startswith(f"| {DEFAULT} |") and "pole -100.0" in lines[2]
    assert lines[3].endswith("| none |")
    assert len({line.count("|") for line in lines}) == 1


def test_options_whose_masks_lack_what_they_look_at_are_left_out() -> None:
    weighed, chosen = {"weigh_by": "prompt_stability"}, {"one_per_prompt": True}
    assert [has_what_it_needs(own, SamConfig()) for own in ({}, {"weigh_by": "lcr"}, weighed, chosen)] == [
        True, True, False, False]  # fmt: skip
    assert has_what_it_needs(weighed, SamConfig(jitter=0.1)) and has_what_it_needs(chosen, SamConfig(keep_levels=True))


def test_every_option_is_a_setting_and_no_scene_is_in_both_sets() -> None:
    configs = [FusionConfig(**settings) for settings in OPTIONS.values()]
    assert configs[0] == FusionConfig() and len(set(configs)) == len(configs)
    every = [seed for seeds in SCENES.values() for seed in seeds]
    assert len(set(every)) == len(every)
    assert all(seed in MODEL_VALIDATION for seeds in SCENES.values() for seed in seeds)
