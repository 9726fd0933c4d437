"""What the products of a panorama hold: masks of every window in order, and the assistant's prediction of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.arrays import ImageArray
from pipeline.cache.records import unpack_masks
from pipeline.cache.schema import ASSISTANT
from pipeline.teacher.masks import MaskSet
from stages.panorama_work import PanoramaWork
from stages.product_arrays import compute_assistant, compute_masks
from tests.stages.small_run import HEIGHT, WIDTH, write_panorama
from tests.stages.test_panorama_task import recipe_of, task_of
from tests.stages.test_panorama_work import opened


class BrightPixels:
    """A mask source that finds one mask in every picture: what is brighter than its mean."""

    identity = "bright"
    notes: tuple[str, ...] = ()

    def many(self, images: Sequence[ImageArray]) -> list[MaskSet]:
        return [MaskSet.from_dense([image[..., 0] > image[..., 0].mean()]) for image in images]


@pytest.fixture
def work(tmp_path: Path) -> PanoramaWork:
    write_panorama(tmp_path / "street.png", seed=3)
    return opened(task_of(tmp_path))


def test_every_window_has_the_masks_of_its_own_picture(work: PanoramaWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PanoramaWork, "mask_source", lambda _: BrightPixels())
    found = unpack_masks(compute_masks(work), work.sam_views)
    pictures = work.pictures_for_sam()
    assert len(found) == len(pictures) > 1
    for masks, picture in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(masks.dense()[0], picture[..., 0] > picture[..., 0].mean())


def test_the_assistants_prediction_is_of_the_whole_panorama(work: PanoramaWork, tmp_path: Path) -> None:
    arrays = compute_assistant(work, ASSISTANT)
    classes = len(recipe_of(tmp_path).classes)
    assert arrays["assistant_probabilities"].shape == (classes, HEIGHT, WIDTH)
    assert arrays["agreement"].shape == (HEIGHT, WIDTH)
