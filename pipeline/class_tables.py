"""Tables of label sets: their colours, and which id of one set is which id of another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.classes import IGNORE, LabelSet, can_merge
from pipeline.errors import RecipeError
from pipeline.known_classes import MERGES


def colour_table(labels: LabelSet) -> npt.NDArray[np.uint8]:
    """Colours as [256, 3] uint8; ids without a class are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(labels)] = labels.palette
    return table


def merge_table(source: LabelSet, target: LabelSet) -> npt.NDArray[np.uint8]:
    """Table [256] from source ids to target ids; ids without a counterpart become IGNORE.

    Raises:
        RecipeError: the sets have no known merge.
    """
    table = np.full(256, IGNORE, np.uint8)
    if source.names == target.names:
        table[: len(source)] = np.arange(len(source))
        return table
    if not can_merge(source, target):
        raise RecipeError(
            f"labels of {source.name} cannot be merged into {target.name}",
            f"known merges are {', '.join(f'{a} -> {b}' for a, b in MERGES)}",
            "Set the label set that the data has",
        )
    table[: len(source)] = MERGES[source.name, target.name]
    return table


def merge_probabilities(
    probabilities: npt.NDArray[np.floating], source: LabelSet, target: LabelSet
) -> npt.NDArray[np.float32]:
    """Sum class probabilities [C, ...] of `source` into `target` and normalise over the classes that remain.

    Merging after the softmax (not the argmax) is the benchmark's protocol: DensePASS, 13 classes.

    Raises:
        ValueError: the probabilities are not of the classes of `source`.
        RecipeError: as `merge_table`.
    """
    table = merge_table(source, target)[: len(source)]
    if len(probabilities) != len(source):
        raise ValueError(f"probabilities are of {len(probabilities)} classes; {source.name} has {len(source)}")
    merged = np.zeros((len(target), *probabilities.shape[1:]), np.float32)
    for source_id, target_id in enumerate(table):
        if target_id != IGNORE:
            merged[target_id] += probabilities[source_id]
    total = merged.sum(axis=0, keepdims=True)
    return np.where(total > 0, merged / np.maximum(total, 1e-12), np.float32(1 / len(target)))
