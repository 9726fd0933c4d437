"""Panoramas turned: which are, by how much, and that results come back into their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.arrays import ImageArray
from stages.rungs import TeacherArrays
from stages.turning import STUDENT_PANORAMAS, Turned, TurningPlan, YawTest
from tests.stages.test_measuring import CLASSES, HEIGHT, IDS, WIDTH, Oracle, teacher, truth

THRESHOLDS = np.full(CLASSES, 0.7, np.float32)
STRIPES = np.broadcast_to(np.arange(WIDTH, dtype=np.uint8) // 8, (HEIGHT, WIDTH))


class Columns(Oracle):
    """A student that sees its picture: the class is written in the red channel."""

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        return (np.arange(CLASSES)[:, None, None] == image_HW3[..., 0]).astype(np.float32)


class Place(Oracle):
    """A student that gives classes by the place in the picture, whatever is shown."""

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        return (np.arange(CLASSES)[:, None, None] == STRIPES).astype(np.float32)


def striped() -> ImageArray:
    return STRIPES[..., None].repeat(3, axis=2)


def turned(test: YawTest, number: int = 0, predictions: dict[str, np.ndarray] | None = None) -> Turned | None:
    known = {"student": STRIPES} if predictions is None else predictions
    return test.turn(IDS[0], striped(), teacher(IDS[0]), known, number, THRESHOLDS)


def test_a_student_that_sees_gives_the_same_wherever_the_camera_looks_and_one_that_does_not_turns_along() -> None:
    for student, is_stable in ((Columns(), True), (Place(), False)):
        found = turned(YawTest(TurningPlan(window_stride=16), {"student": student}))
        assert found is not None and list(found.back) == [90, 360 * 11 / 32]
        for degrees, back in found.back.items():
            expected = STRIPES if is_stable else np.roll(STRIPES, -round(degrees * WIDTH / 360), axis=1)
            np.testing.assert_array_equal(back["student"], expected)


def test_students_are_turned_on_the_first_panoramas_alone() -> None:
    test = YawTest(TurningPlan(16), {"student": Columns()})
    assert turned(test, STUDENT_PANORAMAS - 1) is not None and turned(test, STUDENT_PANORAMAS) is None
    assert turned(YawTest(TurningPlan(16), {})) is None, "nothing is to be turned"


def test_stage_one_is_turned_for_as_many_panoramas_as_asked_for() -> None:
    asked: list[tuple[str, int]] = []

    def read_turned(id_: str, image_HW3: ImageArray, columns: int) -> TeacherArrays:
        np.testing.assert_array_equal(image_HW3, np.roll(striped(), columns, axis=1))
        asked.append((id_, columns))
        return teacher(id_)

    test = YawTest(TurningPlan(16, panoramas=1, read_turned=read_turned), {})
    found = turned(test)
    assert found is not None and asked == [(IDS[0], 8), (IDS[0], 11)]
    assert set(found.back[90]) == {"assistant_whole", "assistant_blend", "confidence_threshold", "ensemble",
                                   "ensemble_reliable"}  # fmt: skip
    np.testing.assert_array_equal(found.back[90]["ensemble"], np.roll(teacher(IDS[0]).ensemble_HW, -8, axis=1))
    assert turned(test, number=1) is None


def test_stage_one_that_nothing_computes_is_refused() -> None:
    with pytest.raises(ValueError, match="1 panoramas are to be turned, and nothing computes them"):
        turned(YawTest(TurningPlan(16, panoramas=1), {}))


def test_predictions_of_the_working_size_are_taken_and_others_made_anew() -> None:
    test = YawTest(TurningPlan(16), {"student": Columns()})
    known, large = turned(test), turned(test, predictions={"student": truth(IDS[1]).repeat(2, 0).repeat(2, 1)})
    assert known is not None and large is not None
    assert known.straight["student"] is STRIPES
    np.testing.assert_array_equal(large.straight["student"], STRIPES)


def test_changes_are_counted_by_turn_where_something_was_seen() -> None:
    test = YawTest(TurningPlan(16), {"student": Place()})
    found = turned(test)
    assert found is not None and found.valid_HW.all() and test.record() == []
    test.add(found)
    (quarter, odd) = test.record()
    assert (quarter["degrees"], odd["degrees"]) == (90, 360 * 11 / 32)
    assert quarter["rungs"]["student"] == {"panoramas": 1, "label": 1, "coverage": 0}
    blind = YawTest(TurningPlan(16), {"student": Place()})
    valid_HW = np.zeros((HEIGHT, WIDTH), np.bool_)
    blind.add(replace(found, valid_HW=valid_HW))
    assert np.isnan(blind.record()[0]["rungs"]["student"]["label"])
