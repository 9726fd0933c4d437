"""What turning the camera changes, counted on maps whose changes are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pipeline.classes import IGNORE
from pipeline.evaluate.report import to_json
from pipeline.evaluate.yaw import YawChange, YawStability, turns, yaw_of, yaw_record

STRAIGHT = np.array([[0, 0, 1, 1], [0, IGNORE, 1, 1]], np.uint8)
ALL = np.ones(STRAIGHT.shape, np.bool_)


def changed() -> np.ndarray:
    """One other label, and one pixel that is covered no more."""
    found = STRAIGHT.copy()
    found[0, 0], found[1, 3] = 1, IGNORE
    return found


def test_labels_are_compared_where_covered_both_times_and_coverage_everywhere() -> None:
    stability = YawStability()
    stability.add("a", {"student": STRAIGHT}, {"student": changed()}, ALL)
    assert stability.summary() == {"student": YawChange(1, 1 / 6, 1 / 8)}


def test_pixels_that_are_not_valid_do_not_count_and_panoramas_add_up() -> None:
    stability = YawStability()
    stability.add("a", {"student": STRAIGHT}, {"student": changed()}, STRAIGHT == 0)
    stability.add("b", {"student": STRAIGHT}, {"student": STRAIGHT}, ALL)
    assert stability.summary() == {"student": YawChange(2, 1 / 10, 0)}


def test_rungs_stand_in_the_ladders_order_and_what_covers_nothing_has_no_share() -> None:
    nothing = np.full_like(STRAIGHT, IGNORE)
    rungs = {"student": nothing, "ensemble": STRAIGHT}
    stability = YawStability()
    stability.add("a", {**rungs, "assistant_whole": STRAIGHT}, rungs, ALL)
    found = stability.summary()
    assert list(found) == ["ensemble", "student"]
    assert math.isnan(found["student"].label) and found["student"].coverage == 0


@pytest.mark.parametrize(("width", "stride"), [(1024, 128), (2048, 256), (128, 64)])
def test_one_turn_puts_windows_between_windows_and_one_fits_no_grid(width: int, stride: int) -> None:
    half, odd = turns(width, stride)
    assert 2 * half == stride
    assert odd % 2 == 1 and abs(odd / width - 1 / 3) < 0.01


def test_the_record_reads_back_from_strict_json() -> None:
    changes = {22.5: {"ensemble": YawChange(2, 0.25, float("nan"))}, 120.0: {"ensemble": YawChange(2, 0.5, 0.125)}}
    read = yaw_of(json.loads(to_json({"yaw": yaw_record(changes)}))["yaw"])
    assert read[120.0] == changes[120.0]
    assert read[22.5]["ensemble"].label == 0.25 and math.isnan(read[22.5]["ensemble"].coverage)
