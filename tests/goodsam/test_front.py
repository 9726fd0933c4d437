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
from pipeline.errors import CacheError, InputError, RecipeError, WeightsError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from pipeline.world import build_scene, render_panorama
from stages.events import Event, ItemFailed, silent
from tests.stages.small_run import make_folders, write_panorama

ROOT = Path(goodsam.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def student() -> goodsam.Student:
    return goodsam.load_student("demo", device="cpu")


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


def test_a_student_gives_labels_and_probabilities_of_an_array_or_a_file(
    student: goodsam.Student, tmp_path: Path
) -> None:
    image_HW3 = _street()
    Image.fromarray(image_HW3).save(tmp_path / "street.png")
    labels_HW, probabilities_Chw = student.predict(image_HW3)
    assert (labels_HW.shape, labels_HW.dtype) == ((64, 128), np.uint8)
    assert len(probabilities_Chw) == len(student.classes) == 13
    assert student.classes[0] == "road"
    np.testing.assert_allclose(probabilities_Chw.sum(axis=0), 1, atol=1e-5)
    assert probabilities_Chw.min() >= 0 and probabilities_Chw.dtype == np.float32
    of_file = student.predict(tmp_path / "street.png")
    np.testing.assert_array_equal(of_file.labels_HW, labels_HW)
    np.testing.assert_array_equal(of_file.probabilities_Chw, probabilities_Chw)


def test_a_black_border_has_no_labels(student: goodsam.Student) -> None:
    image_HW3 = _street().copy()
    image_HW3[48:] = 0
    labels_HW = student.predict(image_HW3).labels_HW
    assert (labels_HW[50:] == 255).all() and (labels_HW[:40] != 255).all()


def test_of_a_part_of_the_sphere_probabilities_are_those_of_the_part(student: goodsam.Student, tmp_path: Path) -> None:
    place = Placement(128, 256, top=32, left=64, height=64, width=128)
    xmp = gpano_xmp(place, 180)
    Image.fromarray(_street()).save(tmp_path / "part.jpg", xmp=xmp, quality=95)
    labels_HW, probabilities_Chw = student.predict(tmp_path / "part.jpg")
    whole = student.predict(_street()).probabilities_Chw
    assert labels_HW.shape == (64, 128)
    assert probabilities_Chw.shape == (13, whole.shape[1] // 2, whole.shape[2] // 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((64, 128), np.uint8), "an image of uint8 and shape (64, 128); a panorama is RGB"),
        (np.zeros((64, 128, 3)), "an image of float64 and shape (64, 128, 3); a panorama is RGB"),
        (np.zeros((64, 100, 3), np.uint8), "the image is 100x64; a full panorama is 2:1"),
        (np.zeros((8, 16, 3), np.uint8), "the image is only 16x8; a panorama is at least 32 pixels wide"),
        ("nowhere.jpg", "nowhere.jpg does not exist"),
        (None, "an image of NoneType; a panorama is RGB"),
    ],
)
def test_what_is_no_panorama_is_one_sentence(
    student: goodsam.Student, image: goodsam.ImageOrPath, message: str
) -> None:
    with pytest.raises(InputError) as raised:
        student.predict(image)
    assert message in str(raised.value)


def test_a_students_onnx_file_is_loaded_too(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.stages.test_onnx_predictor import FACTS, write_file

    exported = goodsam.load_student(write_file(tmp_path / "model.onnx", FACTS), device="cpu")
    assert exported.panorama == PanoramaConfig(width=128, vertical_fov=135)
    labels_HW, probabilities_Chw = exported.predict(np.full((48, 128, 3), 200, np.uint8))
    assert labels_HW.shape == (48, 128) and (labels_HW == 12).all()
    np.testing.assert_allclose(probabilities_Chw.sum(axis=0), 1, atol=1e-5)


def test_where_no_student_is_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no student"):
        goodsam.load_student(tmp_path)


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
