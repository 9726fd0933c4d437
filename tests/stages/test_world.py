"""The demo's data: what is rendered, with which labels, and what a second run leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13
from pipeline.world.seeds import DEMO_EVALUATION, DEMO_TRAIN
from stages import world
from stages.events import Event, StageStarted, silent


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "HEIGHT", 64)
    monkeypatch.setattr(world, "WIDTH", 128)


def test_panoramas_to_learn_from_have_no_labels_and_those_to_evaluate_on_have(small: None, tmp_path: Path) -> None:
    world.render_world(tmp_path, 2, 1, silent)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    learning, evaluation = DEMO_TRAIN[:2], DEMO_EVALUATION[0]
    assert found == [f"evaluation/{evaluation:05d}.png", f"labels/{evaluation:05d}.png",
                     *(f"panoramas/{seed:05d}.png" for seed in learning)]  # fmt: skip
    labels = np.asarray(Image.open(tmp_path / "labels" / f"{evaluation:05d}.png"))
    assert labels.shape == (64, 128)
    assert set(np.unique(labels)) <= {*range(len(DENSEPASS_13)), 255}
    assert Image.open(tmp_path / "evaluation" / f"{evaluation:05d}.png").mode == "RGB"


def test_a_second_run_renders_what_is_missing(small: None, tmp_path: Path) -> None:
    world.render_world(tmp_path, 2, 1, silent)
    lost = tmp_path / "panoramas" / f"{DEMO_TRAIN[1]:05d}.png"
    before = lost.read_bytes()
    lost.unlink()
    events: list[Event] = []
    world.render_world(tmp_path, 2, 1, events.append)
    assert [event.total for event in events if isinstance(event, StageStarted)] == [1]
    assert lost.read_bytes() == before
