"""Tasks in threads of this process: at the same time, reported as they end, and no more of them once told to stop."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import dask.config
import pytest

from pipeline.errors import WorkerError
from stages.runner import run_tasks

ROOT = Path(__file__).resolve().parents[2]


def test_two_tasks_are_at_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def work(task: int) -> int:
        meeting.wait()  # alone, nobody gets past
        return task

    assert sorted(run_tasks(work, range(6), at_once=2)) == list(range(6))


def test_never_more_than_two() -> None:
    lock, busy, most = threading.Lock(), 0, 0

    def work(task: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return task

    list(run_tasks(work, range(12), at_once=2))
    assert most == 2


def test_reports_come_in_the_order_in_which_tasks_end() -> None:
    quick_is_reported = threading.Event()

    def work(task: str) -> str:
        if task == "slow":
            assert quick_is_reported.wait(20)
        return task

    reports = run_tasks(work, ["slow", "quick"], at_once=2)
    assert next(reports) == "quick"
    quick_is_reported.set()
    assert list(reports) == ["slow"]


@pytest.mark.parametrize("at_once", [1, 2])
def test_once_closed_no_further_task_begins(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    gate = threading.Semaphore(at_once)

    def work(task: int) -> int:
        assert gate.acquire(timeout=20)
        begun.append(task)
        return task

    shutdown = ThreadPoolExecutor.shutdown

    def shut_and_open(pool: ThreadPoolExecutor, **options: Any) -> None:
        shutdown(pool, wait=False, **options)
        gate.release(50)
        shutdown(pool)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shut_and_open)
    with closing(run_tasks(work, range(50), at_once=at_once)) as reports:
        next(reports)
    assert len(begun) <= 2 * at_once


def test_an_error_in_a_thread_is_raised_here() -> None:
    def work(task: int) -> int:
        raise ValueError(f"task {task}")

    with pytest.raises(ValueError, match="task 0"):
        list(run_tasks(work, [0], at_once=2))


def die_over_one(task: int) -> int:
    if task == 1:
        os._exit(9)
    return task


@pytest.fixture
def no_second_try() -> Iterator[None]:
    """A task whose worker died is given up at once."""
    import_module("dask.distributed")  # which sets its defaults when it is imported first
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        yield


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_task_and_not_the_run(no_second_try: None) -> None:
    """Tasks that waited in the same worker may be lost with it; all are reported."""
    reports = list(run_tasks(die_over_one, range(12), workers=1, lost=lambda task, error: -task))
    assert sorted(map(abs, reports)) == list(range(12))
    assert -1 in reports
    assert 11 in reports


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_in_one_sentence(no_second_try: None) -> None:
    with pytest.raises(WorkerError, match="Use fewer workers"):
        list(run_tasks(die_over_one, [1], workers=1))


@pytest.mark.slow
def test_ctrl_c_while_workers_start_is_heard_once_they_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = import_module("dask.distributed")
    started: list[Any] = []

    def start(**settings: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        started.append(LocalCluster(**settings))
        return started[0]

    LocalCluster = distributed.LocalCluster
    monkeypatch.setattr(distributed, "LocalCluster", start)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_tasks(abs, [1], workers=1))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].status.name == "closed"


@pytest.mark.slow
def test_workers_do_not_hear_ctrl_c() -> None:
    """A terminal sends it to all processes of a command; the one that started the workers ends them."""
    assert list(run_tasks(interrupt_oneself, [7], workers=1)) == [7]


def interrupt_oneself(task: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
    return task


@pytest.mark.slow
def test_workers_keep_the_memory_that_they_free() -> None:
    """Dask's own setting has them give it back, and every array costs page faults."""
    assert list(run_tasks(os.environ.get, ["MALLOC_TRIM_THRESHOLD_"], workers=1)) == [str(1 << 30)]


@pytest.mark.slow
def test_workers_that_are_ended_say_nothing_of_connections(capfd: pytest.CaptureFixture[str]) -> None:
    """A heartbeat that comes while the scheduler goes would be a traceback in the terminal."""
    assert list(run_tasks(lose_a_heartbeat, [7], workers=1)) == [7]
    assert "Traceback" not in capfd.readouterr().err


def lose_a_heartbeat(task: int) -> int:
    try:
        raise OSError("no scheduler")
    except OSError:
        logging.getLogger("distributed.worker").exception("Failed to communicate with scheduler during heartbeat.")
    return task


@pytest.mark.slow
def test_workers_that_keep_much_memory_continue() -> None:
    """Dask's own setting has those above 80 % wait until they have less, which networks never let them."""
    assert list(run_tasks(share_of_memory_to_wait_at, [0], workers=1)) == [False]


def share_of_memory_to_wait_at(_: int) -> Any:
    return import_module("dask.distributed").get_worker().memory_manager.memory_pause_fraction


STOPPED = """
if __name__ == "__main__":
    from contextlib import closing
    from stages.runner import run_tasks

    with closing(run_tasks("x".__mul__, [200_000] * 300, workers=2)) as reports:
        next(reports)
"""
LOST = """
if __name__ == "__main__":
    import time
    from dask.distributed import LocalCluster
    from pipeline.errors import WorkerError
    from stages.runner import run_tasks

    settings = {"n_workers": 1, "processes": False, "protocol": "tcp://", "silence_logs": False}
    with LocalCluster(dashboard_address="127.0.0.1:0", **settings) as cluster:
        try:
            for _ in run_tasks(time.sleep, [0.1] * 300, scheduler=cluster.scheduler_address):
                cluster.close()
        except WorkerError as error:
            print(error)
"""


@pytest.mark.slow
def test_workers_that_are_ended_with_reports_on_their_way_say_nothing(tmp_path: Path) -> None:
    """As when a report says that going on is in vain."""
    assert output(STOPPED, tmp_path) == ""


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_reported_in_one_sentence(tmp_path: Path) -> None:
    printed = output(LOST, tmp_path)
    assert "the dask scheduler was lost" in printed
    assert "ERROR" not in printed
    assert "Traceback" not in printed


def output(script: str, folder: Path) -> str:
    """What a program says on either output."""
    (folder / "program.py").write_text(script)
    done = subprocess.run([sys.executable, folder / "program.py"], env={**os.environ, "PYTHONPATH": str(ROOT)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)  # fmt: skip
    return done.stdout
