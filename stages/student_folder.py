"""A run's folder of students: the one that the run has, and those of other settings or data beside it.

checkpoint.pt               the latest state of the training; checkpoint.previous.pt is the one before
final/                      the finished student, as transformers saves it, and training.json
earlier/<fingerprint>/      students of other settings or data, or their checkpoints: what is asked for again becomes
                            final again, or its training goes on
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.checkpoints import load_checkpoint, move_checkpoints, remove_checkpoints, replace_folder, save_checkpoint
from stages.files import put_in_place, writing
from stages.training_record import RECORD


@dataclass(frozen=True)
class StudentFolder:
    """The folder, as the training of one student sees it."""

    path: Path
    """<run>/student."""
    fingerprint: str
    """Name of that student: of its settings and data."""

    @property
    def final(self) -> Path:
        """Where the finished student lies, this one or another."""
        return self.path / "final"

    @property
    def checkpoint(self) -> Path:
        """Where the latest checkpoint lies, of this student or another."""
        return self.path / "checkpoint.pt"

    @property
    def is_finished(self) -> bool:
        """Whether the finished student is this one."""
        return self.record().get("fingerprint") == self.fingerprint

    def record(self) -> dict[str, Any]:
        """What training.json says of the finished student; empty if there is none."""
        try:
            return dict(json.loads((self.final / RECORD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def put_back(self) -> bool:
        """Make this student final again if it was finished earlier, and return whether it was.

        Raises:
            CacheError: folders cannot be moved.
        """
        if self.is_finished or not self._is_finished_earlier(self.fingerprint):
            return False
        with writing(self.final):
            put_in_place(self._earlier(self.fingerprint), self.final, self._place_of_other())
        return True

    def finish(self, fill: Callable[[Path], None]) -> None:
        """Let `fill` write this student; it is complete or not there, and one of other settings is kept.

        Raises:
            CacheError: no room, or no permission.
        """
        replace_folder(self.final, fill, keep=self._place_of_other())
        shutil.rmtree(self._earlier(self.fingerprint), ignore_errors=True)  # the checkpoint that it went on from

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of this student.

        Raises:
            CacheError: no room, or no permission.
        """
        save_checkpoint(self.checkpoint, {"fingerprint": self.fingerprint, **state})

    def load(self) -> dict[str, Any] | None:
        """The latest checkpoint of this student, from wherever it is kept; None if there is none."""
        kept = self._earlier(self.fingerprint) / self.checkpoint.name
        return load_checkpoint(self.checkpoint, self.fingerprint) or load_checkpoint(kept, self.fingerprint)

    def forget_training(self) -> None:
        """Remove the checkpoints."""
        remove_checkpoints(self.checkpoint)

    def make_way(self) -> bool:
        """Put the checkpoints of another student aside, unless it is finished and needs them no more.

        Returns:
            Whether there were any.

        Raises:
            CacheError: they cannot be moved.
        """
        state = load_checkpoint(self.checkpoint)
        name = None if state is None else state.get("fingerprint")
        if state is None or name == self.fingerprint:
            return False
        if isinstance(name, str) and name != self.record().get("fingerprint") and not self._is_finished_earlier(name):
            kept = self._earlier(name) / self.checkpoint.name
            with writing(kept):
                move_checkpoints(self.checkpoint, kept)
        return True

    def _earlier(self, name: str) -> Path:
        return self.path / "earlier" / name

    def _is_finished_earlier(self, name: str) -> bool:
        return (self._earlier(name) / RECORD).is_file()

    def _place_of_other(self) -> Path | None:
        """Where the finished student is kept if it is another one."""
        name = self.record().get("fingerprint", self.fingerprint)
        return None if name == self.fingerprint else self._earlier(str(name))
