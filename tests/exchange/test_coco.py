"""Label maps for COCO: pycocotools reads the segments, and the panoptic map has their ids."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.exchange import coco
from tests.exchange.label_maps import street


def test_pycocotools_reads_segments_areas_and_boxes() -> None:
    coco_mask: Any = importlib.import_module("pycocotools.mask")
    labels = street()
    again = np.full_like(labels, IGNORE)
    for segment in coco.segments(labels):
        mask = coco_mask.decode(segment["segmentation"]).astype(bool)
        again[mask] = segment["category_id"] - 1
        rows, columns = np.nonzero(mask)
        assert segment["area"] == mask.sum()
        left, top, width, height = segment["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
    np.testing.assert_array_equal(again, labels)


def test_the_panoptic_map_has_the_segments_ids_and_0_where_nothing_is_labelled() -> None:
    labels = street()
    ids = coco.panoptic_map(labels).astype(int) @ [1, 256, 65536]
    np.testing.assert_array_equal(ids, np.where(labels == IGNORE, 0, labels.astype(int) + 1))
    infos = coco.panoptic_segments(coco.segments(labels))
    assert {one["id"] for one in infos} == set(ids[ids > 0].tolist())
    assert all(one["area"] == (ids == one["id"]).sum() for one in infos)
    assert all(one.keys() == {"id", "category_id", "area", "bbox", "iscrowd"} for one in infos)


def test_a_map_without_labels_has_no_segments() -> None:
    assert coco.segments(np.full((4, 8), IGNORE, np.uint8)) == []
    assert not coco.panoptic_map(np.full((4, 8), IGNORE, np.uint8)).any()


def test_categories_are_the_classes_with_ids_from_1_on() -> None:
    found = coco.categories(DENSEPASS_13)
    assert [one["id"] for one in found] == list(range(1, 14))
    assert [one["name"] for one in found] == list(DENSEPASS_13.names)
    assert found[0]["color"] == [128, 64, 128] and not any(one["isthing"] for one in found)


def test_without_pycocotools_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    coco.require_pycocotools()
    monkeypatch.setattr(coco, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pycocotools"):
        coco.require_pycocotools()
