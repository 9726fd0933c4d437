"""A start with other classes: which rows of its final classifier a student can take over, by the classes' names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.classes import IGNORE, LABEL_SETS, can_merge, folded, merge_table

_UNNAMED = re.compile(r"label_\d+")
"""What transformers calls a class that nobody has named."""
_MOST_NAMED = 12
"""Classes that a note names before it counts the rest."""


def same_classes(known: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a classifier of the classes `known` serves those of `wanted` as it is; unnamed ones are taken at their
    word if they are as many."""
    return list(map(folded, known)) == list(map(folded, wanted)) or (len(known) == len(wanted) and _are_unnamed(known))


def rows_by_class(known: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, ...]:
    """For each of `wanted`, the id among `known` of the same class, or else of the one that a known merge puts it into
    (`rider` is a person where there are no riders); None where there is none. Upper and lower case are the same."""
    ids: dict[str, int] = {}
    for class_id, name in enumerate(map(folded, known)):
        ids.setdefault(name, class_id)
    merged = _merged_into(set(ids))
    return tuple(ids.get(name, ids.get(merged.get(name, ""))) for name in map(folded, wanted))


def note_of_rows(known: Sequence[str], wanted: Sequence[str], rows: Sequence[int | None]) -> str:
    """What a user should know of the classes that a student takes over; `rows` are as `rows_by_class` gives them."""
    random = [name for name, row in zip(wanted, rows, strict=True) if row is None]
    others = [
        f"{name} from {known[row]}"
        for name, row in zip(wanted, rows, strict=True)
        if row is not None and known[row].casefold() != name.casefold()
    ]
    parts = [f"the student's start knows {len(wanted) - len(random)} of the {len(wanted)} classes by name or merge"]
    parts += [f"taken from a wider class: {_listed(others)}"] if others else []
    parts += [f"beginning at random: {_listed(random)}"] if random else []
    return "; ".join(parts)


def _are_unnamed(names: Sequence[str]) -> bool:
    return all(_UNNAMED.fullmatch(name) for name in map(folded, names))


def _merged_into(known: set[str]) -> dict[str, str]:
    """Class -> the one of `known` that it is merged into, where `known` are the classes of a known merge's result."""
    merged: dict[str, str] = {}
    for narrow in LABEL_SETS.values():
        if set(map(folded, narrow.names)) != known:
            continue
        for wide in LABEL_SETS.values():
            if wide is not narrow and can_merge(wide, narrow):
                table = merge_table(wide, narrow)
                pairs = zip(wide.names, table[: len(wide)], strict=True)
                merged |= {name.casefold(): narrow.names[i].casefold() for name, i in pairs if i != IGNORE}
    return merged


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
