"""The run on real panoramas: what its student begins with, and what it is validated on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from scripts.real_check import real_run


def test_a_student_may_begin_with_another_and_be_validated_on_panoramas_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "assistant").mkdir()
    (tmp_path / "assistant" / "network.onnx").touch()
    cache = tmp_path / "cache"
    plain = real_run(tmp_path, cache, steps=40, limit=0).recipe
    assert (plain.student.weights, plain.distill.validation) == ("", 0)
    recipe = real_run(tmp_path, cache, steps=40, limit=0, held_out=8, start="world").recipe
    assert (recipe.student.weights, recipe.distill.validation, recipe.distill.validate_every) == ("world", 8, 4)
    assert (cache / "real" / "rig.png").exists()


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.onnx file"):
        real_run(tmp_path, tmp_path / "cache", steps=1, limit=0)
