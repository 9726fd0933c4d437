"""Which settings and files decide each product."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.errors import WeightsError
from pipeline.teacher.config import SAM_OPTIONAL
from pipeline.teacher.identity import DEMO_WEIGHTS
from stages.products import fingerprints, product
from tests.stages.test_products import changed, recipe_of


def test_settings_of_fusion_that_came_later_are_in_no_fingerprint_while_they_are_off(tmp_path: Path) -> None:
    ensemble = product(ENSEMBLE)
    off = ensemble.settings(recipe_of(tmp_path))["fusion"]
    assert off.keys() == {"theta", "unreliable", "protect_thin", "large_mask", "uncovered_confidence",
                          "uncovered_agreement"}  # fmt: skip
    for key, value in {
        "thin_runner_up": 0.2,
        "give_back": ["sidewalk in road"],
        "join_rule": "doubtful",
        "paint_from": 0.5,
    }.items():
        assert ensemble.settings(recipe_of(tmp_path, fusion={key: value}))["fusion"].keys() == {*off, key}


def test_settings_of_sam_that_came_later_are_in_no_fingerprint_while_they_are_off(tmp_path: Path) -> None:
    masks = product(MASKS)
    off = masks.settings(recipe_of(tmp_path))["sam"]
    assert not off.keys() & SAM_OPTIONAL.keys()
    for key, value in {"refine": 1, "jitter": 0.01, "context": 0.1, "keep_levels": True}.items():
        assert masks.settings(recipe_of(tmp_path, sam={key: value}))["sam"].keys() == {*off, key}


def test_unknown_objects_concern_the_ensemble_only_where_the_student_ignores_them(tmp_path: Path) -> None:
    before = fingerprints(recipe_of(tmp_path))
    assert not changed(before, fingerprints(recipe_of(tmp_path, unknown={"min_entropy": 0.2})))
    assert changed(before, fingerprints(recipe_of(tmp_path, unknown={"ignored_by_student": True}))) == [ENSEMBLE]


def test_weights_count_by_content_and_not_by_name_or_place(tmp_path: Path) -> None:
    def names(path: Path) -> dict[str, str]:
        return fingerprints(recipe_of(tmp_path, sam={"checkpoint": str(path)}))

    here, there, other = tmp_path / "sam.pth", tmp_path / "elsewhere" / "other_name.pth", tmp_path / "tuned.pth"
    there.parent.mkdir()
    for path in (here, there, other):
        shutil.copyfile(DEMO_WEIGHTS, path)
    other.write_bytes(other.read_bytes() + b"tuned")
    assert names(here) == names(there)
    assert changed(names(here), names(other)) == [MASKS, ENSEMBLE]
    with pytest.raises(WeightsError, match=r"gone\.pth"):
        names(tmp_path / "gone.pth")
