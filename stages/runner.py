"""Run tasks in turn, in worker processes of this machine, or on a running dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pipeline.errors import InputError

Task = TypeVar("Task")
Report = TypeVar("Report")


def run_tasks(
    work: Callable[[Task], Report], tasks: Sequence[Task], workers: int = 0, scheduler: str = ""
) -> Iterator[Report]:
    """Reports of `work` on every task, in the order in which they end.

    Args:
        work: an importable function; task and report are pickled where other processes do it.
        tasks: what to do.
        workers: worker processes on this machine; 0 works in this process, in turn.
        scheduler: address of a running dask scheduler, instead of workers.

    Raises:
        InputError: no scheduler answers at the address.
    """
    if not tasks or (workers == 0 and not scheduler):
        yield from map(work, tasks)
        return
    from dask.distributed import as_completed

    with _client(min(workers, len(tasks)), scheduler) as client:
        futures = client.map(work, tasks, pure=False)
        for _, report in as_completed(futures, with_results=True):
            yield report


@contextmanager
def _client(workers: int, scheduler: str) -> Generator[Any]:
    from dask.distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise InputError(f"no dask scheduler answers at {scheduler}", "the address of a running one (tcp://host:8786)",
                             "Start it with `dask scheduler`, or use --workers") from error  # fmt: skip
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
