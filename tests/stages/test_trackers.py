"""Trackers get the curves of a training, beside TensorBoard; one that is missing or fails is one sentence."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import asdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.errors import CacheError, InputError
from pipeline.recipe import Recipe
from pipeline.settings import by_dotted_name
from stages import trackers
from stages.events import Note, Scalars
from stages.trackers import TRACKERS, TrackedRun, require_trackers, tracking

ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """What a tracker's package was asked to do."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, float], int]] = []
        self.closed = 0

    def init(self, **options: Any) -> Recorder:
        self.begun.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.closed += 1


class Database:
    """MLflow's client, as far as it is used."""

    runs: dict[str, dict[str, Any]]

    def __init__(self) -> None:
        self.runs, self.uris = {}, []
        self.experiments: list[str] = []

    def __call__(self, tracking_uri: str) -> Database:
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return _named(experiment_id="7") if name in self.experiments else None

    def create_experiment(self, name: str, artifact_location: str) -> str:
        self.experiments.append(name)
        return "7"

    def search_runs(self, numbers: list[str], text: str) -> list[Any]:
        assert numbers == ["7"]
        return [_named(info=_named(run_id=key)) for key, run in self.runs.items() if f"= '{run['id']}'" in text]

    def create_run(self, number: str, run_name: str, tags: dict[str, str]) -> Any:
        key = f"run {len(self.runs)}"
        self.runs[key] = {"id": tags["goodsam.student"], "name": run_name, "parameters": {}, "metrics": [], "ended": 0}
        return _named(info=_named(run_id=key))

    def log_param(self, key: str, name: str, value: str) -> None:
        self.runs[key]["parameters"][name] = value

    def log_metric(self, key: str, name: str, value: float, step: int) -> None:
        self.runs[key]["metrics"].append((name, value, step))

    def set_terminated(self, key: str) -> None:
        self.runs[key]["ended"] += 1


def _named(**values: Any) -> Any:
    return type("Named", (), values)


def install(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """Put a package of that name among those that are installed."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    for key, value in content.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


def a_run(folder: Path) -> TrackedRun:
    return TrackedRun("street", "0123abcd", folder, by_dotted_name(asdict(Recipe(name="street"))))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_scalars_and_settings_reach_a_tracker_and_it_is_closed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    install(monkeypatch, name, init=recorder.init)
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somewhere/else")
    with tracking([name, name], a_run(tmp_path)) as hear:
        hear(Note("distill", "begins"))
        hear(Scalars("distill", 5, {"total": 2.5}))
    assert recorder.logged == [({"distill/total": 2.5}, 5)]
    assert (len(recorder.begun), recorder.closed) == (1, 1), "a name that is given twice is one tracker"
    (options,) = recorder.begun
    assert options["config"]["fusion.theta"] == Recipe(name="street").fusion.theta
    if name == "wandb":
        assert (options["mode"], options["id"], options["dir"]) == ("offline", "0123abcd", str(tmp_path))
    else:
        assert options["resume"] == "allow"
        assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackio")
        assert "TRACKIO_SPACE_ID" not in os.environ, "nothing is sent"


def test_a_resumed_training_goes_on_in_its_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    install(monkeypatch, "mlflow", MlflowClient=database)
    for step in (1, 2):
        with tracking(["mlflow"], a_run(tmp_path)) as hear:
            hear(Scalars("distill", step, {"total": 1 / step}))
    (run,) = database.runs.values()
    assert run["metrics"] == [("distill/total", 1.0, 1), ("distill/total", 0.5, 2)]
    assert (run["name"], run["ended"]) == ("street", 2)
    assert run["parameters"]["distill.steps"] == str(Recipe(name="street").distill.steps)
    assert database.uris == [f"sqlite:///{tmp_path / 'mlflow.db'}"] * 2


def test_a_tracker_is_closed_where_the_training_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    install(monkeypatch, "wandb", init=recorder.init)
    with pytest.raises(KeyboardInterrupt), tracking(["wandb"], a_run(tmp_path)):
        raise KeyboardInterrupt
    assert recorder.closed == 1


def test_a_tracker_that_fails_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("no room left")

    install(monkeypatch, "wandb", init=broken)
    with pytest.raises(CacheError, match=r"wandb failed \(RuntimeError: no room left\).*leave out --track wandb"):
        tracking(["wandb"], a_run(tmp_path)).__enter__()


def test_what_is_missing_or_unknown_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wandb is not installed; --track wandb needs it.*pip install wandb"):
        require_trackers(["wandb"])
    with pytest.raises(InputError, match="--track is notebook; known trackers are wandb, mlflow, trackio"):
        require_trackers(["notebook"])
    require_trackers([])


def test_every_tracker_is_an_extra_of_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in TRACKERS:
        assert project["optional-dependencies"][name][0].startswith(f"{name}>=")


def test_without_trackers_nothing_is_imported_or_written(tmp_path: Path) -> None:
    with tracking([], a_run(tmp_path)) as hear:
        hear(Scalars("distill", 1, {"total": 1.0}))
    assert list(tmp_path.iterdir()) == []
