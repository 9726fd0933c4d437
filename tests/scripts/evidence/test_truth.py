"""The truth in the place of stage one, and as corrections, really teaches the student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cache import codec
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.classes import IGNORE
from scripts.evidence.truth import certain, truth_run, with_corrections, with_truth
from stages.corrections import correction_reader
from stages.events import silent
from stages.reading import RunReader
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import SEEDS, make_folders, small_run

TRUTH = np.array([[0, 0, 1, 2], [0, 1, 1, IGNORE]], np.uint8)


def test_the_truth_takes_the_place_of_what_is_said_of_classes() -> None:
    assert certain(TRUTH, 3)[:, 0, 3] == pytest.approx([0, 0, 1])
    assert certain(TRUTH, 3)[:, 1, 3] == pytest.approx([1 / 3] * 3)
    said = np.full((3, 2, 4), 147, np.uint8)
    features = np.ones((2, 1, 1), np.int8)
    assistant = with_truth(ASSISTANT, {"assistant_probabilities": said, "features_1": features}, TRUTH)
    assert codec.decode_probabilities(assistant["assistant_probabilities"])[:, 1, 0] == pytest.approx([1, 0, 0])
    assert assistant["features_1"] is features
    ensemble = with_truth(ENSEMBLE, {"ensemble_probabilities": said, "ignored": np.zeros((2, 4), np.uint8)}, TRUTH)
    assert (ensemble["ensemble_labels"] == TRUTH).all()
    assert ensemble["reliability"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert ensemble["ignored"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert ensemble["boundary"][0].tolist() == [1, 1, 1, 1], "the first column is the last one's neighbour"
    assert with_truth(MASKS, {"runs": said}, TRUTH) == {"runs": said}


@pytest.mark.slow
def test_students_of_a_truth_run_and_of_corrections_are_taught_by_the_labels(tmp_path: Path) -> None:
    make_folders(tmp_path)
    labels = tmp_path / "true"
    labels.mkdir()
    for seed in SEEDS:
        Image.fromarray(np.full((64, 128), seed, np.uint8)).save(labels / f"{seed}.png")
    run = small_run(tmp_path)
    teacher_cache(run, silent)
    learning = learning_panoramas(run.recipe)

    taught = RunReader.open(truth_run(run, labels), learning)
    for panorama_id in taught.ids:
        teacher = taught.teacher(panorama_id)
        assert (teacher.ensemble_HW == int(panorama_id[-1])).all() and teacher.reliable_HW.all()
        assert (teacher.assistant_CHW.argmax(0) == int(panorama_id[-1])).all()
    own = RunReader.open(run, learning)
    assert not (own.teacher(own.ids[1]).ensemble_HW == 1).all(), "the run's own cache stays what it was"

    corrected = with_corrections(run, labels, 2, tmp_path / "corrections" / "2")
    read = correction_reader(corrected.recipe, RunReader.open(corrected, learning))
    found = [read(panorama_id) for panorama_id in own.ids]
    assert [None if map_HW is None else int(map_HW.max()) for map_HW in found] == [0, 1, None]
