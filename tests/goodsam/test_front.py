"""`import goodsam`: a run from its recipe to predictions, in a few calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import goodsam
from pipeline.errors import InputError, RecipeError
from pipeline.world import build_scene, render_panorama
from stages.events import Event, ItemFailed, silent
from tests.stages.small_run import make_folders, write_panorama

ROOT = Path(goodsam.__file__).resolve().parents[1]


def _street(height: int = 64) -> np.ndarray:
    return render_panorama(build_scene(3), height, 2 * height).image_HW3


def test_importing_it_is_quick_and_what_it_names_is_there() -> None:
    assert all(getattr(goodsam, name) is not None for name in goodsam.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(goodsam, "nothing")  # noqa: B009
    code = "import sys, goodsam; print(sorted({'torch', 'numpy', 'PIL', 'zarr', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", ["pipeline/__init__.py", "pipeline/data.txt", "stages.py"])
def test_another_package_of_these_names_is_named(tmp_path: Path, file: str) -> None:
    other = tmp_path / file
    other.parent.mkdir(exist_ok=True)
    other.touch()
    code = "import sys; sys.path.append(sys.argv[1]); import goodsam"  # as where GoodSAM is installed
    done = subprocess.run([sys.executable, "-S", "-c", code, str(ROOT)], cwd=tmp_path, capture_output=True, text=True)
    if file.endswith(".txt"):
        assert done.returncode == 0, "Python takes a folder that is no package last"
        return
    assert done.returncode == 1
    name = file.partition("/")[0].removesuffix(".py")
    assert f"the package `{name}` that Python finds is {other}, not GoodSAM's, which is {ROOT / name}." in done.stderr


@pytest.mark.slow
def test_a_run_goes_from_recipe_to_predictions_and_is_heard(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    (tmp_path / "photos" / "00.png").write_bytes(b"no picture")
    events = list[Event]()
    run = goodsam.open_run(recipe, settings=["data.limit=2", "evaluation.overlays=0", "distill.steps=2"])
    assert run.recipe.data.limit == 2
    summary = goodsam.teacher_cache(run, events.append, device="cpu")
    assert (summary.computed, list(summary.failed)) == (2, ["panoramas/00"])
    assert [event.item for event in events if isinstance(event, ItemFailed)] == list(summary.failed)
    folder = goodsam.distill(run, silent, device="cpu")
    assert goodsam.evaluate(run, device="cpu").metrics["ladder"][-1]["name"] == "student"
    log = (run.folder / "log.jsonl").read_text()
    assert '"stage": "eval"' in log
    assert '"stage": "distill"' not in log, "who listens has no log"
    out = tmp_path / "maps"
    predicted = goodsam.predict(tmp_path / "held_out", out, folder, silent, device="cpu")
    assert (predicted.done, predicted.failed) == (1, {})
    exported = goodsam.export(run, tmp_path / "cached", silent, what=["labels", "assistant"])
    assert (exported.written, exported.failed) == (1, {})
    assert sorted(path.name for path in (tmp_path / "cached" / "assistant").iterdir()) == ["0.png"]
    with pytest.raises(InputError, match="'shapefile'"):
        goodsam.export(run, tmp_path / "shapes", silent, format="shapefile")
    reported = goodsam.report(run, tmp_path / "report", silent, device="cpu", width=256)
    assert (reported.page, reported.made) == (tmp_path / "report" / "index.html", 2)
    labels_HW, probabilities_Chw = goodsam.load_student(folder, device="cpu").predict(tmp_path / "held_out" / "9.png")
    np.testing.assert_array_equal(labels_HW, np.asarray(Image.open(out / "labels" / "9.png")))
    assert probabilities_Chw.shape == (13, 16, 32)


def test_masks_are_arrays_of_the_picture_and_the_network_is_kept(tmp_path: Path) -> None:
    window_hw3 = _street(128)[:, :128]
    settings = ["sam.points_per_side=4", "sam.stability_score_thresh=0.5"]
    found = goodsam.masks(window_hw3, settings=settings, device="cpu")
    masks_Mhw = found.dense()
    assert masks_Mhw.shape == (len(found), 128, 128) and masks_Mhw.dtype == np.bool_
    assert len(found) > 0
    assert all(0 <= score <= 1.1 for score in found.predicted_iou_M)
    Image.fromarray(window_hw3).save(tmp_path / "window.png")
    np.testing.assert_array_equal(goodsam.masks(tmp_path / "window.png", settings=settings).dense(), masks_Mhw)
    with pytest.raises(RecipeError, match="points_per_sid"):
        goodsam.masks(window_hw3, settings=["sam.points_per_sid=4"])
    with pytest.raises(InputError, match="SAM takes RGB"):
        goodsam.masks(np.zeros((64, 64), np.uint8), device="cpu")


def test_a_missing_folder_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    write_panorama(tmp_path / "photos" / "1.png", 1)
    code = (
        "import sys, goodsam\n"
        "try:\n    goodsam.predict('photos', 'out', 'none/of/these.onnx')\n"
        "except goodsam.GoodSAMError as error:\n    print(error.found, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.strip() == "none/of/these.onnx does not exist False"
