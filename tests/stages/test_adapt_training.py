"""The assistant's training without labels: exact resuming, what it logs and records, and its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.adapt.batches import AdaptSample, AdaptSet, Way
from pipeline.adapt.config import AdaptConfig
from pipeline.errors import CacheError, GoodSAMError, InputError
from pipeline.panorama.windows import Window
from pipeline.teacher.config import AssistantConfig
from stages.adapt_training import AdaptedFolder, AdaptJob, prepare, train_assistant, training_step
from stages.events import Event, ItemFailed, Note, Scalars, StageAdvanced, silent
from tests.student.toy import HEIGHT, TOY, WIDTH, toy_sample

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of the toys' classes, and the file of these."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("network")
    SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=16,
            id2label=dict(enumerate(TOY.names)), label2id={name: i for i, name in enumerate(TOY.names)},
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def read_toy(panorama_id: str) -> AdaptSample:
    if panorama_id == "broken":
        raise CacheError("broken is gone", "it must be there", "Look for it")
    sample = toy_sample(int(panorama_id), levels=())
    return AdaptSample(sample, sample.image_HW3)


def toy_job(folder: Path, network: Path, **changes: Any) -> AdaptJob:
    config = AdaptConfig(steps=6, batch_size=1, learning_rate=1e-3, warmup_steps=1, checkpoint_every=2, log_every=2,
                         precision="float32")  # fmt: skip
    windows = Way("windows", (Window(0, 0, 32, 48), Window(0, 32, 32, 48)), 1.0)
    job = AdaptJob(
        assistants=folder, ids=("0", "1", "2"), read=read_toy, data_fingerprint="toy", label_set=TOY,
        assistant=AssistantConfig(kind="transformers", name=str(network), label_set=str(network / "config.json")),
        ways=(windows, Way("whole", (Window(0, 0, HEIGHT, WIDTH),), 1.0)), adapt=config,
    )  # fmt: skip
    return replace(job, **changes)


def stop_at(step: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.done == step:
            raise KeyboardInterrupt

    return listen


def test_a_killed_training_ends_with_the_weights_that_it_would_have_had(tmp_path: Path, network: Path):
    whole = train_assistant(toy_job(tmp_path / "whole", network), silent)
    job, events = toy_job(tmp_path / "killed", network), list[Event]()
    with pytest.raises(KeyboardInterrupt):
        train_assistant(job, stop_at(5))
    assert not job.folder.is_finished
    resumed = train_assistant(job, events.append)
    assert any(isinstance(event, Note) and event.text == "resuming from step 4 of 6" for event in events)
    expected, found = load_file(whole / "model.safetensors"), load_file(resumed / "model.safetensors")
    start = load_file(network / "model.safetensors")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(not torch.equal(start[name], found[name]) for name in expected)
    again = list[Event]()
    assert train_assistant(job, again.append) == resumed
    assert not any(isinstance(event, StageAdvanced) for event in again)


def test_a_share_of_the_weights_before_is_kept(tmp_path: Path, network: Path):
    job = toy_job(tmp_path, network)
    mixed = replace(job, adapt=replace(job.adapt, share=0.25))
    trained, found, start = (load_file(folder / "model.safetensors") for folder in
                             (train_assistant(job, silent), train_assistant(mixed, silent), network))  # fmt: skip
    for name, weight in found.items():
        between = start[name] + 0.25 * (trained[name] - start[name])
        torch.testing.assert_close(weight, between, check_dtype=weight.is_floating_point())  # counters are integers
    assert any(not torch.equal(found[name], start[name]) for name in found)


def test_each_loss_is_logged_and_consistency_only_where_images_overlap(tmp_path: Path, network: Path):
    job, events = toy_job(tmp_path, network), list[Event]()
    train_assistant(replace(job, adapt=replace(job.adapt, log_every=1, steps=2)), events.append)
    first, second = (event.values.keys() for event in events if isinstance(event, Scalars))
    assert first - second == {"consistency"}
    assert second == {"ensemble", "reliable", "total", "learning_rate"}


def test_an_unreadable_panorama_is_set_aside_and_recorded(tmp_path: Path, network: Path):
    job, events = toy_job(tmp_path, network, ids=("0", "broken")), list[Event]()
    final = train_assistant(job, events.append)
    failures = [event for event in events if isinstance(event, ItemFailed)]
    assert [event.item for event in failures] == ["broken"]
    assert json.loads((final / "adapted.json").read_text())["panoramas_set_aside"].keys() == {"broken"}


def test_the_fingerprint_names_what_decides_the_weights(tmp_path: Path, network: Path):
    job = toy_job(tmp_path, network)
    same = replace(job, adapt=replace(job.adapt, log_every=5, checkpoint_every=9), assistants=tmp_path / "other")
    assert same.fingerprint == job.fingerprint
    moved = shutil.copytree(network, tmp_path / network.name)
    assert replace(job, assistant=replace(job.assistant, name=str(moved))).fingerprint == job.fingerprint
    others = [replace(job, adapt=replace(job.adapt, consistency=0.5)), replace(job, data_fingerprint="other"),
              replace(job, adapt=replace(job.adapt, share=0.5)),
              replace(job, adapt=replace(job.adapt, class_balance=0.5))]  # fmt: skip
    assert len({job.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_a_training_that_diverges_says_which_setting_to_change(tmp_path: Path, network: Path):
    job = toy_job(tmp_path, network)
    with pytest.raises(GoodSAMError, match=r"Lower adapt\.learning_rate"):
        train_assistant(replace(job, adapt=replace(job.adapt, learning_rate=1e30, warmup_steps=0)), silent)


def test_nothing_to_learn_from_is_one_error(tmp_path: Path, network: Path) -> None:
    with pytest.raises(InputError, match="there are no panoramas to train on"):
        train_assistant(toy_job(tmp_path, network, ids=()), silent)


def test_a_step_returns_every_loss_and_moves_the_weights(tmp_path: Path, network: Path) -> None:
    job = toy_job(tmp_path, network)
    training = prepare(job)
    before = {name: weight.clone() for name, weight in training.assistant.network.state_dict().items()}
    losses = training_step(job, training, AdaptSet(job.ids, job.read, job.ways, job.adapt).batch(0))
    assert {"ensemble", "reliable", "total"} <= losses.keys()
    assert torch.isfinite(losses["total"]) and not losses["total"].requires_grad
    after = training.assistant.network.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_record_says_what_was_learned_from_and_the_folder_where_the_comparison_goes(
    tmp_path: Path, network: Path
) -> None:
    job = toy_job(tmp_path, network)
    final = train_assistant(replace(job, adapt=replace(job.adapt, steps=1)), silent)
    record = json.loads((final / "adapted.json").read_text())
    assert (record["steps"], record["panoramas"], record["data"]) == (1, 3, "toy")
    assert record["shown"] == ["windows", "whole"] and record["fingerprint"] == final.parent.name
    assert AdaptedFolder(final.parent).comparison == final.parent / "comparison.json"
    assert AdaptedFolder(final.parent).is_finished
