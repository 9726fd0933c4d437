"""Confusion matrices of made-up panoramas, and the ids of three of them."""

from __future__ import annotations

import numpy as np

IDS = ["evaluation/A/1", "evaluation/A/2", "evaluation/B/3"]


def matrices(*right: float) -> np.ndarray:
    """Of panoramas with 100 pixels of two classes each, of which these shares are right."""
    return np.array([[[100 * r, 100 * (1 - r)], [100 * (1 - r), 100 * r]] for r in right]).round().astype(np.int64)
