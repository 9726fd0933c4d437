"""Freed memory stays: the next array of the same size costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import resource, sys
import numpy as np
from stages.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()

def work():
    arrays = [np.ones(3 << 20) for _ in range(4)]  # 24 MiB each

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, **environment: str) -> int:
    usual = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    usual["NUMPY_MADVISE_HUGEPAGE"] = "0"  # pages of one size, everywhere
    done = subprocess.run([sys.executable, "-c", COUNT, how], cwd=ROOT, env={**usual, **environment},
                          check=True, capture_output=True, text=True)  # fmt: skip
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_the_next_array_finds_its_pages() -> None:
    assert 5 * page_faults("keep") < page_faults("leave")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_what_the_environment_sets_stays() -> None:
    give_back = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "131072"}
    assert 5 * page_faults("keep") < page_faults("keep", **give_back)
