"""Judgements so far, a line of `<run>/tune/judgements.jsonl` per blend and panorama, so that a killed run goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from pipeline.tune.judge import Judgement
from stages.json_lines import append_line, read_lines


class Judgements:
    """Judgements by blend and panorama; a line that a killed run was writing is left out."""

    def __init__(self, file: Path) -> None:
        """Read what is there.

        Args:
            file: need not be there.
        """
        self._file = file
        self._known: dict[tuple[str, str], Judgement] = {}
        for record in read_lines(file):
            with suppress(TypeError, KeyError):
                self._known[record["blend"], record["panorama"]] = Judgement(**record["judgement"])

    def get(self, blend: str, panorama: str) -> Judgement | None:
        """A judgement, if it is known.

        Args:
            blend: names the blend and all that it was made with.
            panorama: names the panorama's content.
        """
        return self._known.get((blend, panorama))

    def add(self, blend: str, panorama: str, judgement: Judgement) -> None:
        """Write down a judgement.

        Raises:
            CacheError: the file cannot be written.
        """
        append_line(self._file, {"blend": blend, "panorama": panorama, "judgement": asdict(judgement)})
        self._known[blend, panorama] = judgement
