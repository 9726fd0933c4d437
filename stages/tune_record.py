"""Judgements so far, a line of `<run>/tune/judgements.jsonl` per blend and panorama, so that a killed run goes on."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from pipeline.tune.judge import Judgement
from stages.files import writing


class Judgements:
    """Judgements by blend and panorama; a line that a killed run was writing is left out."""

    def __init__(self, file: Path) -> None:
        """Read what is there.

        Args:
            file: need not be there.
        """
        self._file = file
        self._known: dict[tuple[str, str], Judgement] = {}
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):
                record = json.loads(line)
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
        line = json.dumps({"blend": blend, "panorama": panorama, "judgement": asdict(judgement)})
        with writing(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n" if self._is_cut_short() else f"{line}\n")
        self._known[blend, panorama] = judgement

    def _is_cut_short(self) -> bool:
        """Whether the last writer was killed in the middle of a line."""
        with self._file.open("rb") as file:
            if not file.seek(0, 2):
                return False
            file.seek(-1, 2)
            return file.read(1) != b"\n"
