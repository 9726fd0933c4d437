"""One chunk per array, always written; and an array that is not the recorded one is never handed out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from pipeline.cache.arrays import read_array, write_array
from pipeline.cache.mark import ArrayRecord

LABELS_HW = np.arange(64 * 128).reshape(64, 128).astype(np.uint8)


def chunks(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in (folder / name).iterdir() if path.name != "zarr.json")


@pytest.mark.parametrize(
    ("values", "files"),
    [
        (LABELS_HW, ["c.0.0"]),
        (np.zeros((3, 4, 5), np.float32), ["c.0.0.0"]),
        (np.ones(9, np.bool_), ["c.0"]),
        (np.array(-7, np.int64), ["c"]),
        (np.linspace(0, 1, 7, dtype=np.float16), ["c.0"]),
        (np.zeros((0, 4), np.int32), []),
    ],
    ids=["labels", "all zero", "all one", "a number", "half", "empty"],
)
def test_values_come_back_from_their_one_chunk(tmp_path: Path, values: npt.NDArray[Any], files: list[str]) -> None:
    record = write_array(tmp_path, "values", values)
    assert chunks(tmp_path, "values") == files
    assert record.stored_bytes == sum((tmp_path / "values" / file).stat().st_size for file in files)
    read = read_array(tmp_path, "values", record)
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_values_of_another_byte_order_or_layout_are_the_same_values(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    record = write_array(tmp_path, "plain", values)
    for name, odd in (("swapped", values.astype(">i4")), ("fortran", np.asfortranarray(values))):
        assert write_array(tmp_path, name, odd) == replace(record, stored_bytes=record.stored_bytes)
        np.testing.assert_array_equal(read_array(tmp_path, name, record), values)


def test_plain_zarr_reads_an_array_and_its_encoding(tmp_path: Path) -> None:
    write_array(tmp_path, "agreement", LABELS_HW)
    array = zarr.open_array(tmp_path / "agreement", mode="r")
    np.testing.assert_array_equal(np.asarray(array[...]), LABELS_HW)
    assert "255" in str(array.attrs["encoding"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a/b", LABELS_HW),
        ("..", LABELS_HW),
        ("", LABELS_HW),
        ("text", np.array(["a"])),
        ("objects", np.array([None])),
        ("complex", np.zeros(2, np.complex64)),
        ("times", np.zeros(2, "datetime64[s]")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    tmp_path: Path, name: str, values: npt.NDArray[Any]
) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        write_array(tmp_path, name, values)
    assert list(tmp_path.iterdir()) == []


def test_an_array_that_is_not_the_recorded_one_is_named_by_what_differs(tmp_path: Path) -> None:
    record = write_array(tmp_path, "labels", LABELS_HW)
    for other in (replace(record, shape=(128, 64)), replace(record, dtype="int8")):
        with pytest.raises(ValueError, match="shape or type"):
            read_array(tmp_path, "labels", other)
    with pytest.raises(ValueError, match="checksum"):
        read_array(tmp_path, "labels", replace(record, crc32=record.crc32 ^ 1))
    with pytest.raises(ValueError, match="cut short"):
        read_array(tmp_path, "labels", replace(record, stored_bytes=record.stored_bytes + 1))


def test_a_lost_chunk_is_not_read_as_zeros(tmp_path: Path) -> None:
    record = write_array(tmp_path, "labels", np.zeros((64, 128), np.uint8))
    (tmp_path / "labels" / "c.0.0").unlink()
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path, "labels", record)


def test_every_flipped_byte_of_a_chunk_is_noticed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 8), dtype=np.uint8)
    record = write_array(tmp_path, "labels", values)
    chunk = tmp_path / "labels" / "c.0.0"
    whole = chunk.read_bytes()
    for place in range(len(whole)):
        chunk.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Exception):  # noqa: B017 - codecs raise all sorts of errors
            read_array(tmp_path, "labels", record)
    chunk.write_bytes(whole)
    np.testing.assert_array_equal(read_array(tmp_path, "labels", record), values)


def test_a_record_says_what_was_written(tmp_path: Path) -> None:
    assert write_array(tmp_path, "runs", np.zeros(0, np.int32)) == ArrayRecord("int32", (0,), 0, 0)
