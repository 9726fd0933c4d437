"""Several assistants: their mean, and where they agree with it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.ensemble.assistants import count_agreeing, enough_agree, weighted_mean

Floats = npt.NDArray[np.float32]


def one_pixel(*probabilities: float) -> Floats:
    return np.array(probabilities, np.float32)[:, None, None]


def test_the_mean_is_by_weight_and_stays_a_probability() -> None:
    first, second = one_pixel(0.8, 0.2), one_pixel(0.2, 0.8)
    np.testing.assert_allclose(weighted_mean([first, second], [1.0, 1.0]), one_pixel(0.5, 0.5), atol=1e-6)
    np.testing.assert_allclose(weighted_mean([first, second], [1.0, 3.0]), one_pixel(0.35, 0.65), atol=1e-6)
    np.testing.assert_array_equal(weighted_mean([first, second], [1.0, 0.0]), first)
    with pytest.raises(ValueError, match="zip"):
        weighted_mean([first, second], [1.0])


def test_those_agree_whose_class_is_that_of_the_mean() -> None:
    opinions = [one_pixel(0.6, 0.4), one_pixel(0.6, 0.4), one_pixel(0.0, 1.0)]
    assert count_agreeing(weighted_mean(opinions, [1, 1, 1]), opinions).tolist() == [[1]]  # the third outweighs two
    assert count_agreeing(weighted_mean(opinions, [1, 1, 0]), opinions).tolist() == [[2]]


def test_as_many_must_agree_as_are_asked_for_and_all_where_none_are() -> None:
    agreeing_HW = np.array([[0, 1, 2, 3]], np.uint8)
    assert enough_agree(agreeing_HW, 2, 3).tolist() == [[False, False, True, True]]
    assert enough_agree(agreeing_HW, 0, 3).tolist() == [[False, False, False, True]]
