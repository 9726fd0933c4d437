"""Label Studio's run lengths of brush masks, there and back, and as others write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from pipeline.errors import InputError
from pipeline.exchange.brush import decode_brush, encode_brush
from tests.exchange.label_maps import MASKS, street


def as_bytes(*fields: tuple[int, int]) -> list[int]:
    """Numbers as bit fields of the given lengths, filled up to whole bytes."""
    bits = "".join(f"{number:0{length}b}" for number, length in fields)
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return [int(padded[at : at + 8], 2) for at in range(0, len(padded), 8)]


def header(values: int) -> tuple[tuple[int, int], ...]:
    """Of so many values of 8 bits, with counts of 3, 4, 8 or 16 bits."""
    return (values, 32), (7, 5), (2, 4), (3, 4), (7, 4), (15, 4)


@given(MASKS)
def test_masks_come_back(mask_hw: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_brush(encode_brush(mask_hw), *mask_hw.shape, where="x"), mask_hw)


@pytest.mark.parametrize("longest", [8, 16, 256, 65536, 65540, 131072])
def test_runs_around_the_length_of_a_count_come_back(longest: int) -> None:
    """A pixel has four values: counts of 3, 4, 8 and 16 bits end at 2, 4, 64 and 16384 pixels."""
    for pixels in (longest // 4 - 1, longest // 4, longest // 4 + 1):
        mask = np.zeros((3, 40_000), bool)
        mask.ravel()[7 : 7 + pixels] = True
        np.testing.assert_array_equal(decode_brush(encode_brush(mask), 3, 40_000, "x"), mask)


def test_a_run_takes_the_shortest_count_that_holds_it() -> None:
    """Two pixels are eight values: a run (1) whose count has 3 bits (choice 0)."""
    assert encode_brush(np.ones((1, 2), bool)) == as_bytes(*header(8), (1, 1), (0, 2), (7, 3), (255, 8))
    assert encode_brush(np.zeros((1, 3), bool)) == as_bytes(*header(12), (1, 1), (1, 2), (11, 4), (0, 8))


def test_masks_with_literal_values_are_read() -> None:
    """As Label Studio's own encoder mixes them: a literal block of four bytes, and a run of four."""
    literal = ((0, 1), (0, 2), (3, 3), *((value, 8) for value in (1, 2, 3, 200)))
    run = ((1, 1), (0, 2), (3, 3), (90, 8))
    np.testing.assert_array_equal(decode_brush(as_bytes(*header(8), *literal, *run), 1, 2, "x"), [[True, False]])


@pytest.mark.parametrize(("alpha", "is_inside"), [(127, False), (128, True)])
def test_pixels_that_are_half_opaque_are_in_the_mask(alpha: int, is_inside: bool) -> None:
    literal = ((0, 1), (0, 2), (3, 3), *((value, 8) for value in (255, 255, 255, alpha)))
    assert decode_brush(as_bytes(*header(4), *literal), 1, 1, "x").tolist() == [[is_inside]]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.png has a brush mask of 6 pixels; its picture has 2x2"):
        decode_brush(encode_brush(np.ones((2, 3), bool)), 2, 2, "a.png")


GOOD = encode_brush(street() == 2)


@pytest.mark.parametrize(
    "content",
    [
        GOOD[:-2],
        GOOD[:5],
        [],
        [300, *GOOD[1:]],
        ["a", *GOOD[1:]],
        as_bytes(*header(4), (1, 1), (0, 2), (7, 3), (255, 8)),
    ],
    ids=["cut off", "cut off in its header", "empty", "no bytes", "no numbers", "a run longer than the picture"],
)
def test_damaged_masks_are_refused_in_one_sentence(content: Any) -> None:
    height, width = (1, 1) if content and content[:4] == [0, 0, 0, 4] else (60, 120)
    with pytest.raises(InputError, match=r"a\.png has a damaged brush mask"):
        decode_brush(content, height, width, "a.png")


def test_label_studios_own_converter_reads_them_and_is_read() -> None:
    brush: Any = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed")
    mask = street() == 2
    alpha = brush.decode_rle(encode_brush(mask)).reshape(*mask.shape, 4)[..., 3]
    np.testing.assert_array_equal(alpha, mask * 255)
    theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
    np.testing.assert_array_equal(decode_brush(theirs, *mask.shape, where="x"), mask)
