"""Panoramas with the same content under several ids, as where a picture lies in both folders of a recipe.

It may be one file (the same folder twice, one inside the other, a link) or a copy of it. What stage one computes
depends on a picture's content, never on its name: the store has it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.errors import InputError
from stages.events import Listener, report_if_slow
from stages.files import digest
from stages.splits import EVALUATION, LEARNING, SplitPanorama


@dataclass(frozen=True)
class EqualPanoramas:
    """Which panoramas have the same content."""

    groups: Mapping[str, tuple[str, ...]]
    """By the id of each panorama that is not alone: ids of all that have its content, itself included."""

    def first(self, panorama_id: str) -> str:
        """Id of the first panorama that has the content of this one; its own where it is alone."""
        return self.groups.get(panorama_id, (panorama_id,))[0]

    @property
    def repeated(self) -> int:
        """Number of panoramas whose content is that of an earlier one."""
        return sum(self.first(panorama_id) != panorama_id for panorama_id in self.groups)

    def distinct(self, panoramas: Iterable[SplitPanorama]) -> int:
        """Number of different contents."""
        return len({self.first(panorama.id) for panorama in panoramas})

    def learned_and_measured(self) -> list[str]:
        """Ids of the panoramas to evaluate on whose content is also learned from."""
        return [
            panorama_id
            for panorama_id, group in self.groups.items()
            if _split(panorama_id) == EVALUATION and LEARNING in map(_split, group)
        ]


def find_equal_panoramas(
    panoramas: Sequence[SplitPanorama],
    size_of: Callable[[SplitPanorama], int],
    known_digest: Callable[[SplitPanorama], str],
    stage: str,
    listener: Listener,
) -> EqualPanoramas:
    """Find the panoramas with the same content; only files of the same size are read, each once.

    Args:
        panoramas: where to look; files that cannot be read are equal to none.
        size_of: bytes of a panorama's file; 0 where it cannot be looked at.
        known_digest: SHA-256 of a panorama's file where that is known without reading it, else empty.
        stage: who asks, for the listener.
        listener: hears how far it is, should it take long.
    """
    by_size: defaultdict[int, list[SplitPanorama]] = defaultdict(list)
    for panorama in panoramas:
        by_size[size_of(panorama)].append(panorama)
    alike = [panorama for size, same in by_size.items() if size and len(same) > 1 for panorama in same]
    digest_of = lru_cache(maxsize=None)(_digest)
    by_content: defaultdict[str, list[str]] = defaultdict(list)
    for panorama in report_if_slow(alike, f"{stage}: comparing files of the same size", "files", listener):
        if content := known_digest(panorama) or digest_of(panorama.path.resolve()):
            by_content[content].append(panorama.id)
    return EqualPanoramas({one: tuple(ids) for ids in by_content.values() if len(ids) > 1 for one in ids})


def learned_from_note(learned: int, measured: int) -> str:
    """A sentence on panoramas to evaluate on that are also learned from; empty where there are none."""
    if not learned:
        return ""
    are = "is" if learned == 1 else "are"
    return (
        f"{learned} of the {measured} panoramas of data.evaluation {are} in data.panoramas too: "
        "figures measured on what the student learned from flatter it"
    )


def _digest(path: Path) -> str:
    try:
        return digest(path)
    except InputError:  # whoever opens it says what is wrong with it
        return ""


def _split(panorama_id: str) -> str:
    return panorama_id.partition("/")[0]
