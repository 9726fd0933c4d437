"""Initial weights with other classes: which rows of their final classifier a student can reuse, by class name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.class_tables import merge_table
from pipeline.classes import IGNORE, LABEL_SETS, can_merge, folded

_UNNAMED = re.compile(r"label_\d+")
"""transformers' name for a class without a name."""
_MAX_NAMED = 12
"""Classes that a note names; it counts the rest."""


def same_classes(known: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a classifier of the classes `known` can be used for those of `wanted` unchanged; unnamed classes fit any
    of the same number."""
    return list(map(folded, known)) == list(map(folded, wanted)) or (len(known) == len(wanted) and _are_unnamed(known))


def rows_by_class(known: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, ...]:
    """For each class of `wanted`, the id in `known` of the same class, or of the class that it merges into (`rider`
    into person where there are no riders), or None. Upper and lower case are the same."""
    ids: dict[str, int] = {}
    for class_id, name in enumerate(map(folded, known)):
        ids.setdefault(name, class_id)
    merged = _merged_into(set(ids))
    return tuple(ids.get(name, ids.get(merged.get(name, ""))) for name in map(folded, wanted))


def note_of_rows(known: Sequence[str], wanted: Sequence[str], rows: Sequence[int | None]) -> str:
    """A note for the user on the classes whose rows a student reuses; `rows` come from `rows_by_class`."""
    random = [name for name, row in zip(wanted, rows, strict=True) if row is None]
    others = [
        f"{name} from {known[row]}"
        for name, row in zip(wanted, rows, strict=True)
        if row is not None and known[row].casefold() != name.casefold()
    ]
    parts = [
        f"the student's initial weights have {len(wanted) - len(random)} of the {len(wanted)} classes, by name or merge"
    ]
    parts += [f"taken from a wider class: {_listed(others)}"] if others else []
    parts += [f"starting from random weights: {_listed(random)}"] if random else []
    return "; ".join(parts)


def _are_unnamed(names: Sequence[str]) -> bool:
    return all(_UNNAMED.fullmatch(name) for name in map(folded, names))


def _merged_into(known: set[str]) -> dict[str, str]:
    """Class -> the class of `known` that it merges into; empty unless `known` is the result of a known merge."""
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
    rest = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
