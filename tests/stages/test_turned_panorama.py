"""Stage one of turned panoramas: the same products as the cache's, but for what turning changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import CacheError
from stages.evaluate import evaluate
from stages.events import silent
from stages.reading import RunReader
from stages.splits import evaluation_panoramas
from stages.turned_panorama import TurnedStageOne
from tests.stages.small_run import WIDTH, small_run


@pytest.fixture(scope="module")
def stage_one(finished: Path) -> TurnedStageOne:
    run = small_run(finished)
    return TurnedStageOne(RunReader.open(run, evaluation_panoramas(run.recipe)), "cpu")


@pytest.mark.slow
def test_without_a_turn_the_products_are_the_caches(stage_one: TurnedStageOne) -> None:
    (id_,) = stage_one.reader.ids
    stored, computed = stage_one.reader.teacher(id_), stage_one(id_, stage_one.reader.image(id_), 0)
    for name, array in vars(stored).items():
        np.testing.assert_array_equal(getattr(computed, name), array)


@pytest.mark.slow
def test_a_turn_by_a_window_turns_the_results(stage_one: TurnedStageOne) -> None:
    (id_,) = stage_one.reader.ids
    stored = stage_one.reader.teacher(id_)
    turned = stage_one(id_, np.roll(stage_one.reader.image(id_), 64, axis=1), 64)
    back = np.roll(turned.ensemble_HW, -64, axis=1)
    assert (back == stored.ensemble_HW).mean() > 0.99
    assert (turned.ensemble_HW == stored.ensemble_HW).mean() < 0.9
    np.testing.assert_array_equal(turned.ignored_HW, np.roll(stored.ignored_HW, 64, axis=1))


def test_networks_other_than_the_caches_are_refused(stage_one: TurnedStageOne) -> None:
    other = replace(stage_one.reader, fingerprints={**stage_one.reader.fingerprints, "masks": "0" * 16})
    with pytest.raises(CacheError, match="yaw_panoramas = 0"):
        TurnedStageOne(other, "cpu")


@pytest.mark.slow
def test_an_evaluation_names_what_turning_changes(own_finished: Path) -> None:
    run = small_run(own_finished, evaluation={"yaw_panoramas": 1, "overlays": 0})
    half, _ = evaluate(run, silent).metrics["yaw"]
    assert half["degrees"] == 360 * 32 / WIDTH
    assert half["rungs"]["ensemble"]["panoramas"] == 1
    assert 0 < half["rungs"]["ensemble"]["label"] < 0.5
