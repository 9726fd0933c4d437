"""Run tasks in turn or a few at once in this process, in its worker processes, or on a running dask cluster."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from pipeline.errors import InputError, WorkerError
from stages.memory import MALLOC_SETTINGS

_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, **MALLOC_SETTINGS,
    "DASK_LOGGING__DISTRIBUTED": "critical",  # errors are raised; a heartbeat lost at shutdown is none
}  # fmt: skip
_CLUSTER_SETTINGS = {
    "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
    "distributed.worker.memory.pause": False,  # one with 80 % of its memory in use would wait for ever
}
Task = TypeVar("Task")
Report = TypeVar("Report")


def run_tasks(
    work: Callable[[Task], Report],
    tasks: Sequence[Task],
    workers: int = 0,
    scheduler: str = "",
    at_once: int = 1,
    lost: Callable[[Task, WorkerError], Report] | None = None,
) -> Generator[Report]:
    """Reports of `work` on every task, in the order of completion; once closed, no further task begins.

    Args:
        work: an importable function; tasks and reports are pickled for other processes.
        tasks: arguments of `work`.
        workers: worker processes on this machine; 0 works in this process.
        scheduler: address of a running dask scheduler, instead of workers.
        at_once: tasks at the same time in this process, each in a thread; 1 runs them one by one. Two keep an
            accelerator busy: one prepares and stores while the other one computes.
        lost: makes the report of a task whose worker processes died; None raises the error instead.

    Raises:
        WorkerError: worker processes died while working on a task, or the scheduler is lost.
        InputError: no scheduler answers at the address.
        Exception: whatever `work` raises.
    """
    if not tasks or (workers == 0 and not scheduler):
        yield from map(work, tasks) if at_once == 1 else _in_threads(work, tasks, at_once)
        return
    from dask.distributed import CancelledError, KilledWorker
    from dask.distributed import as_completed as completed_by_dask
    from distributed.comm.core import CommClosedError

    with _client(min(workers, len(tasks)), scheduler) as client:
        futures = dict(zip(client.map(work, tasks, pure=False), tasks, strict=True))
        for future in completed_by_dask(list(futures)):
            try:
                report = future.result()  # one at a time: none is in transit when the client closes
            except (CancelledError, CommClosedError) as error:
                raise WorkerError("the connection to the dask scheduler was lost",
                                  "it must run until all panoramas are done",
                                  "Start it and run the command again; finished work is kept") from error  # fmt: skip
            except KilledWorker as error:
                death = WorkerError("worker processes died repeatedly while working on it",
                                    "workers need enough memory; too little is the usual cause",
                                    "Use fewer workers")  # fmt: skip
                if lost is None:
                    raise death from error
                report = lost(futures[future], death)
            yield report


def _in_threads(work: Callable[[Task], Report], tasks: Sequence[Task], count: int) -> Generator[Report]:
    pool = ThreadPoolExecutor(count, thread_name_prefix="task")
    try:
        for future in as_completed([pool.submit(work, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # running tasks end first, so that what they store is complete


@contextmanager
def _client(workers: int, scheduler: str) -> Generator[Any]:
    import dask.config
    from dask.distributed import Client, LocalCluster
    from distributed.utils import silence_logging_cmgr

    if scheduler:
        with silence_logging_cmgr(logging.CRITICAL), _connect(scheduler) as client:  # errors come as exceptions
            yield client
        return
    with ExitStack() as stack:
        with _interrupts_delayed(), dask.config.set(_CLUSTER_SETTINGS):
            cluster = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0",
                             silence_logs=logging.ERROR)
            )  # fmt: skip
        yield stack.enter_context(Client(cluster))


def require_scheduler(address: str) -> None:
    """Check that a dask scheduler answers, before anything is written.

    Raises:
        InputError: none does.
    """
    with _connect(address):
        pass


def run_on_workers(address: str, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Results of an importable function on each worker of a dask scheduler, or the errors that it raises, by address.

    Raises:
        InputError: no scheduler answers.
    """
    with _connect(address) as client:
        return client.run(function, *arguments, on_error="return")


def _connect(address: str) -> Any:
    from dask.distributed import Client

    try:
        return Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(f"no dask scheduler answers at {address}", "it must be the address of a running one (tcp://host:8786)",
                         "Start it with `dask scheduler`, or use --workers") from error  # fmt: skip


@contextmanager
def _interrupts_delayed() -> Generator[None]:
    """Delay Ctrl-C until the end. Processes that are started meanwhile ignore it, though a terminal sends it to all of
    them: this process stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _start_resource_tracker()  # started later, it would unblock the signal for this thread
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by new processes
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if received and callable(handler):
        handler(signal.SIGINT, None)


def _start_resource_tracker() -> None:
    """Have it clean up after killed workers without a warning, which a user who pressed Ctrl-C would see."""
    quiet = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(quiet)  # it gets the options of this interpreter
    resource_tracker.ensure_running()
    sys.warnoptions.remove(quiet)
