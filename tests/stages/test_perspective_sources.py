"""Labelled perspective pictures by the layout of their data set, and which are held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.classes import LABEL_SETS
from pipeline.errors import InputError
from stages.perspective_sources import find_source
from stages.train_assistant import AssistantTraining, job_of
from tests.stages.test_train_assistant import pair, save


@pytest.mark.parametrize(("ending", "ids", "expected"), [("labelTrainIds", (0, 255), 0), ("labelIds", (7, 3), 0)])
def test_cityscapes(tmp_path: Path, ending: str, ids: tuple[int, int], expected: int) -> None:
    for part in ("train", "val"):
        pair(tmp_path / "leftImg8bit" / part / "ulm" / "ulm_1_leftImg8bit.png",
             tmp_path / "gtFine" / part / "ulm" / f"ulm_1_gtFine_{ending}.png", *ids)  # fmt: skip
    source = find_source(tmp_path)
    assert (source.name, len(source.learning), len(source.held_out)) == ("Cityscapes", 1, 1)
    found = job_of(source, AssistantTraining("demo"), tmp_path / "out")
    assert found.label_set is LABEL_SETS["cityscapes19"]
    np.testing.assert_array_equal(found.read(source.learning[0])[1][[0, -1], 0], [expected, 255])


def city(root: Path, part: str, name: str, ending: str) -> None:
    pair(root / "leftImg8bit" / part / "ulm" / f"{name}_leftImg8bit.png",
         root / "gtFine" / part / "ulm" / f"{name}_gtFine_{ending}.png", 7)  # fmt: skip


@pytest.mark.parametrize("part", ["train", "val"])
def test_cityscapes_with_both_kinds_of_ids_is_refused(tmp_path: Path, part: str) -> None:
    """Ids of one kind would be read as classes of the other: cars as fences."""
    for number, of_part in enumerate(("train", "train", "val")):
        city(tmp_path, of_part, f"ulm_{number}", "labelIds")
    city(tmp_path, part, "ulm_9", "labelTrainIds")
    with pytest.raises(InputError, match=r"ulm_0_gtFine_labelIds\.png but .*ulm_9_gtFine_labelTrainIds\.png"):
        find_source(tmp_path)


def test_own_ids_of_cityscapes_are_known_by_their_name_in_either_case(tmp_path: Path) -> None:
    for part in ("train", "val"):
        city(tmp_path, part, "ulm_1", "labelids")
    assert find_source(tmp_path).labels_set == "cityscapes34"


def test_camvid(tmp_path: Path) -> None:
    for part in ("train", "val"):
        pair(tmp_path / part / "0001TP_1.png", tmp_path / f"{part}annot" / "0001TP_1.png", 10, 11)
    found = job_of(find_source(tmp_path), AssistantTraining("demo"), tmp_path / "out")
    assert found.source.name == "CamVid" and found.label_set.name == "camvid11"
    np.testing.assert_array_equal(found.read(found.source.learning[0])[1][[0, -1], 0], [10, 255])


def test_stanford2d3d_and_structured3d(tmp_path: Path) -> None:
    s, t = tmp_path / "stanford", tmp_path / "structured"
    (s / "assets").mkdir(parents=True)
    (s / "assets" / "semantic_labels.json").write_text(json.dumps(["beam_1_a_1", "window_1_a_1"]))
    for area in ("area_1", "area_5b"):
        pair(s / area / "data" / "rgb" / "c_domain_rgb.png", s / "unused.png", 0)
        colours = np.zeros((48, 80, 3), np.uint8)
        colours[24:, :, 2] = 1
        save(s / area / "data" / "semantic" / "c_domain_semantic.png", colours)
    for scene in ("scene_00001", "scene_03001"):
        view = t / scene / "2D_rendering" / "1" / "perspective" / "full" / "0"
        pair(view / "rgb_rawlight.png", view / "semantic.png", 0, 40)
    for root, ids in ((s, [0, 12]), (t, [255, 39])):
        found = job_of(find_source(root), AssistantTraining("demo"), tmp_path / "out")
        assert len(found.source.learning) == len(found.source.held_out) == 1
        np.testing.assert_array_equal(found.read(found.source.learning[0])[1][[0, -1], 0], ids)


def test_a_plain_folder_holds_every_tenth_picture_out(tmp_path: Path) -> None:
    for n in range(11):
        pair(tmp_path / "images" / f"{n:02}.png", tmp_path / "labels" / f"{n:02}.png", 0, 1)
    source = find_source(tmp_path)
    assert [picture.id for picture in source.held_out] == ["00", "10"] and len(source.learning) == 9
    with pytest.raises(InputError, match="none of the known layouts"):
        find_source(tmp_path / "images")


def plain_pairs(folder: Path, count: int) -> Path:
    for n in range(count):
        pair(folder / "images" / f"{n:02}.png", folder / "labels" / f"{n:02}.png", 0, 1)
    return folder


def test_a_folder_of_train_and_val_holds_val_out(tmp_path: Path) -> None:
    plain_pairs(tmp_path / "train", 3)
    plain_pairs(tmp_path / "val", 2)
    save(tmp_path / "train" / "images" / "unlabelled.png", np.zeros((48, 80, 3), np.uint8))
    source = find_source(tmp_path)
    assert (source.name, source.labels_set, source.label_set) == (tmp_path.name, "", "")
    assert [picture.id for picture in source.learning] == ["00", "01", "02"], "those with a label"
    assert [picture.label.parent.parent.name for picture in source.held_out] == ["val", "val"]


def test_a_single_picture_cannot_be_learned_from_and_measured_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 labelled picture found"):
        find_source(plain_pairs(tmp_path, 1))
    source = find_source(plain_pairs(tmp_path, 2))
    assert ([p.id for p in source.learning], [p.id for p in source.held_out]) == (["01"], ["00"])


def test_cityscapes_without_its_val_holds_every_tenth_picture_out(tmp_path: Path) -> None:
    for n in range(12):
        pair(tmp_path / "leftImg8bit" / "train" / f"{n:02}_leftImg8bit.png",
             tmp_path / "gtFine" / "train" / f"{n:02}_gtFine_labelTrainIds.png", 0)  # fmt: skip
    source = find_source(tmp_path)
    assert (len(source.learning), len(source.held_out), source.labels_set) == (10, 2, "cityscapes19")


def test_structured3ds_test_scenes_are_left_out(tmp_path: Path) -> None:
    for scene in ("scene_00001", "scene_02999", "scene_03000", "scene_03249", "scene_03250"):
        view = tmp_path / scene / "2D_rendering" / "1" / "perspective" / "full" / "0"
        pair(view / "rgb_rawlight.png", view / "semantic.png", 1)
    source = find_source(tmp_path)
    assert [picture.id.partition("/")[0] for picture in source.learning] == ["scene_00001", "scene_02999"]
    assert [picture.id.partition("/")[0] for picture in source.held_out] == ["scene_03000", "scene_03249"]
    assert source.labels_from_one and source.label_set == "nyu40"


def test_stanford2d3d_needs_the_list_of_its_labels(tmp_path: Path) -> None:
    save(tmp_path / "area_1" / "data" / "rgb" / "c_domain_rgb.png", np.zeros((48, 80, 3), np.uint8))
    with pytest.raises(InputError, match=r"semantic_labels\.json"):
        find_source(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        find_source(tmp_path / "nowhere")
