"""What a run's maps are compared with in its report: the student's prediction and people's labels, as maps.

<folder>/student/<name>.png, truth/<name>.png    class ids on the level canvas; 255 where nothing was seen or labelled

A rerun writes only what is missing or was made of something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.accelerator import device_errors
from pipeline.arrays import LabelArray
from pipeline.cache.schema import ENSEMBLE
from pipeline.classes import IGNORE
from pipeline.errors import DeviceError, GoodSAMError, InputError, WeightsError
from pipeline.evaluate.metrics import labels_at, resize_nearest
from pipeline.settings import fingerprint
from stages.events import Listener, Note, StageAdvanced, StageFinished, StageStarted, failure
from stages.files import digest
from stages.label_files import read_notes, write_labels
from stages.models import StudentModel
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import evaluation_panoramas
from stages.students import StudentFolder
from stages.truth import label_file_set, label_files, open_truth

if TYPE_CHECKING:
    from stages.predictor import Predictor

STAGE = "report"
STUDENT, TRUTH = "student", "truth"
VERSION = 1
"""Raised when the code changes what is written, so that older maps are replaced."""
_MADE_OF = "made_of"
_Compute = Callable[[str], LabelArray]


@dataclass(frozen=True)
class ComparedMaps:
    """Writes these maps for the panoramas of a run."""

    run: Run
    """Recipe and folder."""
    reader: RunReader
    """Reads the panoramas."""
    names: Mapping[str, str]
    """Name of a panorama's maps, by its id."""
    folder: Path
    """Where the folders `student` and `truth` are."""
    listener: Listener
    """Hears the events."""

    def truth(self) -> dict[str, Path]:
        """Write the labels of panoramas that have some; labels that cannot be used are told and left out.

        Returns:
            The maps by name.

        Raises:
            CacheError: one cannot be written.
        """
        recipe = self.run.recipe
        try:
            files = label_files(recipe, evaluation_panoramas(recipe), STAGE, self.listener)
            colours = digest(Path(recipe.data.labels_index)) if recipe.data.labels_index else ""
        except (GoodSAMError, OSError) as error:
            self.listener(Note(STAGE, f"the layer of people's labels is left out: {error}"))
            return {}
        how = fingerprint(recipe.data.labels_from_one, label_file_set(recipe).names, asdict(recipe.panorama), colours)
        wanted = {id_: self._made_of(id_, how, digest(path)) for id_, path in files.items() if id_ in self.names}
        return self._maps(TRUTH, wanted, lambda: lambda id_: self._truth_of(files, id_))

    def student(self, device: str) -> dict[str, Path]:
        """Write what the run's finished student predicts; a student that cannot be used is told and left out.

        Args:
            device: as for `choose_device`.

        Returns:
            The maps by name; none where there is no finished student.

        Raises:
            RecipeError: there is no such device.
            CacheError: a map cannot be written.
        """
        folder = StudentFolder(self.run.student)
        if not folder.is_finished:
            return {}
        try:
            content = StudentModel(folder.final).identity
            wanted = {id_: self._made_of(id_, content) for id_ in self.names}
            earlier = self._of_earlier_version(folder)
            with device_errors("pass --device cpu"):
                return self._maps(STUDENT, wanted, lambda: self._student(folder.final, device), earlier)
        except (InputError, WeightsError, DeviceError) as error:
            self.listener(Note(STAGE, f"the layer of the student is left out: {error}"))
            return {}

    def _of_earlier_version(self, folder: StudentFolder) -> Callable[[str, Path], bool]:
        """Tells whether a panorama's map, named by the student's fingerprint as earlier versions did, is of the student
        that is there: one that is trained anew has the same."""
        name, weights = str(folder.record().get("fingerprint")), (folder.final / "model.safetensors").stat().st_mtime
        return lambda id_, path: (
            read_notes(path).get(_MADE_OF) == self._made_of(id_, name) and path.stat().st_mtime >= weights
        )

    def _maps(
        self,
        kind: str,
        wanted: Mapping[str, str],
        prepare: Callable[[], _Compute],
        is_kept: Callable[[str, Path], bool] = lambda _id, _path: False,
    ) -> dict[str, Path]:
        """Write the maps that are missing; returns all that there are, by name.

        Args:
            kind: name of their folder.
            wanted: what a panorama's map is made of, by the panorama's id.
            prepare: returns what computes a map; called if one is missing.
            is_kept: whether a map that says something else is right all the same, by the panorama's id and its file.
        """
        paths = {id_: self.folder / kind / f"{self.names[id_]}.png" for id_ in wanted}
        missing = [id_ for id_, path in paths.items()
                   if read_notes(path).get(_MADE_OF) != wanted[id_] and not is_kept(id_, path)]  # fmt: skip
        if missing:
            for id_, labels_HW in self._computed(kind, missing, prepare()):
                if labels_HW is None:
                    del paths[id_]
                else:
                    write_labels(paths[id_], labels_HW, self.run.recipe.classes, {_MADE_OF: wanted[id_]})
        return {self.names[id_]: path for id_, path in paths.items()}

    def _computed(self, kind: str, ids: list[str], compute: _Compute) -> Iterator[tuple[str, LabelArray | None]]:
        """Id and map of each panorama; None, which is told, where there cannot be one."""
        task, began = f"{STAGE} ({kind})", time.monotonic()
        self.listener(StageStarted(task, len(ids), "panoramas"))
        for done, panorama_id in enumerate(ids, 1):
            started = time.monotonic()
            try:
                yield panorama_id, compute(panorama_id)
            except (WeightsError, DeviceError):
                raise
            except Exception as error:  # one panorama must not stop the report
                self.listener(failure(task, panorama_id, error))
                yield panorama_id, None
            self.listener(StageAdvanced(task, done, panorama_id, time.monotonic() - started))
        self.listener(StageFinished(task, time.monotonic() - began))

    def _truth_of(self, files: Mapping[str, Path], panorama_id: str) -> LabelArray:
        labels_HW = open_truth(files, self.reader, panorama_id)
        assert labels_HW is not None, "only panoramas with a label file are asked for"
        return labels_HW

    def _student(self, folder: Path, device: str) -> _Compute:
        """Raises WeightsError where the student cannot be loaded or has other classes."""
        from stages.devices import choose_device  # here, as torch and transformers take seconds
        from stages.predictor import load_predictor

        student = load_predictor(folder, choose_device(device))
        names, wanted = student.label_set.names, self.run.recipe.classes.names
        if names != wanted:
            raise WeightsError(f"the student {folder} has the classes {', '.join(names)}",
                               f"the recipe has {', '.join(wanted)}",
                               "Run `goodsam distill` for a student of this recipe"
                               )  # fmt: skip
        return lambda id_: self._predicted(student, id_)

    def _predicted(self, student: Predictor, panorama_id: str) -> LabelArray:
        image_HW3 = self.reader.image(panorama_id)
        ignored_HW = self.reader.read(ENSEMBLE, panorama_id, ("ignored",))["ignored"].astype(bool)
        labels_HW = labels_at(student(image_HW3), *image_HW3.shape[:2])
        return np.where(resize_nearest(ignored_HW, *labels_HW.shape), np.uint8(IGNORE), labels_HW)

    def _made_of(self, panorama_id: str, *parts: str) -> str:
        """Names what a map is made of: the picture, its ignored pixels, and what else there is."""
        return fingerprint(VERSION, self.reader.only_of([panorama_id]).content_fingerprint(), *parts)
