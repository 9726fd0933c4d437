"""Many masks at once are the masks one by one: both are torch's two interpolations, tried here on the CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pipeline.accelerator import AdaptiveBatches
from pipeline.teacher.generator import batched_regions
from pipeline.teacher.generator.batched_regions import BatchedUpsampling, Sizes, tile_sides, upsample
from pipeline.teacher.generator.regions import Thresholds, upsampling

CPU = torch.device("cpu")
THRESHOLDS = Thresholds(0.0, 1.0)
SAM = Sizes((64, 64), 256, (256, 256), (256, 256), 3)
SIZES = {
    "SAM's window": SAM,
    "smaller than the encoder's": SAM._replace(image=(128, 128)),
    "a quarter of it": SAM._replace(image=(64, 64)),
    "larger": SAM._replace(image=(512, 512)),
    "no power of two": SAM._replace(image=(200, 200)),
    "half padding": SAM._replace(inside=(128, 256), image=(128, 256)),
    "half padding, larger": SAM._replace(inside=(128, 256), image=(256, 512)),
    "half padding, shrunk": SAM._replace(inside=(256, 100), image=(190, 74)),
    "the paper's window": SAM._replace(inside=(200, 256), image=(100, 128)),
    "a sliver, larger": SAM._replace(inside=(4, 256), image=(8, 512)),
    "upright, a sliver": SAM._replace(inside=(256, 6), image=(128, 3)),
    "odd everything": Sizes((13, 13), 60, (45, 60), (30, 40), 3),
}


def scene(seed: int, masks: int, low: tuple[int, int]) -> Tensor:
    """Blobs of all sizes, a single cell, noise, nothing, everything: logits [masks, h, w]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: low[0], : low[1]]
    centres, radii = rng.uniform(-0.1, 1.1, (masks, 2)) * low, rng.uniform(0, 0.6, masks) ** 2 * max(low)
    steepness = rng.uniform(0.5, 4, masks)
    logits = np.stack([
        steep * (radius - np.hypot(rows - y, columns - x))
        for steep, (y, x), radius in zip(steepness, centres, radii, strict=True)
    ]).astype(np.float32)  # fmt: skip
    logits[0] = rng.normal(-1, 4, low)
    logits[1], logits[2] = -9, 9
    return torch.from_numpy(logits)


def stock(logits_Khw: Tensor, sizes: Sizes) -> Tensor:
    """`Sam.postprocess_masks`, prompt by prompt."""
    prompts = logits_Khw.unflatten(0, (-1, sizes.channels))
    square = functional.interpolate(prompts, (sizes.square, sizes.square), mode="bilinear", align_corners=False)
    inside = square[..., : sizes.inside[0], : sizes.inside[1]]
    return functional.interpolate(inside, sizes.image, mode="bilinear", align_corners=False).flatten(0, 1)


