"""One process at a time on an output folder."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CacheError
from stages.claims import exclusive_lock

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from pathlib import Path
from stages.claims import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "distill"):
    print("claimed", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_and_the_claim_ends_with_a_killed_one(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "claimed\n"
        with pytest.raises(CacheError, match="another distill is already running"), exclusive_lock(tmp_path, "distill"):
            pass
        with exclusive_lock(tmp_path, "eval"):  # another stage may work meanwhile
            pass
    finally:
        holder.kill()
        holder.communicate()
    with exclusive_lock(tmp_path, "distill"):
        pass


def test_a_claim_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive_lock(tmp_path / "run", "distill"):
            assert (tmp_path / "run").is_dir()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CacheError, match="cannot be written"), exclusive_lock(tmp_path / "file", "distill"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_locks_nobody_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What a killed process of another machine left must not be taken for a claim."""

    def no_locks(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".distill.lock").write_text("4242\nanother-machine\n")
    with exclusive_lock(tmp_path, "distill"):
        pass


@pytest.mark.slow
def test_every_stage_can_be_imported_and_claims_where_the_system_has_no_fcntl(tmp_path: Path) -> None:
    """As on Windows; without any locks nobody is refused."""
    code = (
        "import sys, pkgutil, importlib; sys.modules['fcntl'] = None\n"
        "import stages\n"
        "for module in pkgutil.iter_modules(stages.__path__): importlib.import_module(f'stages.{module.name}')\n"
        "from pathlib import Path\n"
        "from stages.claims import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1]), 'distill'): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
