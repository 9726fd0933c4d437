"""Stage one's rungs from what it knows of a panorama, of one assistant or several, at any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.classes import IGNORE
from stages.rungs import teacher_rungs
from tests.stages.test_measuring import CLASSES, HEIGHT, IDS, WIDTH, probabilities, spoiled, teacher, truth


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_predictions_take_the_labels_size(factor: int) -> None:
    rungs = teacher_rungs(teacher(IDS[0]), np.full(CLASSES, 0.7, np.float32), factor * HEIGHT, factor * WIDTH)
    block = np.ones((factor, factor), np.uint8)
    assert (rungs["ensemble"] == np.kron(spoiled(IDS[0], 4), block)).all()
    assert (rungs["ensemble_reliable"][: 2 * factor] == IGNORE).all()
    assert (rungs["confidence_threshold"][: 5 * factor] == IGNORE).all()
    assert (rungs["assistant_whole"] == np.kron(spoiled(IDS[0], 8), block)).mean() > 0.9


def test_of_several_assistants_each_has_a_rung_and_so_has_where_they_agree() -> None:
    own = (probabilities(spoiled(IDS[0], 2), 0.9), probabilities(truth(IDS[0]), 0.9))
    agree_HW = np.ones((HEIGHT, WIDTH), np.bool_)
    agree_HW[:2] = False
    several = replace(teacher(IDS[0]), own_CHW=own, agree_HW=agree_HW)
    rungs = teacher_rungs(several, np.full(CLASSES, 0.7, np.float32), HEIGHT, WIDTH)
    one = teacher_rungs(teacher(IDS[0]), np.full(CLASSES, 0.7, np.float32), HEIGHT, WIDTH)
    first, second, both, *others = rungs
    np.testing.assert_array_equal(rungs[first], spoiled(IDS[0], 2))
    np.testing.assert_array_equal(rungs[second], truth(IDS[0]))
    assert both == "assistants_agree" and others == list(one)
    assert (rungs[both][:2] == IGNORE).all() and (rungs[both][2:] == rungs["assistant_blend"][2:]).all()


def test_reliable_labels_are_the_ensembles_and_nothing_elsewhere() -> None:
    known = teacher(IDS[0])
    rungs = teacher_rungs(known, np.full(CLASSES, 0.7, np.float32), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rungs["ensemble"], known.ensemble_HW)
    np.testing.assert_array_equal(rungs["ensemble_reliable"] == IGNORE, ~known.reliable_HW)
