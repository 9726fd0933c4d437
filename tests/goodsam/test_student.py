"""A student as a Python object: labels and probabilities of arrays and files, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import goodsam
from goodsam.student import pixels_of
from pipeline.errors import InputError, WeightsError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from pipeline.world import build_scene, render_panorama


def _street(height: int = 64) -> np.ndarray:
    return render_panorama(build_scene(3), height, 2 * height).image_HW3


@pytest.fixture(scope="module")
def student() -> goodsam.Student:
    return goodsam.load_student("demo", device="cpu")


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


def test_pixels_of_a_file_are_upright_rgb_and_arrays_stay(tmp_path: Path) -> None:
    image_HW3 = _street()
    assert pixels_of(image_HW3) is image_HW3
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    Image.fromarray(image_HW3).save(tmp_path / "street.png", exif=exif)
    np.testing.assert_array_equal(pixels_of(tmp_path / "street.png"), image_HW3[::-1, ::-1])
    with pytest.raises(InputError, match=r"none\.png"):
        pixels_of(str(tmp_path / "none.png"))


def test_labels_are_where_probabilities_are_highest(student: goodsam.Student) -> None:
    labels_HW, probabilities_Chw = student.predict(_street(64))
    step = probabilities_Chw.shape[1] // 64  # the network's own resolution is finer than this picture's
    likely_HW = probabilities_Chw.argmax(axis=0)[step // 2 :: step, step // 2 :: step]
    assert (likely_HW == labels_HW).mean() > 0.8
