"""How long stage one takes for a panorama: measured anew on a few, whatever the study's own cache has of them."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from pipeline.cache.schema import ENSEMBLE
from scripts.evidence.truth import with_data
from stages import panorama_task as panorama_task  # imported here, so that no measurement has its seconds
from stages.events import silent
from stages.files import write_whole
from stages.products import fingerprints
from stages.runs import Run
from stages.teacher_cache import teacher_cache

PANORAMAS = 2
"""Panoramas that are timed, after one for which the networks are loaded."""


def seconds_of_stage_one(run: Run, known: Path) -> float:
    """Seconds of one processor per panorama, all products; the networks are loaded before.

    Args:
        run: its panoramas to learn from are timed, the first ones.
        known: folder of what was measured before, by what was measured.

    Raises:
        GoodSAMError: stage one fails.
    """
    file = known / f"{fingerprints(run.recipe)[ENSEMBLE]}.json"
    if not file.exists():
        seconds = _measured(run)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(seconds))
    return float(json.loads(file.read_text()))


def _measured(run: Run) -> float:
    with tempfile.TemporaryDirectory() as folder:
        for panoramas in (1, 1 + PANORAMAS):  # what the first call has done, the second finds
            timed = with_data(run, evaluation="", limit=panoramas)
            began = time.process_time()
            done = teacher_cache(Run(timed.recipe, Path(folder) / "cache" / "timed"), silent)
            seconds = time.process_time() - began
    return seconds / done.computed