def pasted(bitmap: npt.NDArray[np.bool_], box: npt.NDArray[np.int32], image: tuple[int, int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(image, np.bool_)
    y0, x0, y1, x1 = box
    mask[y0:y1, x0:x1] = bitmap
    return mask


def assert_as_stock(upsampler: BatchedUpsampling, logits: Tensor) -> None:
    values = stock(logits, upsampler.sizes)
    measured = upsampler.measure(logits, THRESHOLDS, 0.0)
    bitmaps = upsampler.draw(measured.pixels, measured.boxes_M4, THRESHOLDS)
    np.testing.assert_array_equal(measured.indices_M, np.arange(len(logits)))
    above, below = ((values > shift).sum((1, 2), dtype=torch.int32) for shift in (1, -1))
    np.testing.assert_array_equal(measured.stability_M, (above / below).numpy())
    for value, box, bitmap in zip(values, measured.boxes_M4, bitmaps, strict=True):
        np.testing.assert_array_equal(pasted(bitmap, box, upsampler.sizes.image), (value > 0).numpy())
        if bitmap.size:  # tight
            assert bitmap[0].any() and bitmap[-1].any() and bitmap[:, 0].any() and bitmap[:, -1].any()
        else:
            assert box.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_masks_are_those_of_both_full_interpolations(sizes: Sizes) -> None:
    assert_as_stock(BatchedUpsampling(sizes, AdaptiveBatches("mask", 1 << 22)), scene(0, 30, sizes.low))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from((64, 128, 256, 512)), st.integers(1, 64), st.integers(1, 1 << 20))
def test_parts_of_any_masks_and_pieces_of_any_size_give_the_same(seed: int, side: int, rows: int, pixels: int) -> None:
    sizes = SAM._replace(inside=(4 * rows, 256), image=(side * rows // 64, side))
    assert_as_stock(BatchedUpsampling(sizes, AdaptiveBatches("mask", pixels)), scene(seed, 9, sizes.low))


def test_small_masks_are_upsampled_in_parts_where_that_is_exact() -> None:
    assert tile_sides(SAM, CPU) == (8, 16, 32)
    assert tile_sides(SAM._replace(image=(64, 64)), CPU) == (8, 16, 32)
    assert tile_sides(Sizes((256, 256), 1024, (1024, 1024), (1024, 1024), 3), CPU) == (32, 64, 128)
    assert tile_sides(Sizes((256, 256), 1024, (800, 1024), (400, 512), 3), CPU) == (32, 64, 128)
    in_parts = {"half padding", "the paper's window", "upright, a sliver"}
    in_whole = {"no power of two", "half padding, larger", "half padding, shrunk", "a sliver, larger", "odd everything"}
    assert {tile_sides(SIZES[name], CPU) for name in in_parts} == {(8, 16, 32)}
    assert {tile_sides(SIZES[name], CPU) for name in in_whole} == {()}


def test_where_parts_are_not_exact_whole_frames_are_upsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def watched(logits_Khw: Tensor, sizes: Sizes) -> Tensor:
        seen.append(sizes.image)
        return upsample(logits_Khw, sizes)

    def other_in_parts(logits_Khw: Tensor, sizes: Sizes) -> Tensor:
        return upsample(logits_Khw, sizes) + (1e-4 if sizes.low != SAM.low else 0)

    tile_sides.cache_clear()
    try:
        monkeypatch.setattr(batched_regions, "upsample", other_in_parts)
        assert tile_sides(SAM, CPU) == ()
        monkeypatch.setattr(batched_regions, "upsample", watched)
        assert_as_stock(BatchedUpsampling(SAM, AdaptiveBatches("mask", 1 << 22)), scene(0, 9, SAM.low))
    finally:
        tile_sides.cache_clear()
    assert set(seen) == {SAM.image}


def test_unstable_masks_go_before_they_are_drawn() -> None:
    logits = scene(3, 30, SAM.low)
    upsampler, one_by_one = BatchedUpsampling(SAM, AdaptiveBatches("mask", 1 << 22)), upsampling(*SAM)
    ours, theirs = (each.measure(logits, THRESHOLDS, 0.8) for each in (upsampler, one_by_one))
    assert 0 < len(theirs.indices_M) < 29
    for name in ("indices_M", "boxes_M4", "stability_M"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    pairs = (
        each.draw(found.pixels, found.boxes_M4, THRESHOLDS) for each, found in ((upsampler, ours), (one_by_one, theirs))
    )
    for mine, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_no_mask_at_all_is_measured_and_drawn() -> None:
    upsampler = BatchedUpsampling(SAM, AdaptiveBatches("mask", 1 << 22))
    measured = upsampler.measure(torch.empty(0, 64, 64), THRESHOLDS, 0.5)
    assert measured.boxes_M4.shape == (0, 4)
    assert upsampler.draw(measured.pixels, measured.boxes_M4, THRESHOLDS) == ()


def test_masks_that_another_upsampler_measured_are_refused() -> None:
    boxes = np.zeros((0, 4), np.int32)
    with pytest.raises(TypeError, match="another upsampler"):
        BatchedUpsampling(SAM, AdaptiveBatches("mask", 1)).draw((), boxes, THRESHOLDS)
    with pytest.raises(TypeError, match="another upsampler"):
        upsampling(*SAM).draw(torch.empty(0, 64, 64), boxes, THRESHOLDS)
