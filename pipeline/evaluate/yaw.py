"""How far results change when the camera turns about the vertical axis: nothing else in the scene does.

A turned panorama is the same one with its columns rolled. Windows then lie elsewhere in the scene, and the picture's
border elsewhere in front of a network; what changes in the result, turned back, is an error of one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.arrays import BoolArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.evaluate.ladder import in_ladder_order


@dataclass(frozen=True)
class YawChange:
    """What a turn changes in one rung, on all panoramas together."""

    panoramas: int
    """Number of panoramas that were turned."""
    label: float
    """Share of the pixels covered both times whose label differs, 0..1; nan if there are none."""
    coverage: float
    """Share of the valid pixels that are covered only one of the two times, 0..1; of `ensemble_reliable`, those whose
    reliability changes."""


@dataclass
class _Counts:
    panoramas: set[str] = field(default_factory=set[str])
    both: int = 0
    differing: int = 0
    valid: int = 0
    covered_once: int = 0


@dataclass
class YawStability:
    """Counts what one turn changes, panorama by panorama."""

    _counts: dict[str, _Counts] = field(default_factory=dict[str, _Counts])

    def add(
        self,
        panorama: str,
        straight: Mapping[str, LabelArray],
        turned_back: Mapping[str, LabelArray],
        valid_HW: BoolArray,
    ) -> None:
        """Count one panorama.

        Args:
            panorama: its id.
            straight: labels [H, W] by rung, IGNORE where it covers nothing.
            turned_back: those of the turned panorama, with the columns back in their place; of these rungs.
            valid_HW: pixels that count.
        """
        for rung, after_HW in turned_back.items():
            counts = self._counts.setdefault(rung, _Counts())
            seen_HW, seen_after_HW = straight[rung] != IGNORE, after_HW != IGNORE
            both_HW = seen_HW & seen_after_HW & valid_HW
            counts.panoramas.add(panorama)
            counts.both += int(both_HW.sum())
            counts.differing += int((both_HW & (straight[rung] != after_HW)).sum())
            counts.valid += int(valid_HW.sum())
            counts.covered_once += int(((seen_HW != seen_after_HW) & valid_HW).sum())

    def summary(self) -> dict[str, YawChange]:
        """The changes by rung, in the order of the ladder."""
        return {
            rung: YawChange(len(found.panoramas), _share(found.differing, found.both),
                            _share(found.covered_once, found.valid))
            for rung in in_ladder_order(self._counts)
            for found in [self._counts[rung]]
        }  # fmt: skip


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def turns(width: int, window_stride: int) -> tuple[int, int]:
    """By how many columns to turn: half a window's stride, which moves every window to between two others, and an odd
    number near a third of the circle, which fits neither windows nor the networks' cells."""
    return window_stride // 2, (width // 3) | 1


def yaw_record(turns: Mapping[float, Mapping[str, YawChange]]) -> list[dict[str, Any]]:
    """The changes by turn (in degrees) and rung as they are written to metrics.json."""
    return [
        {"degrees": degrees, "rungs": {rung: asdict(change) for rung, change in changes.items()}}
        for degrees, changes in turns.items()
    ]


def yaw_of(record: Iterable[Mapping[str, Any]]) -> dict[float, dict[str, YawChange]]:
    """The changes by turn and rung from their record, with nan for null."""
    return {turn["degrees"]: {rung: _change_of(own) for rung, own in turn["rungs"].items()} for turn in record}


def _change_of(record: Mapping[str, Any]) -> YawChange:
    label, coverage = (float("nan") if record[key] is None else record[key] for key in ("label", "coverage"))
    return YawChange(record["panoramas"], label, coverage)
