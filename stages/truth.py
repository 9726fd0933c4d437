"""The labels of a run's panoramas, where there are any: found by the panoramas' names, read as ids of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.arrays import LabelArray
from pipeline.classes import LabelSet, label_set
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.labels import open_labels, survey_labels
from pipeline.recipe import Recipe
from stages.events import Listener, Note
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
    found = survey_labels(Path(recipe.data.labels), files)
    if found.note and not recipe.data.limit:  # with a limit, most are of panoramas that were left out on purpose
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
        InputError: as `open_labels`.
    """
    recipe = reader.recipe
    if panorama_id not in files:
        return None
    return open_labels(files[panorama_id], recipe.classes, recipe.panorama, label_file_set(recipe),
                       from_one=recipe.data.labels_from_one, found_ids=found_ids,
                       placement=reader.placement(panorama_id))  # fmt: skip


def label_file_set(recipe: Recipe) -> LabelSet:
    """The classes that label files have."""
    return label_set(recipe.data.labels_set) if recipe.data.labels_set else recipe.classes
