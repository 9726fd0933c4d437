"""The pictures of an evaluation: panorama, assistant, masks, ensemble, student and truth side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from pipeline.arrays import ImageArray
from pipeline.errors import InputError
from stages.evaluate_job import STAGE
from stages.events import Listener, failure
from stages.files import named_after_panorama, put_in_place, write_picture, writing


class EvaluationPictures:
    """Pictures that take the place of an earlier evaluation's once all are there."""

    def __init__(self, out: Path, listener: Listener) -> None:
        """Nothing is written yet.

        Args:
            out: folder of the evaluation; the pictures come into its folder `overlays`.
            listener: hears of pictures that cannot be written.
        """
        self._folder, self._unfinished = out / "overlays", out / "overlays.partial"
        self._listener = listener

    def begin(self) -> None:
        """Make the folder of the new ones; what a killed evaluation left is removed.

        Raises:
            CacheError: it cannot be written.
        """
        shutil.rmtree(self._unfinished, ignore_errors=True)
        with writing(self._unfinished):
            self._unfinished.mkdir(parents=True)

    def add(self, panorama_id: str, picture: ImageArray) -> None:
        """Write a picture; go without where its name cannot be had, for the panorama is measured all the same.

        Args:
            panorama_id: the panorama.
            picture: RGB [height, width, 3].

        Raises:
            CacheError: the disk is full, or the folder cannot be written.
        """
        name = f"{panorama_id}.png"
        try:
            with named_after_panorama():
                write_picture(self._unfinished / name, Image.fromarray(picture))
        except InputError as error:
            self._listener(failure(STAGE, f"overlays/{name}", error))

    def finish(self) -> None:
        """Put them in the place of the earlier ones.

        Raises:
            CacheError: the system refused.
        """
        with writing(self._folder):
            put_in_place(self._unfinished, self._folder)
