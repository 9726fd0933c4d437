"""A student's folder in the cache, named by all that determines the student.

checkpoint.pt       the latest state of the training; checkpoint.previous.pt is the one before
final/              the finished student, as transformers saves it, and training.json
best/               with validation: the same for the step that was best on the panoramas held out
validation.json     figures of all validations; validation.png draws them
tensorboard/        curves of its training
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from stages.checkpoints import load_checkpoint, remove_checkpoints, replace_folder
from stages.files import read_json
from stages.training_record import RECORD


@dataclass(frozen=True)
class StudentFolder:
    """The folder of one student, finished or not."""

    record_name: ClassVar[str] = RECORD
    """File in `final` that says where the network comes from."""
    path: Path
    """<cache>/students/<fingerprint>."""

    @property
    def final(self) -> Path:
        """Where the finished student lies."""
        return self.path / "final"

    @property
    def best(self) -> Path:
        """Where the student of the best validation lies; it is not there without validation."""
        return self.path / "best"

    @property
    def checkpoint(self) -> Path:
        """Where the latest checkpoint lies."""
        return self.path / "checkpoint.pt"

    @property
    def is_finished(self) -> bool:
        """Whether the student is complete."""
        return bool(self.record())

    def record(self) -> dict[str, Any]:
        """What training.json says of the finished student; empty if there is none."""
        return record_of(self.final, self.record_name)

    def finish(self, fill: Callable[[Path], None]) -> None:
        """Let `fill` write the student; it is complete or not there.

        Raises:
            CacheError: no room, or no permission.
        """
        replace_folder(self.final, fill)

    def keep_best(self, fill: Callable[[Path], None]) -> None:
        """Let `fill` write the student that is the best so far; it takes the place of the one before.

        Raises:
            CacheError: no room, or no permission.
        """
        replace_folder(self.best, fill)

    def load(self) -> dict[str, Any] | None:
        """The latest checkpoint of this student that can be read; None if there is none."""
        return load_checkpoint(self.checkpoint, self.path.name)

    def forget_training(self) -> None:
        """Remove the checkpoints."""
        remove_checkpoints(self.checkpoint)


def record_of(folder: Path, name: str = RECORD) -> dict[str, Any]:
    """What the training.json in a folder, or its like of another name, says; empty if there is none."""
    return read_json(folder / name)
