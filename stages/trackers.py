"""Experiment trackers as listeners beside TensorBoard: Weights & Biases, MLflow and Trackio, if they are installed.

Each writes to the disk alone, below the student's folder; nothing is sent anywhere. A training that was killed goes on
in the same run of the tracker where that can continue one.

    wandb    <student>/wandb/       send it later with `wandb sync`
    mlflow   <student>/mlflow.db    look at it with `mlflow ui --backend-store-uri sqlite:///<student>/mlflow.db`
    trackio  <student>/trackio/     look at it with `TRACKIO_DIR=<student>/trackio trackio show`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import CacheError, InputError, first_line
from stages.events import Event, Listener, Scalars

PROJECT = "goodsam"
"""What trackers call the project or experiment."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a training."""

    name: str
    """The run's name, for people."""
    id: str
    """The student's fingerprint, by which a resumed training is known again."""
    folder: Path
    """Where the tracker's files lie."""
    settings: Mapping[str, Any]
    """All settings of the recipe, by dotted name."""


class Tracker(Protocol):
    """One tracker at work."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values by name."""
        ...

    def close(self) -> None:
        """End the run of the tracker."""
        ...


class WandbTracker:
    """Weights & Biases, offline."""

    def __init__(self, run: TrackedRun) -> None:
        wandb: Any = import_module("wandb")
        self._run = wandb.init(project=PROJECT, name=run.name, id=run.id, dir=str(run.folder), mode="offline",
                               config=dict(run.settings), settings={"silent": True})  # fmt: skip

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class MlflowTracker:
    """MLflow, into a SQLite file."""

    _ID = "goodsam.student"
    """The tag by which a run is found again."""
    _LONGEST = 500
    """Characters of a parameter."""

    def __init__(self, run: TrackedRun) -> None:
        mlflow: Any = import_module("mlflow")
        self._client: Any = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.folder.resolve() / 'mlflow.db'}")
        experiment = self._client.get_experiment_by_name(PROJECT)
        artifacts = (run.folder.resolve() / "mlflow").as_uri()
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT, artifacts)
        known = self._client.search_runs([number], f"tags.`{self._ID}` = '{run.id}'")
        if known:
            self._id = known[0].info.run_id
            return
        self._id = self._client.create_run(number, run_name=run.name, tags={self._ID: run.id}).info.run_id
        for key, value in run.settings.items():
            self._client.log_param(self._id, key, str(value)[: self._LONGEST])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._id)


class TrackioTracker:
    """Trackio, into a local folder."""

    _SENDING = (
        "TRACKIO_SPACE_ID",
        "TRACKIO_SERVER_URL",
        "TRACKIO_DATASET_ID",
        "TRACKIO_BUCKET_ID",
        "TRACKIO_WEBHOOK_URL",
    )
    """Variables of a shell that would make it send what it gets."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ["TRACKIO_DIR"] = str(run.folder.resolve() / "trackio")  # it has no other way, and reads it on import
        for name in self._SENDING:
            os.environ.pop(name, None)
        trackio: Any = import_module("trackio")
        self._run = trackio.init(project=PROJECT, name=f"{run.name}-{run.id}", config=dict(run.settings),
                                 resume="allow")  # fmt: skip

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


TRACKERS: Mapping[str, Callable[[TrackedRun], Tracker]] = {
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}
"""Every tracker by its name, which is that of its package and of the extra that installs it."""


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are unknown or not installed, before any work is done.

    Raises:
        InputError: there is one.
    """
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"--track is {name}", f"known trackers are {', '.join(TRACKERS)}", "Correct it")
        if find_spec(name) is None:
            raise InputError(f"{name} is not installed", f"--track {name} needs it",
                             f"Run `pip install {name}`")  # fmt: skip


@contextmanager
def tracking(names: Sequence[str], run: TrackedRun) -> Generator[Listener]:
    """A listener that passes scalars on to trackers, which are closed at the end.

    Raises:
        CacheError: a tracker fails; what it says is in the message.
    """
    with ExitStack() as closed:
        trackers: list[tuple[str, Tracker]] = []
        for name in dict.fromkeys(names):
            with _named(name):
                tracker = TRACKERS[name](run)
            closed.callback(tracker.close)
            trackers.append((name, tracker))

        def hear(event: Event) -> None:
            if isinstance(event, Scalars):
                values = {f"{event.stage}/{name}": value for name, value in event.values.items()}
                for name, tracker in trackers:
                    with _named(name):
                        tracker.log(values, event.step)

        yield hear


@contextmanager
def _named(name: str) -> Generator[None]:
    """Errors of a tracker, which may be of any class, as one for people."""
    try:
        yield
    except Exception as error:
        raise CacheError(f"{name} failed ({type(error).__name__}: {first_line(error)})",
                         "it must be able to write beside the student", f"Repair it, or leave out --track {name}"
                         ) from error  # fmt: skip
