"""Runs a command and reports how long it took and how much memory it and its child processes held at most.

    python -m scripts.peak_memory .venv/bin/goodsam teacher-cache demo --workers 2

Memory is the sum of the proportional set sizes (PSS) of the whole process tree: a page that n processes share counts
1/n for each of them, so once in all. It is sampled every 0.2 s: a shorter peak may be missed. A process whose parent
has ended has left the tree. The two figures go to stderr; the exit code is the command's, or 128 + n where signal n
ended it. Linux only.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

INTERVAL = 0.2
"""Seconds between two samples."""
FORWARDED = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    """Wall clock."""
    peak: int
    """Bytes that its process tree held at most, by PSS."""
    code: int
    """Its exit code, as a shell gives it."""


def held_by_tree(root: int) -> int:
    """Bytes that a process and all below it hold now, by PSS; 0 where it has ended."""
    try:
        process = psutil.Process(root)
        return sum(map(_held_by, [process, *process.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def watch(command: Sequence[str]) -> Usage:
    """Run a command to its end.

    SIGINT and SIGTERM end the command, not the watch: they are passed on, unless a terminal has sent them, which sends
    them to the command as well.

    Raises:
        OSError: the command cannot be started.
    """
    start, peak = time.monotonic(), 0
    child = subprocess.Popen(command)
    with _blocked({*FORWARDED, signal.SIGCHLD}):
        while child.poll() is None:
            peak = max(peak, held_by_tree(child.pid))
            caught = signal.sigtimedwait({*FORWARDED, signal.SIGCHLD}, INTERVAL)
            if caught and caught.si_signo in FORWARDED and caught.si_code <= 0:  # above 0: sent by the kernel
                child.send_signal(caught.si_signo)
    code = child.returncode
    return Usage(time.monotonic() - start, peak, code if code >= 0 else 128 - code)


def _held_by(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it has ended since it was listed, or is another user's
        return 0


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Generator[None]:
    """Hold signals back for `sigtimedwait`; only after the command's start, because it would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command with its arguments")
    command = parser.parse_args().command
    if not command:
        parser.error("which command?")
    try:
        usage = watch(command)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started ({error.strerror})")
    print(f"{usage.seconds:.1f} s, at most {usage.peak / 1e6:.0f} MB", file=sys.stderr)
    sys.exit(usage.code)


if __name__ == "__main__":
    main()
