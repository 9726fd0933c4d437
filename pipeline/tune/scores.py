"""Scores of a prediction that need no labels: purity of SAM's masks, agreement under yaw roll, certainty.

- *Purity*: masks end where things end, so a good prediction has one class in each. It is corrected for chance, since a
  prediction of one class everywhere is pure as well.
- *Roll agreement*: a panorama rolled by some degrees of yaw shows the same street, so the prediction must roll with it.
- *MaNo* (Xie et al., NeurIPS 2024) and *soft neighbourhood density* (Saito et al., ICCV 2021) look at the probabilities
  alone; they are here for comparison.

Legend: C classes, M masks, N pixels, S sampled pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.arrays import AnyFloatArray, Float64Array, FloatArray, LabelArray

_TEMPERATURE = 0.05
"""Of soft neighbourhood density, as published."""
_POWER = 4
"""Of MaNo, as published."""


def purity(votes_MC: npt.NDArray[np.integer]) -> float:
    """Share of the masks' pixels that have their mask's most frequent class, 0..1; NaN without any pixel.

    Args:
        votes_MC: pixels of each mask by class.
    """
    total = votes_MC.sum()
    return float(votes_MC.max(axis=1, initial=0).sum() / total) if total else float("nan")


def corrected_purity(votes_MC: npt.NDArray[np.integer]) -> float:
    """Purity above that of the most frequent class everywhere, as a share of what is possible, 0..1.

    0 where the masks tell nothing of the class: one class everywhere, or classes without regard to masks, each of many
    pixels. 1 where every mask has one class. This is Goodman and Kruskal's lambda. NaN without any pixel.

    Args:
        votes_MC: pixels of each mask by class.
    """
    total = votes_MC.sum()
    if not total:
        return float("nan")
    most_frequent = votes_MC.sum(axis=0).max()
    if most_frequent == total:
        return 0.0
    return float((votes_MC.max(axis=1).sum() - most_frequent) / (total - most_frequent))


def corrected_agreement(first_N: LabelArray, second_N: LabelArray, classes: int, weights_N: AnyFloatArray) -> float:
    """Cohen's kappa of two predictions, at most 1: their agreement above what the classes' shares alone would give.

    0 where both are one class everywhere. NaN without any weight.

    Args:
        first_N: class ids.
        second_N: those of the other prediction at the same pixels.
        classes: C.
        weights_N: of the pixels, such as their solid angles.
    """
    pairs = first_N.astype(np.int64) * classes + second_N
    joint_CC = np.bincount(pairs, weights_N, minlength=classes**2).reshape(classes, classes)
    total = joint_CC.sum()
    if not total:
        return float("nan")
    agreed = np.trace(joint_CC) / total
    expected = float(joint_CC.sum(axis=0) @ joint_CC.sum(axis=1)) / total**2
    return float((agreed - expected) / (1 - expected)) if expected < 1 else 0.0


def effective_classes(votes_MC: npt.NDArray[np.integer]) -> float:
    """How many equally frequent classes have the entropy of those in the masks, 1..C: 1 for one everywhere."""
    shares_C = votes_MC.sum(axis=0) / max(votes_MC.sum(), 1)
    present = shares_C[shares_C > 0]
    return float(np.exp(-(present * np.log(present)).sum()))


def mano(probabilities_CN: FloatArray) -> float:
    """MaNo of softmax outputs: fourth root of the mean fourth power of all probabilities; higher is surer."""
    return float(np.mean(np.square(np.square(probabilities_CN)), dtype=np.float64) ** (1 / _POWER))


def soft_neighbourhood_density(probabilities_CS: FloatArray) -> float:
    """Mean entropy of each pixel's similarities to all others, nats; higher means denser neighbourhoods.

    Args:
        probabilities_CS: of a sample of pixels; time and memory grow with the square of S.
    """
    unit_CS = probabilities_CS / np.maximum(np.linalg.norm(probabilities_CS, axis=0), 1e-12)
    similar_SS = (unit_CS.T @ unit_CS).astype(np.float64) / _TEMPERATURE
    np.fill_diagonal(similar_SS, -np.inf)
    return float(_softmax_entropy(similar_SS).mean())


def _softmax_entropy(logits_SS: Float64Array) -> Float64Array:
    """Entropy of the softmax of each row."""
    logits_SS -= logits_SS.max(axis=1, keepdims=True)
    weights_SS = np.exp(logits_SS)
    total_S = weights_SS.sum(axis=1)
    finite_SS = np.where(np.isfinite(logits_SS), logits_SS, 0)
    return np.log(total_S) - (weights_SS * finite_SS).sum(axis=1) / total_S
