"""What a student learns from true labels: in the place of stage one's ensemble, or beside it as corrections.

Legend: C classes, H W working size.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import LabelArray
from pipeline.cache import codec
from pipeline.cache.schema import ASSISTANT, ENSEMBLE
from pipeline.cache.store import TeacherStore
from pipeline.classes import IGNORE
from pipeline.panorama.edges import label_edges
from stages.corrections import ORIGINAL, CorrectionFolder
from stages.files import put_in_place
from stages.manifest import write_manifest
from stages.panorama_records import PanoramaRecords
from stages.products import fingerprints, products_of
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas

Arrays = dict[str, npt.NDArray[Any]]


def truth_run(run: Run, labels: Path) -> Run:
    """A run whose cache holds the truth where stage one's ensemble and blend were, so that students of all settings
    learn the same steps from the same panoramas, features included, and only the teacher differs.

    Args:
        run: finished by stage one.
        labels: folder of the true labels of its panoramas to learn from.
    """
    learned = RunReader.open(run, learning_panoramas(run.recipe))
    taught = Run(run.recipe, run.cache.parent / "cache-of-the-truth" / run.folder.name)
    store, prints, records = (
        TeacherStore.open(taught.store, "a"),
        fingerprints(run.recipe),
        PanoramaRecords(taught.panoramas),
    )
    for panorama_id in learned.ids:
        record = learned.records[panorama_id]
        for product in products_of(run.recipe):
            entry, print_ = record.entry(product), prints[product.name]
            if not store.is_done(product.name, print_, entry):
                arrays = with_truth(
                    product.name, learned.read(product.name, panorama_id), read_truth(labels, panorama_id)
                )
                provenance = learned.store.provenance(product.name, print_, entry)
                store.write(product.name, print_, entry, arrays, provenance)
        records.add(panorama_id, record)
    taught.record_recipe()
    write_manifest(taught, prints)
    return taught


def with_truth(product: str, arrays: Mapping[str, npt.NDArray[Any]], truth_HW: LabelArray) -> Arrays:
    """A product's arrays with the truth in the place of what it says of classes; masks and features stay.

    Args:
        product: its name.
        arrays: as stored.
        truth_HW: class ids; IGNORE becomes ignored.
    """
    if product == ASSISTANT:
        classes = len(arrays["assistant_probabilities"])
        return dict(arrays) | {"assistant_probabilities": codec.encode_probabilities(certain(truth_HW, classes))}
    if product == ENSEMBLE:
        classes = len(arrays["ensemble_probabilities"])
        unknown_HW = truth_HW == IGNORE
        return dict(arrays) | {
            "ensemble_labels": truth_HW,
            "ensemble_probabilities": codec.encode_probabilities(certain(truth_HW, classes)),
            "reliability": (~unknown_HW).astype(np.uint8),
            "boundary": label_edges(truth_HW, wrap=True).astype(np.uint8),
            "ignored": arrays["ignored"] | unknown_HW.astype(np.uint8),
        }
    return dict(arrays)


def certain(labels_HW: LabelArray, classes: int) -> npt.NDArray[np.float32]:
    """Probabilities [C, H, W] of 1 for each pixel's label; alike for all classes where that is IGNORE."""
    is_class_CHW = labels_HW == np.arange(classes, dtype=np.uint8)[:, None, None]
    return np.where(labels_HW == IGNORE, 1 / classes, is_class_CHW).astype(np.float32)


def with_corrections(run: Run, labels: Path, count: int, folder: Path) -> Run:
    """The run with the true labels of its first panoramas as people's corrections, none held out.

    Args:
        run: finished by stage one.
        labels: folder of the true labels of its panoramas to learn from.
        count: how many are corrected.
        folder: where the corrections are written.
    """
    learned = RunReader.open(run, learning_panoramas(run.recipe))
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    corrections = CorrectionFolder(partial)
    for panorama_id in learned.ids[:count]:
        source = learned.records[panorama_id].sha256
        corrections.store(panorama_id, read_truth(labels, panorama_id), run.recipe.classes, source, ORIGINAL)
    put_in_place(partial, folder)
    return with_data(run, corrections=str(folder.absolute()), corrections_held_out=0.0)


def with_data(run: Run, **settings: Any) -> Run:
    """The run with other settings of `data`."""
    return replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, **settings)))


def read_truth(labels: Path, panorama_id: str) -> LabelArray:
    """True labels [H, W] of a panorama, by its id."""
    return np.array(Image.open(labels / f"{panorama_id.partition('/')[2]}.png"))
