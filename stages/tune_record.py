"""Scores so far, a line of a file in `<run>/tune` per setting and panorama, so that a killed run goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from stages.json_lines import append_line, read_lines

T = TypeVar("T")


class Scores(Generic[T]):
    """Scores of one kind by setting and panorama; a line that a killed run was writing is left out."""

    def __init__(self, file: Path, kind: type[T]) -> None:
        """Read what is there.

        Args:
            file: need not be there.
            kind: a dataclass of what JSON knows.
        """
        self._file = file
        self._known: dict[tuple[str, str], T] = {}
        for record in read_lines(file):
            with suppress(TypeError, KeyError):
                self._known[record["setting"], record["panorama"]] = kind(**record["score"])

    def get(self, setting: str, panorama: str) -> T | None:
        """A score, if it is known.

        Args:
            setting: names the setting and all that it was scored with.
            panorama: names the panorama's content.
        """
        return self._known.get((setting, panorama))

    def add(self, setting: str, panorama: str, score: T) -> None:
        """Write down a score.

        Raises:
            CacheError: the file cannot be written.
        """
        fields: dict[str, Any] = asdict(score)  # type: ignore[call-overload]
        append_line(self._file, {"setting": setting, "panorama": panorama, "score": fields})
        self._known[setting, panorama] = score
