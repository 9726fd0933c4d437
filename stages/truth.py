"""The labels of a run's panoramas, where there are any: found by the panoramas' names, read as ids of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.arrays import LabelArray
from pipeline.classes import LabelSet, label_set
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.label_index import read_label_index
from pipeline.panorama.labels import open_labels, survey_labels
from pipeline.recipe import Recipe
from stages.events import Listener, Note
from stages.files import digest
from stages.reading import RunReader
from stages.splits import SplitPanorama


def label_files(
    recipe: Recipe, panoramas: Sequence[SplitPanorama], stage: str, listener: Listener
) -> Mapping[str, Path]:
    """Label file by id; those that belong to no panorama are reported, and none are found without `data.labels`.

    Raises:
        InputError: as `survey_labels`.
    """
    if not recipe.data.labels:
        return {}
    plain = {p.id.partition("/")[2]: p for p in panoramas}
    files = [PanoramaFile(name, p.path) for name, p in plain.items()]
    data = recipe.data
    # Where panoramas were left out on purpose, most unmatched labels are theirs.
    chosen = data.limit or (data.evaluation_only if data.evaluation else data.panoramas_only)
    found = survey_labels(Path(data.labels), files, find_unmatched=not chosen)
    if found.note and not chosen:
        listener(Note(stage, f"{recipe.data.labels}: {found.note}"))
    return {plain[name].id: path for name, path in found.by_id.items()}


def open_truth(
    files: Mapping[str, Path], reader: RunReader, panorama_id: str, found_ids: set[int] | None = None
) -> LabelArray | None:
    """Labels of a panorama at their own size; None where it has none.

    Args:
        files: from `label_files`.
        reader: knows where the picture lies on the canvas.
        panorama_id: the panorama.
        found_ids: if given, the file's own ids are added to it.

    Raises:
        InputError: as `open_labels` and, with `data.labels_index`, `read_label_index`.
    """
    recipe = reader.recipe
    if panorama_id not in files:
        return None
    file_set, index = label_file_set(recipe), recipe.data.labels_index
    return open_labels(files[panorama_id], recipe.classes, recipe.panorama, file_set,
                       from_one=recipe.data.labels_from_one, found_ids=found_ids,
                       placement=reader.placement(panorama_id),
                       index_N=read_label_index(Path(index), file_set) if index else None)  # fmt: skip


def label_file_set(recipe: Recipe) -> LabelSet:
    """The classes that label files have."""
    return label_set(recipe.data.labels_set) if recipe.data.labels_set else recipe.classes


def reading_of_labels(recipe: Recipe) -> tuple[Any, ...]:
    """What tells how label files are read, for a fingerprint; empty where they have the run's own ids.

    Raises:
        InputError: `data.labels_index` cannot be read.
    """
    data, names = recipe.data, label_file_set(recipe).names
    index = digest(Path(data.labels_index)) if data.labels_index else ""
    is_usual = not data.labels_from_one and not index and names == recipe.classes.names
    return () if is_usual else (data.labels_from_one, names, index)
