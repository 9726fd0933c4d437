"""People's corrections as a target of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.classes import IGNORE
from pipeline.student.losses import corrections_loss
from pipeline.student.pooling import pool_labels


def test_a_square_has_the_label_of_most_of_its_corrected_valid_pixels() -> None:
    labels = np.full((4, 8), IGNORE, np.uint8)
    labels[:2, :2] = [[3, 3], [5, IGNORE]]
    labels[2:, 4:6] = [[7, 1], [7, 1]]
    valid = np.ones((4, 8), bool)
    valid[0, :2] = False
    expected = np.full((2, 4), IGNORE, np.uint8)
    expected[0, 0] = 5  # both 3s are ignored
    expected[1, 2] = 1  # the lowest on ties
    np.testing.assert_array_equal(pool_labels(labels, valid, 2), expected)
    np.testing.assert_array_equal(pool_labels(labels, np.ones((4, 8), bool), 1), labels)


def test_no_corrections_are_no_labels() -> None:
    nothing = np.full((4, 8), IGNORE, np.uint8)
    np.testing.assert_array_equal(pool_labels(nothing, np.ones((4, 8), bool), 4), np.full((1, 2), IGNORE))


def test_the_loss_is_cross_entropy_over_the_valid_pixels() -> None:
    logits = torch.zeros(1, 4, 2, 3)
    logits[0, 2, 0, 0] = 5.0
    corrected = torch.full((1, 2, 3), IGNORE)
    corrected[0, 0, 0], corrected[0, 1, 2] = 2, 3
    valid = torch.ones(1, 2, 3)
    entropy = -torch.log_softmax(torch.tensor([0.0, 0, 5, 0]), 0)[2] + torch.log(torch.tensor(4.0))
    assert corrections_loss(logits, corrected, valid).item() == pytest.approx(entropy.item() / 6)
    assert corrections_loss(logits, torch.full((1, 2, 3), IGNORE), valid).item() == 0
