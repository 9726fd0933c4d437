"""Where labels may lie: every layout of the field's data sets, from their roots and from folders inside."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from pipeline.panorama.label_names import has_label_name, label_candidates


def place(image_id: str, label: str) -> int:
    """How many other places are looked at before a label's; it must be one of them."""
    return list(label_candidates(image_id)).index(PurePosixPath(label))


@pytest.mark.parametrize(
    ("image_id", "label"),
    [
        ("leftImg8bit/val/cs/1_", "gtFine/val/cs/1_labelTrainIds.png"),  # DensePASS
        ("val/cs/1_", "val/cs/1_labelTrainIds.png"),
        ("leftImg8bit/val/cs/1", "gtFine/val/cs/1.png"),  # WildPASS
        ("leftImg8bit/val/cs/1_", "gtFine/val/cs/1.png"),
        ("area_1/pano/rgb/camera_x_rgb", "area_1/pano/semantic/camera_x_semantic.png"),  # Stanford2D3D
        ("img/fog/val/Town01/1", "semantic/fog/val/Town01/1_trainID.png"),  # SynPASS
        ("scene_00001/2D_rendering/5/panorama/full/rgb_rawlight",
         "scene_00001/2D_rendering/5/panorama/full/semantic.png"),  # Structured3D
        ("full/rgb_coldlight", "full/semantic.png"),
        ("full/rgb_warmlight", "full/semantic.png"),
        ("leftImg8bit/val/ulm/ulm_1_leftImg8bit", "gtFine/val/ulm/ulm_1_gtFine_labelTrainIds.png"),  # Cityscapes
        ("leftImg8bit/val/ulm/ulm_1_leftImg8bit", "gtFine/val/ulm/ulm_1_gtFine_labelIds.png"),
        ("images/street/1", "labels/street/1.png"),  # one's own
        ("street/1", "street/1.png"),
        ("street/1", "labels/street/1.png"),
        ("images/street/1", "street/1.png"),
    ],
)  # fmt: skip
def test_labels_of_every_layout_are_looked_for(image_id: str, label: str) -> None:
    assert place(image_id, label) >= 0


def test_train_ids_come_before_plain_names_and_own_ids_last() -> None:
    image = "leftImg8bit/val/ulm/ulm_1_leftImg8bit"
    order = [place(image, f"gtFine/val/ulm/{name}.png")
             for name in ("ulm_1_gtFine_labelTrainIds", "ulm_1_leftImg8bit", "ulm_1_gtFine_labelIds")]  # fmt: skip
    assert order == sorted(order)
    assert place("images/1", "labels/1_labelTrainIds.png") < place("images/1", "labels/1.png")


def test_the_folder_that_stands_for_the_images_comes_before_others() -> None:
    image = "leftImg8bit/val/1"
    assert (
        place(image, "gtFine/val/1.png")
        < place(image, "leftImg8bit/val/1.png")
        < place(image, "labels/leftImg8bit/val/1.png")
    )


def test_no_place_is_looked_at_twice() -> None:
    for image_id in ("1", "images/1", "leftImg8bit/images/1_leftImg8bit", "rgb/1_rgb"):
        found = list(label_candidates(image_id))
        assert len(found) == len(set(found))


def test_what_is_no_light_of_structured3d_and_no_picture_of_cityscapes_has_none_of_their_names() -> None:
    names = {path.name for path in label_candidates("full/1")}
    assert names == {"1_labelTrainIds.png", "1_trainID.png", "1.png"}
    assert "semantic.png" not in {path.name for path in label_candidates("rgb")}


@pytest.mark.parametrize(
    ("stem", "is_label"),
    [("1_labelTrainIds", True), ("1_trainID", True), ("camera_semantic", True), ("semantic", True),
     ("1", False), ("1_color", False), ("semantic_1", False), ("1_labelIds", False)],
)  # fmt: skip
def test_names_say_whether_a_file_holds_class_ids(stem: str, is_label: bool) -> None:
    assert has_label_name(stem) == is_label
