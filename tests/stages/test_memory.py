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
    said = subprocess.run([sys.executable, "-c", COUNT, how], cwd=ROOT, env={**usual, **environment},
                          check=True, capture_output=True, text=True)  # fmt: skip
    return int(said.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_the_next_array_finds_its_pages() -> None:
    assert page_faults("keep") < 1000 < 10_000 < page_faults("leave")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_what_the_environment_sets_stays() -> None:
    assert page_faults("keep", MALLOC_TRIM_THRESHOLD_="65536", MALLOC_MMAP_THRESHOLD_="131072") > 10_000
