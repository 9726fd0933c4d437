"""Which students, evaluations and adapted assistants are a run's: names of what made them, so that none takes the
place of another."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.errors import CacheError
from stages.files import write_whole

_FILE = "results.json"


@dataclass(frozen=True)
class Results:
    """Fingerprints of a run's students, evaluations and adapted assistants, the latest last."""

    students: tuple[str, ...] = ()
    """Folders in `students/` of the cache; some may be unfinished."""
    evaluations: tuple[str, ...] = ()
    """Folders in `evaluations/` of the cache."""
    assistants: tuple[str, ...] = ()
    """Folders in `assistants/` of the cache; some may be unfinished."""

    @property
    def student(self) -> str:
        """The latest student; empty if there is none."""
        return self.students[-1] if self.students else ""

    @property
    def evaluation(self) -> str:
        """The latest evaluation; empty if there is none."""
        return self.evaluations[-1] if self.evaluations else ""

    def with_student(self, name: str) -> Results:
        """The same with another latest student."""
        return replace(self, students=_with_last(self.students, name))

    def with_evaluation(self, name: str) -> Results:
        """The same with another latest evaluation."""
        return replace(self, evaluations=_with_last(self.evaluations, name))

    def with_assistant(self, name: str) -> Results:
        """The same with another latest adapted assistant."""
        return replace(self, assistants=_with_last(self.assistants, name))


def _with_last(names: tuple[str, ...], last: str) -> tuple[str, ...]:
    return (*(name for name in names if name != last), last)


def read_results(run_folder: Path) -> Results:
    """The results of a run; none where its `results.json` is missing or damaged: stages find them by what made them."""
    try:
        return known_results(run_folder)
    except CacheError:
        return Results()


def known_results(run_folder: Path) -> Results:
    """The results of a run, for who removes what no run has; none where it has no `results.json`.

    Raises:
        CacheError: it is damaged.
    """
    file = run_folder / _FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        # Records of earlier versions know no adapted assistants.
        kinds = (record["students"], record["evaluations"], record.get("assistants", ()))
        return Results(*(tuple(map(str, names)) for names in kinds))
    except FileNotFoundError:
        return Results()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{file} is damaged ({type(error).__name__}: {error})",
                         "it names the students, evaluations and adapted assistants of a run",
                         "Delete it, then run `goodsam distill` and `goodsam eval` with the settings of each that you "
                         "need: they find what is finished, and name it again") from error  # fmt: skip


def record_results(run_folder: Path, results: Results) -> None:
    """Write the results of a run.

    Raises:
        CacheError: they cannot be written.
    """
    write_whole(run_folder / _FILE, json.dumps(asdict(results), indent=1))
