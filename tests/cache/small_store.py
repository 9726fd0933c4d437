"""Panoramas small enough for tests of the store, and what is to be found of them on the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cache.mark import folder_name
from pipeline.cache.schema import ENSEMBLE
from pipeline.cache.store import TeacherStore

PRINT = "0123456789abcdef"
Arrays = dict[str, npt.NDArray[Any]]


def arrays_of(seed: int) -> Arrays:
    """A little of everything that stage one stores."""
    rng = np.random.default_rng(seed)
    return {
        "ensemble_probabilities": rng.integers(0, 256, (5, 8, 16), dtype=np.uint8),
        "features_1": rng.normal(size=(4, 4, 8)).astype(np.float16),
        "runs": rng.integers(0, 1000, 50, dtype=np.int32),
        "reliability": rng.random((8, 16)) < 0.5,
    }


def write(store: TeacherStore, panorama_id: str, seed: int = 0, part: str = ENSEMBLE) -> None:
    store.write(part, PRINT, panorama_id, arrays_of(seed), {"source_sha256": f"sha of {panorama_id}"})


def assert_reads(store: TeacherStore, panorama_id: str, seed: int = 0) -> None:
    read = store.read(ENSEMBLE, PRINT, panorama_id)
    assert list(read) == list(arrays_of(seed))
    for name, values in arrays_of(seed).items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


def files_of(store: TeacherStore, panorama_id: str) -> list[Path]:
    folder = store.path / ENSEMBLE / PRINT / folder_name(panorama_id)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def chunks_of(store: TeacherStore, panorama_id: str) -> list[Path]:
    return [path for path in files_of(store, panorama_id) if path.name.startswith("c")]


def leftovers(store: TeacherStore) -> list[Path]:
    return [path for path in store.path.with_name(f"{store.path.name}.writing").rglob("*") if path.is_file()]


def failing(code: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    return fail
