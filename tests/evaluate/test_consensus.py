"""What predictions say of each other, counted by hand on maps of a few pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.classes import IGNORE
from pipeline.evaluate.consensus import Consensus
from pipeline.panorama.sphere import solid_angles

WHOLE, ENSEMBLE = "assistant_whole", "ensemble"
HEIGHT, WIDTH = 4, 8


def labels(value: int = 0) -> npt.NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH), value, np.uint8)


def test_shares_are_of_solid_angle_and_not_of_pixels() -> None:
    """The two middle rows of four hold sin(45 degrees) of the sphere."""
    seen_HW = labels(IGNORE)
    seen_HW[1:3] = 0
    seen_HW[1, :4] = 1
    consensus = Consensus(classes=2)
    consensus.add({WHOLE: seen_HW})
    summary = consensus.summary()
    assert summary.coverage[WHOLE] == pytest.approx(np.sin(np.pi / 4))
    assert summary.class_shares[WHOLE] == pytest.approx((0.75, 0.25))


def test_rungs_agree_where_both_have_a_label() -> None:
    first, second = labels(), labels()
    first[:, 0], second[:, 1] = IGNORE, IGNORE
    second[:, 2] = 1
    consensus = Consensus(classes=2)
    consensus.add({WHOLE: first, ENSEMBLE: second})
    assert consensus.summary().pairwise == {(WHOLE, ENSEMBLE): pytest.approx(5 / 6)}


def test_what_is_not_valid_counts_nowhere() -> None:
    first, second, valid_HW = labels(), labels(), np.ones((HEIGHT, WIDTH), np.bool_)
    second[:, 4:], valid_HW[:, 4:] = 1, False
    consensus = Consensus(classes=2)
    agreement_HW = np.where(valid_HW, 0.5, 1.0)
    consensus.add({WHOLE: first, ENSEMBLE: second}, agreement_HW, valid_HW)
    summary = consensus.summary()
    assert summary.pairwise[WHOLE, ENSEMBLE] == pytest.approx(1)
    assert summary.class_shares[ENSEMBLE] == pytest.approx((1, 0))
    assert summary.coverage[ENSEMBLE] == pytest.approx(1)
    assert summary.window_agreement == pytest.approx(0.5)


def test_agreement_of_windows_is_weighted_by_solid_angle_and_nan_where_it_is_not_given() -> None:
    rows_H = solid_angles(HEIGHT, WIDTH)
    agreement_HW = np.zeros((HEIGHT, WIDTH))
    agreement_HW[0] = 1
    consensus = Consensus(classes=2)
    assert np.isnan(consensus.summary().window_agreement)
    consensus.add({WHOLE: labels()}, agreement_HW)
    assert consensus.summary().window_agreement == pytest.approx(rows_H[0] / rows_H.sum())


def test_panoramas_weigh_alike() -> None:
    consensus = Consensus(classes=2)
    for value in (0, 0, 1, IGNORE):
        consensus.add({WHOLE: labels(value)})
    summary = consensus.summary()
    assert summary.images == 4
    assert summary.coverage[WHOLE] == pytest.approx(0.75)
    assert summary.class_shares[WHOLE] == pytest.approx((2 / 3, 1 / 3))


def test_breaks_at_the_seam_are_reported_beside_those_inside() -> None:
    """Left and right halves differ: one break inside of seven, and one at the seam of every row but one."""
    halves = labels()
    halves[:, 4:] = 1
    halves[0, -1] = 0
    consensus = Consensus(classes=2)
    consensus.add({WHOLE: halves})
    summary = consensus.summary()
    assert summary.seam[WHOLE] == pytest.approx(3 / 4)
    assert summary.neighbours[WHOLE] == pytest.approx((4 + 1) / (4 * 7))


def test_a_panorama_without_a_rung_that_others_have_is_refused() -> None:
    consensus = Consensus(classes=2)
    consensus.add({WHOLE: labels(), ENSEMBLE: labels()})
    with pytest.raises(ValueError, match=ENSEMBLE):
        consensus.add({WHOLE: labels()})
