"""The ladder and the consensus on maps whose measures are known."""

import math
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.classes import IGNORE
from pipeline.evaluate.consensus import Consensus
from pipeline.evaluate.ladder import RUNGS, Ladder, LadderInput, measure_ladder

LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.uint8)


def flipped(columns: int) -> np.ndarray:
    found = LABELS.copy()
    found[:, :columns] = 1
    return found


def test_rungs_come_in_the_ladders_order_whatever_the_order_given() -> None:
    predictions: dict[str, np.ndarray] = dict.fromkeys(("extra", *reversed(RUNGS)), LABELS)
    rungs = measure_ladder([LadderInput(LABELS, predictions)], 2)
    assert [rung.name for rung in rungs] == [*RUNGS, "extra"]


def test_a_better_prediction_stands_higher() -> None:
    worse, better = measure_ladder([LadderInput(LABELS, {"assistant_whole": flipped(1), "student": LABELS})], 2)
    assert worse.miou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert better.miou == better.miou_solid_angle == 1.0
    assert better.per_class_iou == (1.0, 1.0)
    assert (worse.pixel_accuracy, better.pixel_accuracy) == (0.75, 1.0)


def test_blanked_pixels_show_as_coverage() -> None:
    reliable = flipped(1)
    reliable[:, 0] = IGNORE
    (rung,) = measure_ladder([LadderInput(LABELS, {"ensemble_reliable": reliable})], 2)
    assert (rung.miou, rung.pixel_accuracy, rung.coverage) == (1.0, 1.0, 0.75)


def test_one_panorama_without_a_rung_is_refused_since_rungs_share_their_pixels() -> None:
    ladder = Ladder(2)
    ladder.add(LadderInput(LABELS, {"ensemble": LABELS, "student": LABELS}))
    with pytest.raises(ValueError, match="rungs are"):
        ladder.add(LadderInput(LABELS, {"student": LABELS}))


def test_panoramas_are_taken_one_at_a_time() -> None:
    given: list[weakref.ref[LadderInput]] = []

    def stream() -> Iterator[LadderInput]:
        for _ in range(3):
            assert sum(one() is not None for one in given) <= 1  # the last one is in the hands of the loop
            panorama = LadderInput(LABELS, {"student": LABELS})
            given.append(weakref.ref(panorama))
            yield panorama
            del panorama

    assert measure_ladder(stream(), 2)[0].miou == 1.0
    assert len(given) == 3


def test_no_panoramas_give_no_rungs() -> None:
    assert measure_ladder([], 2) == []


def test_the_solid_angle_twin_uses_the_bands_field_of_view() -> None:
    labels = np.zeros((8, 16), np.uint8)
    labels[:4] = 1
    found = labels.copy()
    found[0] = 0
    sphere, band = (
        measure_ladder([LadderInput(labels, {"student": found})], 2, vertical_fov=fov)[0] for fov in (180.0, 20.0)
    )
    assert sphere.miou == band.miou
    assert sphere.miou_solid_angle > band.miou_solid_angle == pytest.approx(band.miou, abs=0.01)


def test_consensus_counts_agreement_where_both_cover() -> None:
    half = LABELS.copy()
    half[:, :2] = IGNORE
    consensus = Consensus(2)
    consensus.add({"student": half, "ensemble": flipped(1)}, agreement_HW=np.full(LABELS.shape, 0.5))
    summary = consensus.summary()
    assert list(summary.coverage) == ["ensemble", "student"]
    assert summary.coverage["student"] == pytest.approx(0.5)
    assert summary.pairwise == {("ensemble", "student"): pytest.approx(1.0)}
    assert summary.class_shares["ensemble"] == pytest.approx((0.25, 0.75))
    assert summary.window_agreement == pytest.approx(0.5)


def test_consensus_leaves_out_what_is_not_valid() -> None:
    valid = np.array([[False, True, True, True]] * 2)
    consensus = Consensus(2)
    consensus.add({"ensemble": LABELS, "student": flipped(1)}, valid_HW=valid)
    summary = consensus.summary()
    assert summary.pairwise["ensemble", "student"] == pytest.approx(1.0)
    assert summary.class_shares["student"] == pytest.approx((1 / 3, 2 / 3))
    assert math.isnan(summary.window_agreement)


def test_consensus_is_the_mean_over_panoramas_of_any_size() -> None:
    consensus = Consensus(2)
    consensus.add({"ensemble": LABELS, "student": LABELS})
    consensus.add({"ensemble": np.zeros((4, 8), np.uint8), "student": np.ones((4, 8), np.uint8)})
    assert consensus.summary().pairwise["ensemble", "student"] == pytest.approx(0.5)


def test_a_seam_is_counted_per_row_beside_the_columns_inside() -> None:
    halves = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]], np.uint8)
    consensus = Consensus(2)
    consensus.add({"student": halves})
    summary = consensus.summary()
    assert summary.seam == {"student": pytest.approx(1 / 4)}
    assert summary.neighbours == {"student": pytest.approx(3 / 12)}


def test_a_row_of_the_seam_counts_only_where_both_ends_are_valid_and_covered() -> None:
    found = np.array([[0, 0, 1], [IGNORE, 0, 1], [0, 1, 1], [0, 0, 0]], np.uint8)
    valid = np.ones(found.shape, np.bool_)
    valid[2, 2] = False
    consensus = Consensus(2)
    consensus.add({"student": found}, valid_HW=valid)
    summary = consensus.summary()
    assert summary.seam == {"student": pytest.approx(1 / 2)}
    assert summary.neighbours == {"student": pytest.approx(3 / 6)}


def test_a_seam_that_no_row_shows_is_not_measured() -> None:
    consensus = Consensus(2)
    consensus.add({"student": np.array([[IGNORE, 0, 0]], np.uint8)})
    assert math.isnan(consensus.summary().seam["student"])
