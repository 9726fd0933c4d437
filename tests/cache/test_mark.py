"""Done marks and folder names: what is on the disk of users' stores, to the letter."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

import numpy as np
import pytest

from pipeline.cache.mark import ArrayRecord, Mark, folder_name, id_of_folder

VALUES_23 = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


@pytest.fixture
def mark() -> Mark:
    records = {"labels": ArrayRecord.of(VALUES_23, 21), "empty": ArrayRecord.of(VALUES_23[:0], 0)}
    return Mark("street/1", records, {"source_sha256": "ab", "size": (64, 128), "fov": 180.0, "mask": None})


@pytest.mark.parametrize(
    ("panorama_id", "name"),
    [
        ("plain-1_2", "plain-1_2"),
        ("street/0001", "street%2F0001"),
        ("zarr.json", "zarr%2Ejson"),
        ("..", "%2E%2E"),
        ("50%", "50%25"),
        ("a~b", "a%7Eb"),
        ("__reserved", "%5F_reserved"),
        ("街", "%E8%A1%97"),
        ("no \udcff utf-8", "no%20%ED%B3%BF%20utf-8"),
    ],
)
def test_stores_of_users_have_these_names(panorama_id: str, name: str) -> None:
    assert folder_name(panorama_id) == name
    assert id_of_folder(name) == panorama_id


def test_a_name_of_200_bytes_is_kept_and_a_longer_one_ends_in_its_digest() -> None:
    assert folder_name("a" * 200) == "a" * 200
    digest = hashlib.sha256(b"a" * 201).hexdigest()
    shortened = folder_name("a" * 201)
    assert shortened == "a" * 150 + "~" + digest[:32]
    assert folder_name(shortened) == shortened
    assert id_of_folder(shortened) == shortened


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(ValueError, match="a panorama needs an id"):
        folder_name("")


def test_a_folder_that_somebody_else_put_there_keeps_its_name() -> None:
    assert id_of_folder("%FF") == "%FF"


def test_a_record_is_of_type_shape_and_values_whatever_their_order_in_memory() -> None:
    record = ArrayRecord.of(VALUES_23, 21)
    assert record == ArrayRecord("uint8", (2, 3), zlib.crc32(bytes([1, 2, 3, 4, 5, 6])), 21)
    assert ArrayRecord.of(np.asfortranarray(VALUES_23), 21) == record
    assert ArrayRecord.of(VALUES_23[::-1], 21) != record
    assert ArrayRecord.of(VALUES_23.reshape(3, 2), 21) != record


def test_a_mark_comes_back_from_the_text_that_is_stored(mark: Mark) -> None:
    read = Mark.from_json(json.loads(json.dumps(mark.to_json())))
    assert read.panorama_id == "street/1"
    assert read.arrays == mark.arrays
    assert read.provenance == {"source_sha256": "ab", "size": [64, 128], "fov": 180.0, "mask": None}


def test_the_order_of_keys_does_not_matter(mark: Mark) -> None:
    reordered = json.loads(json.dumps(mark.to_json(), sort_keys=True))
    assert Mark.from_json(reordered) == Mark.from_json(mark.to_json())


def changed(stored: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at a place."""
    copy = json.loads(json.dumps(stored))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("panorama_id",), "street/2"),
        (("arrays", "labels", "crc32"), 0),
        (("arrays", "labels", "shape"), [3, 2]),
        (("arrays", "labels", "stored_bytes"), 22),
        (("arrays", "labels", "dtype"), "int8"),
        (("provenance", "source_sha256"), "cd"),
        (("provenance", "fov"), float("nan")),
        (("more",), 1),
        (("sha256",), "0" * 64),
    ],
)
def test_a_mark_that_was_changed_anywhere_is_damaged(mark: Mark, path: tuple[str, ...], value: Any) -> None:
    with pytest.raises(ValueError, match=r"the done mark is damaged|not JSON compliant"):
        Mark.from_json(changed(mark.to_json(), path, value))


@pytest.mark.parametrize("left", [None, [], "done", 1])
def test_what_is_no_mark_is_called_none(left: Any) -> None:
    with pytest.raises(ValueError, match="there is no done mark"):
        Mark.from_json(left)


def test_a_mark_without_its_checksum_is_damaged(mark: Mark) -> None:
    stored = mark.to_json()
    del stored["sha256"]
    with pytest.raises(ValueError, match="damaged"):
        Mark.from_json(stored)


def test_a_number_that_json_lacks_is_refused_when_it_is_written(mark: Mark) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Mark("a", mark.arrays, {"fov": float("nan")}).to_json()
