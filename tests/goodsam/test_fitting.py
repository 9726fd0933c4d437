"""`goodsam.tune` and `goodsam.adapt`: what is in the way is told first, and options arrive where they work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import goodsam
from pipeline.errors import CacheError, InputError, RecipeError
from stages.events import Event, Note, silent
from tests.stages.small_run import make_folders


def test_what_is_fitted_says_what_is_in_the_way_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    recipe = make_folders(tmp_path)
    run, untouched = goodsam.open_run(recipe), recipe.read_text()
    with pytest.raises(InputError, match="exists"):
        goodsam.tune(run, recipe, silent, device="cpu")
    assert recipe.read_text() == untouched
    with pytest.raises(CacheError, match="Run `goodsam teacher-cache` first"):
        goodsam.adapt(run, tmp_path / "adapted.toml", silent, device="cpu")
    onnx = goodsam.open_run(recipe, settings=["assistant.kind='onnx'", "assistant.name='net.onnx'"])
    with pytest.raises(RecipeError, match="cannot be trained"):
        goodsam.adapt(onnx, tmp_path / "adapted.toml", silent)


def test_a_missing_folder_of_panoramas_is_told_first(tmp_path: Path) -> None:
    run = goodsam.open_run(make_folders(tmp_path), settings=["data.panoramas=nowhere"])
    for fit in (goodsam.tune, goodsam.adapt):
        with pytest.raises(InputError, match="nowhere"):
            fit(run, tmp_path / "out.toml", silent, device="cpu")


@pytest.mark.parametrize(
    ("name", "stage", "options"),
    [
        (
            "tune",
            "stages.tune.tune",
            {"minutes": 3.0, "panoramas": 2, "overwrite": True, "device": "cpu", "threads": 2},
        ),
        ("adapt", "stages.adapt.adapt", {"rounds": 2, "overwrite": True, "workers": 3, "device": "cpu"}),
    ],
)
def test_options_listener_and_result_are_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stage: str, options: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {}

    def work(run: object, listener: Any, out: Path, **given: Any) -> str:
        asked.update(given, run=run, out=out)
        listener(Note("test", "heard"))
        return "the result"

    monkeypatch.setattr(stage, work)
    run, heard = goodsam.open_run(make_folders(tmp_path)), list[Event]()
    found: object = getattr(goodsam, name)(run, str(tmp_path / "out.toml"), heard.append, **options)
    assert found == "the result" and heard == [Note("test", "heard")]
    assert asked == {**options, "run": run, "out": tmp_path / "out.toml"}
