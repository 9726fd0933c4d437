"""The measurement of adapted assistants, on scenes of 64 x 128 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.world import build_scene, render_panorama
from scripts import measure_adapt
from scripts.measure_adapt import SHOWN, measure, table
from tests.stages.small_run import make_folders, small_run


@pytest.mark.slow
def test_whole_image_and_blend_are_measured_once_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_folders(tmp_path)
    recipe = small_run(tmp_path).recipe
    scenes = [(tmp_path / f"{seed}.png", tmp_path / f"{seed}.labels.png") for seed in (0, 1)]
    pixels = 0
    for seed, paths in enumerate(scenes):
        view = render_panorama(build_scene(seed), 64, 128)
        pixels += np.count_nonzero(view.labels_HW != 255)
        for array, path in zip((view.image_HW3, view.labels_HW), paths, strict=True):
            Image.fromarray(array).save(path)
    measured = measure(recipe, scenes, tmp_path / "out")
    assert {kind: matrices.shape for kind, matrices in measured.items()} == dict.fromkeys(SHOWN, (2, 13, 13))
    assert {matrices.sum() for matrices in measured.values()} == {pixels}
    monkeypatch.setattr(measure_adapt, "load_assistant", lambda *_: pytest.fail("predicted again"))
    again = measure(recipe, scenes, tmp_path / "out")
    lines = table({"before": measured, "after": again}).splitlines()
    assert len(lines) == 2 + 2 * len(SHOWN)
    assert lines[2].startswith("| before | whole image |") and "+0.00 to +0.00" in lines[4]
