"""Plain tables of classes: each set's own facts, and merges as the benchmarks have them."""

from __future__ import annotations

import pytest

from pipeline import known_classes
from pipeline.classes import LABEL_SETS
from pipeline.known_classes import IGNORE, MERGES

SIZES = {
    "CITYSCAPES_19": 19, "CITYSCAPES_34": 34, "DENSEPASS_13": 13, "WILDPASS_8": 8, "MAPILLARY_26": 26,
    "STANFORD_13": 13, "STANFORD_8": 8, "SYNPASS_22": 22, "NYU_40": 40, "CAMVID_11": 11, "CAMVID_12": 12,
}  # fmt: skip
TRAIN_ID_OF = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13,
               27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip
"""Of Cityscapes' own ids, as its scripts list them; all others are ignored."""


@pytest.mark.parametrize(("table", "size"), SIZES.items())
def test_every_set_has_as_many_classes_as_it_says_each_with_a_name_of_its_own(table: str, size: int) -> None:
    names: tuple[str, ...] = getattr(known_classes, table)
    assert len(names) == len(set(names)) == size
    assert all(name == name.strip().lower() != "" for name in names)


def test_densepass_has_cityscapes_first_twelve_classes_and_car() -> None:
    assert known_classes.DENSEPASS_13[:12] == known_classes.CITYSCAPES_19[:12]
    assert known_classes.DENSEPASS_13[12:] == ("car",)


def test_merges_are_between_known_sets_and_give_every_class_a_target_or_none() -> None:
    for (source, target), ids in MERGES.items():
        assert len(ids) == len(LABEL_SETS[source].names), (source, target)
        assert set(ids) <= {*range(len(LABEL_SETS[target].names)), IGNORE}, (source, target)


def test_cityscapes_own_ids_become_its_train_ids() -> None:
    assert MERGES["cityscapes34", "cityscapes19"] == tuple(TRAIN_ID_OF.get(id_, IGNORE) for id_ in range(34))


def test_ways_that_lead_to_the_same_set_agree() -> None:
    """Own ids merge into DensePASS's classes as their train ids do."""
    direct, further = MERGES["cityscapes34", "densepass13"], MERGES["cityscapes19", "densepass13"]
    assert direct == tuple(further[TRAIN_ID_OF[id_]] if id_ in TRAIN_ID_OF else IGNORE for id_ in range(34))
    camvid = MERGES["camvid12", "densepass13"]
    assert camvid == (*MERGES["camvid11", "densepass13"], IGNORE)


def test_vehicles_are_cars_riders_are_people_and_trains_are_ignored_in_densepass() -> None:
    merged = dict(zip(known_classes.CITYSCAPES_19, MERGES["cityscapes19", "densepass13"], strict=True))
    named = {name: "none" if id_ == IGNORE else known_classes.DENSEPASS_13[id_] for name, id_ in merged.items()}
    assert [named[name] for name in ("rider", "truck", "bus", "train", "motorcycle", "bicycle")] == [
        "person", "car", "car", "none", "car", "car"]  # fmt: skip
    assert all(named[name] == name for name in known_classes.DENSEPASS_13)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("synpass22", "densepass13", "2 4 - 11 5 0 0 1 8 12 3 7 10 - - - - 6 - - - 9"),
        ("stanford13", "stanford8", "- - - 0 1 - - 2 3 4 5 6 7"),
        ("nyu40", "stanford8", "6 3 - - 1 4 5 2 7 - - - - - - - - - - - - 0 " + "- " * 18),
        ("mapillary26", "wildpass8", "- - - - 0 1 - - 2 - - 3 4 6 - - - 5 - - - - - - 7 -"),
        ("camvid11", "densepass13", "10 2 5 0 1 8 7 4 12 11 11"),
        ("cityscapes19", "wildpass8", "3 4 - - - - - - - - - 5 - 0 1 2 - - -"),
    ],
)
def test_data_sets_merge_as_their_benchmarks_do(source: str, target: str, expected: str) -> None:
    assert MERGES[source, target] == tuple(IGNORE if part == "-" else int(part) for part in expected.split())
