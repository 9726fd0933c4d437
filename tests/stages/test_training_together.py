"""Several processes train one student: the result of one with the same batch, and a checkpoint for any number of them.

Every process runs this file's `work` under gloo on the CPU, as torchrun would start it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.student.model import load_student, predict_logits
from stages.distill_job import DistillJob
from stages.events import Event, Note, Scalars, silent
from stages.ranks import training_together
from stages.training import train_student
from tests.stages.test_training import stop_at, toy_job
from tests.student.toy import toy_sample

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6
TOLERANCE = 1e-4
"""Largest relative difference of any loss in any step; differences come from rounding alone."""


def job_of(folder: Path) -> DistillJob:
    """Batches of three, which two processes cannot halve, with all that sums over a batch."""
    training = {"steps": STEPS, "batch_size": 3, "checkpoint_every": 3, "log_every": 1, "learning_rate": 1e-4}
    return toy_job(folder, distill=training, losses={"class_balance": 0.5, "edge_share": 0.3, "feature_form": "mse"})


def work(folder: Path, stop: int) -> None:
    """One process of a training; writes the losses that it was told of, and its last weights' sum."""
    torch.set_num_threads(1)
    losses: list[dict[str, float]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Scalars):
            losses.append(dict(event.values))
        if stop:
            stop_at(stop)(event)

    with training_together("cpu") as (ranks, device):
        assert device == "cpu"
        try:
            train_student(job_of(folder), listen, ranks)
        except KeyboardInterrupt:
            os._exit(7)
        (folder / f"losses_{ranks.rank}.json").write_text(json.dumps(losses))


def start(folder: Path, processes: int, stop: int = 0) -> list[int]:
    """Run `work` in that many processes; returns their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import sys; from pathlib import Path; from tests.stages.test_training_together import work; "
        "work(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes),
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(stop)], cwd=ROOT,
                         env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]  # fmt: skip
    first = started[0].wait(timeout=120)
    for other in started[1:]:
        if first:
            other.kill()  # as torchrun does when one ends
        other.wait(timeout=120)
    return [process.returncode for process in started]


def student_of(folder: Path) -> Any:
    (student,) = folder.glob("*/final")
    return load_student(student)


def logits_of(student: Any) -> torch.Tensor:
    return predict_logits(student, torch.from_numpy(toy_sample(9).image_HW3.copy())[None])


def cancelled_by_the_norm(name: str) -> bool:
    """Whether a tensor of a SegFormer decides nothing while it learns: a bias before the batch norm of the decode head,
    which subtracts the mean, or that mean. The gradient of such a bias is noise, and Adam makes steps of it."""
    bias = "linear_projections" in name and name.endswith(".bias")
    return bias or name == "decode_head.batch_norm.running_mean"


def require_same_weights(student: Any, expected: Any) -> None:
    """All but what the norm cancels agree, and with that of one process the logits do."""
    own, other = student.state_dict(), expected.state_dict()
    cancelled = {name: tensor for name, tensor in other.items() if cancelled_by_the_norm(name)}
    assert len(cancelled) == 5
    differences = {name: float((tensor.double() - other[name].double()).abs().max()) for name, tensor in own.items()}
    assert max(value for name, value in differences.items() if name not in cancelled) < TOLERANCE
    reference = logits_of(expected)
    assert float((logits_of(student) - reference).abs().max()) < 0.01 * float(reference.abs().max())
    student.load_state_dict(own | cancelled)
    assert float((logits_of(student) - reference).abs().max()) < TOLERANCE * float(reference.abs().max())


def require_equal(losses: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(losses) == len(expected)
    for own, other in zip(losses, expected, strict=True):
        assert own == pytest.approx(other, rel=TOLERANCE)


def alone(folder: Path, listen: Callable[[Event], Any] = silent) -> list[dict[str, float]]:
    losses: list[dict[str, float]] = []

    def both(event: Event) -> None:
        if isinstance(event, Scalars):
            losses.append(dict(event.values))
        listen(event)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_student(job_of(folder), both)
    finally:
        torch.set_num_threads(before)
    return losses


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_another_number_goes_on(tmp_path: Path) -> None:
    one, two, mixed = (tmp_path / name for name in ("one", "two", "mixed"))
    for folder in (one, two, mixed):
        folder.mkdir()
    expected = alone(one)
    assert start(two, 2) == [0, 0]
    require_equal(json.loads((two / "losses_0.json").read_text()), expected)
    assert json.loads((two / "losses_1.json").read_text())  # its listener is told the same; the stage gives it none
    require_same_weights(student_of(two), student_of(one))

    assert start(mixed, 2, stop=4)[0] == 7  # its checkpoint is of step 3
    events: list[Event] = []
    require_equal(alone(mixed, events.append), expected[3:])
    assert "resuming from step 3 of 6" in [event.text for event in events if isinstance(event, Note)]
    require_same_weights(student_of(mixed), student_of(one))
