"""What a student's folder says of its training; read before the libraries that run the student are imported."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.errors import RecipeError, WeightsError
from pipeline.panorama.config import PanoramaConfig

RECORD = "training.json"
"""Says where a finished student comes from; among others its `fingerprint`."""


def training_geometry(folder: Path) -> PanoramaConfig:
    """The working width and the field of view of a student's training; the usual ones where its folder does not tell.

    Raises:
        WeightsError: its training.json is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return PanoramaConfig()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return PanoramaConfig(int(record["working_size"][1]), float(record["vertical_fov"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecipeError) as error:
        raise WeightsError(f"{path} is damaged ({type(error).__name__}: {error})",
                           "it must be as `goodsam distill` wrote it",
                           f"Run `goodsam distill` again, or remove {RECORD} and pass --width") from error  # fmt: skip
