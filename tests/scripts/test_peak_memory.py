"""Time and memory of a command's process tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from scripts.peak_memory import held_by_tree, watch

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what share of a page is whose")
PEAK_MEMORY = (sys.executable, "-m", "scripts.peak_memory")
OWN = """
import os, time
child = os.fork()
data = b"x" * 100_000_000
time.sleep(1)
child and os.wait()
"""
SHARED = """
import os, time
data = b"x" * 200_000_000
child = os.fork()
time.sleep(1)
child and os.wait()
"""
INTERRUPTED = """
import sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("told", flush=True)
    time.sleep(0.5)
    sys.exit(7)
"""


@pytest.mark.parametrize("code", [OWN, SHARED], ids=["own", "shared"])
@pytest.mark.slow
def test_memory_is_that_of_all_processes_with_shared_pages_counted_once(code: str) -> None:
    usage = watch([sys.executable, "-c", code])
    assert usage.code == 0
    assert 0.95 <= usage.seconds < 30
    assert 200e6 <= usage.peak < 260e6  # two interpreters hold a little as well


def test_the_figures_and_the_commands_own_output_and_exit_code_come_through() -> None:
    command = (sys.executable, "-c", "print('said'); raise SystemExit(3)")
    done = subprocess.run([*PEAK_MEMORY, *command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "said\n")
    assert " s, at most " in done.stderr


def test_a_command_that_a_signal_ended_has_the_exit_code_that_a_shell_gives_it() -> None:
    assert watch(["sh", "-c", "kill -TERM $$"]).code == 128 + signal.SIGTERM


def test_an_interrupt_is_passed_on_once_and_the_command_is_waited_for() -> None:
    command = [*PEAK_MEMORY, sys.executable, "-c", INTERRUPTED]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what a shell runs in the background ignores it
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=heard) as watcher:  # fmt: skip
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "ready\n"
        watcher.send_signal(signal.SIGINT)
        said, figures = watcher.communicate(timeout=60)
    assert (watcher.returncode, said) == (7, "told\n")
    assert " s, at most " in figures


def test_a_process_that_vanishes_between_listing_and_reading_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished(process: psutil.Process, recursive: bool = False) -> None:
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", vanished)
    assert held_by_tree(os.getpid()) == 0
    monkeypatch.setattr(psutil.Process, "children", vanished)
    assert held_by_tree(os.getpid()) == 0


def test_a_missing_command_is_reported_in_one_sentence() -> None:
    done = subprocess.run([*PEAK_MEMORY, "no-such-command"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "no-such-command cannot be started (No such file or directory)\n"
