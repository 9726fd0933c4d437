"""Verifying finds whatever is wrong in a store, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.cache.verify import Entry, Problem, discard, entries, verify_entry

PRINT = "0123456789abcdef"
IDS = ["street/0001", "street/0002"]


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    store = TeacherStore.open(tmp_path / "teacher.zarr", "a")
    for part in (MASKS, ENSEMBLE):
        for number, panorama_id in enumerate(IDS):
            store.write(part, PRINT, panorama_id, {"x": np.full((4, 8), number, np.uint8)}, {})
    return store


def problems_of(store: TeacherStore) -> list[Problem]:
    return [problem for entry in entries(store) if (problem := verify_entry(store, entry)) is not None]


def chunk(store: TeacherStore, part: str, number: int) -> Path:
    return store.path / part / PRINT / f"street%2F000{number}" / "x" / "c.0.0"


def test_a_sound_store_has_no_problems(store: TeacherStore) -> None:
    assert [(entry.product, entry.panorama_id) for entry in entries(store)] == [
        (part, panorama_id) for part in (ENSEMBLE, MASKS) for panorama_id in IDS
    ]
    assert problems_of(TeacherStore.open(store.path, "r")) == []


def test_each_kind_of_damage_is_named_with_its_panorama(store: TeacherStore) -> None:
    content = bytearray(chunk(store, MASKS, 1).read_bytes())
    content[3] ^= 16
    chunk(store, MASKS, 1).write_bytes(content)
    chunk(store, ENSEMBLE, 1).unlink()
    (chunk(store, ENSEMBLE, 2).parents[1] / "zarr.json").unlink()
    problems = problems_of(store)
    assert [problem.entry for problem in problems] == [
        Entry(ENSEMBLE, PRINT, IDS[0]),
        Entry(ENSEMBLE, PRINT, IDS[1]),
        Entry(MASKS, PRINT, IDS[0]),
    ]
    for problem in problems:
        assert problem.entry.panorama_id in problem.found


def test_what_is_discarded_is_missing_and_all_is_well_again(store: TeacherStore) -> None:
    chunk(store, MASKS, 2).write_bytes(b"not a chunk")
    discard(store, problems_of(store))
    assert problems_of(store) == []
    assert store.ids(MASKS, PRINT) == [IDS[0]]
    assert store.ids(ENSEMBLE, PRINT) == IDS


@pytest.mark.parametrize("group", ["masks", f"ensemble/{PRINT}"])
@pytest.mark.parametrize("content", ["", "{}", None])
def test_a_damaged_group_above_panoramas_is_named_and_mended(
    store: TeacherStore, group: str, content: str | None
) -> None:
    file = store.path / group / "zarr.json"
    file.unlink() if content is None else file.write_text(content)
    assert store.damaged_groups() == [file]
    store.mend_group(file)
    assert store.damaged_groups() == []
    values = zarr.open_group(store.path, mode="r")[f"masks/{PRINT}/street%2F0001/x"]
    assert isinstance(values, zarr.Array) and values.shape == (4, 8)
    assert isinstance(zarr.open_group(store.path / group, mode="r"), zarr.Group)
    assert problems_of(store) == []
