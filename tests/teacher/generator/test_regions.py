"""Upsampling where a mask is equals upsampling everywhere, bit for bit."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pipeline.teacher.generator import regions as regions_module
from pipeline.teacher.generator.regions import Thresholds, Upsampling, upsampling

THRESHOLDS = Thresholds(0.0, 1.0)
sides = st.integers(1, 90)


pytestmark = pytest.mark.usefixtures("threads")


def upsample(logits_Khw: Tensor, square: int, inside: tuple[int, int], image: tuple[int, int]) -> Tensor:
    """`Sam.postprocess_masks` of three masks."""
    large = functional.interpolate(logits_Khw[None], (square, square), mode="bilinear", align_corners=False)
    cut = large[..., : inside[0], : inside[1]]
    return functional.interpolate(cut, image, mode="bilinear", align_corners=False)[0]


def blobs(seed: int, size: tuple[int, int]) -> Tensor:
    """Three masks: noise in a corner, a single cell, noise everywhere."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 4, (3, *size)).astype(np.float32)
    logits[0, size[0] // 2 :] = -9
    logits[1] = -5
    logits[1, rng.integers(size[0]), rng.integers(size[1])] = 6
    return torch.from_numpy(logits)


def dense(box: npt.NDArray[np.int32], bitmap: npt.NDArray[np.bool_], image: tuple[int, int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(image, np.bool_)
    y0, x0, y1, x1 = box
    mask[y0:y1, x0:x1] = bitmap
    return mask


def assert_equal_to_two_steps(upsampler: Upsampling, logits: Tensor, expected: Tensor) -> None:
    found = upsampler.measure(logits, THRESHOLDS, 0.0)
    bitmaps = upsampler.draw(found.pixels, found.boxes_M4, THRESHOLDS)
    assert found.indices_M.tolist() == [0, 1, 2]
    for box, bitmap, stability, values in zip(found.boxes_M4, bitmaps, found.stability_M, expected, strict=True):
        np.testing.assert_array_equal(
            dense(box, bitmap, cast(tuple[int, int], tuple(values.shape))), (values > 0).numpy()
        )
        above, below = (values > 1).sum().to(torch.int32), (values > -1).sum().to(torch.int32)
        np.testing.assert_array_equal(stability, (above / below).numpy())


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.integers(0, 2**31), st.tuples(sides, sides), sides, st.floats(0.05, 1), st.booleans(), st.tuples(sides, sides)
)
def test_regions_are_those_of_both_full_interpolations(
    seed: int, low: tuple[int, int], square: int, ratio: float, is_wide: bool, image: tuple[int, int]
) -> None:
    short = max(1, round(ratio * square))
    inside = (short, square) if is_wide else (square, short)
    logits = blobs(seed, low)
    upsampler = upsampling(low, square, inside, image, 3)
    assert_equal_to_two_steps(upsampler, logits, upsample(logits, square, inside, image))


def test_another_number_of_threads_is_tried_anew(threads: int) -> None:
    sizes = ((32, 32), 128, (96, 128), (333, 444), 3)
    before = upsampling(*sizes)
    assert upsampling(*sizes) is before
    torch.set_num_threads(3 - threads)
    after = upsampling(*sizes)
    torch.set_num_threads(threads)
    assert before.is_exact and after.is_exact and after.to_image.kernel != before.to_image.kernel


@pytest.mark.parametrize(
    ("low", "square", "inside", "image"),
    [((64, 64), 256, (256, 256), (256, 256)), ((96, 96), 240, (240, 120), (512, 256)),
     ((24, 24), 60, (45, 60), (30, 40))],
    ids=["four times, as SAM", "two and a half times, half padding", "shrunk again"],
)  # fmt: skip
@pytest.mark.parametrize("is_exact", [True, False], ids=["by parts", "by torch"])
def test_sizes_of_real_windows_by_parts_and_where_parts_are_not_trusted(
    low: tuple[int, int], square: int, inside: tuple[int, int], image: tuple[int, int], is_exact: bool
) -> None:
    upsampler = upsampling(low, square, inside, image, 3)
    upsampler = Upsampling(upsampler.to_square, upsampler.to_image, upsampler.is_exact and is_exact)
    logits = blobs(1, low)
    assert_equal_to_two_steps(upsampler, logits, upsample(logits, square, inside, image))


@pytest.mark.parametrize(
    ("value", "box"), [(-30.0, (0, 0, 0, 0)), (30.0, (0, 0, 40, 32))], ids=["nothing", "everything"]
)
def test_an_empty_mask_and_one_of_the_whole_frame(value: float, box: tuple[int, int, int, int]) -> None:
    upsampler = upsampling((16, 16), 40, (40, 32), (40, 32), 3)
    found = upsampler.measure(torch.full((1, 16, 16), value), THRESHOLDS, 0.0)
    assert found.boxes_M4.tolist() == [list(box)]
    assert upsampler.draw(found.pixels, found.boxes_M4, THRESHOLDS)[0].all()
    assert np.isnan(found.stability_M[0]) if value < 0 else found.stability_M[0] == 1
    assert len(upsampler.measure(torch.full((1, 16, 16), value), THRESHOLDS, 0.5).indices_M) == (value > 0)


def test_a_mask_of_one_pixel_is_found() -> None:
    upsampler = upsampling((8, 8), 8, (8, 8), (8, 8), 3)
    logits = torch.full((1, 8, 8), -5.0)
    logits[0, 3, 7] = 5
    assert upsampler.measure(logits, THRESHOLDS, 0.9).boxes_M4.tolist() == [[3, 7, 4, 8]]


def test_what_lies_only_in_the_padding_is_no_mask() -> None:
    upsampler = upsampling((8, 8), 32, (32, 8), (32, 8), 3)
    logits = torch.full((1, 8, 8), -5.0)
    logits[0, :, 6:] = 5
    assert upsampler.measure(logits, THRESHOLDS, 0.0).boxes_M4.tolist() == [[0, 0, 0, 0]]


def test_flat_logits_just_at_a_threshold_count_as_torch_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding lifts some of these pixels over -1: the search must not stop short of them."""
    logits = torch.full((3, 13, 13), -1.0)
    upsampler = upsampling((13, 13), 80, (80, 80), (97, 97), 3)
    expected = upsample(logits, 80, (80, 80), (97, 97))
    above, below = (expected > 1).sum(), (expected > -1).sum()
    np.testing.assert_array_equal(
        upsampler.measure(logits, THRESHOLDS, 0.0).stability_M[0], (above.int() / below.int()).numpy()
    )
    if below > 0:
        monkeypatch.setattr(regions_module, "ROUNDING", 0.0)
        assert np.isnan(upsampler.measure(logits, THRESHOLDS, 0.0).stability_M[0])
