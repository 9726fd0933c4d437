"""Assistants from labelled perspective pictures: where these are found, what is trained, and exact resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.classes import named_classes
from pipeline.errors import CacheError, InputError, RecipeError, WeightsError
from pipeline.teacher.assistant_transformers import load_transformers
from pipeline.teacher.normalisation import Normalisation
from stages import train_assistant as stage
from stages.events import Event, StageAdvanced, silent
from stages.perspective_sources import find_source
from stages.train_assistant import AssistantJob, AssistantTraining, job_of, train_assistant

NAMES = ("sky", "ground")


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def pair(image: Path, label: Path, *ids: int) -> None:
    """A picture, bluish above and reddish below its middle, and its label, of the two ids above and below."""
    seed = sum(map(ord, image.name))
    noise = np.random.default_rng(seed).integers(0, 60, (48, 80, 3))
    noise[:24, :, 2] += 150
    noise[24:, :, 0] += 150
    save(image, noise.astype(np.uint8))
    save(label, np.repeat(np.array(ids, np.uint8), 48 // len(ids))[:, None].repeat(80, axis=1))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("val", 2)):
        for n in range(count):
            pair(tmp_path / part / "images" / f"{n}.png", tmp_path / part / "labels" / f"{n}.png", 0, 1)
    (tmp_path / "classes.json").write_text(json.dumps({"id2label": dict(enumerate(NAMES))}))
    return tmp_path


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small SegFormer of other classes, without preprocessing settings."""
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=16,
        id2label={n: f"class {n}" for n in range(5)}, label2id={f"class {n}": n for n in range(5)}, drop_path_rate=0.1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("start")
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


def job(plain: Path, start: Path, out: str = "out", steps: int = 6) -> AssistantJob:
    training = AssistantTraining(str(start), steps, batch_size=2, crop=32, learning_rate=3e-3, checkpoint_every=2)
    return job_of(find_source(plain), training, plain / out, label_set_name=str(plain / "classes.json"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return SegformerForSemanticSegmentation.from_pretrained(folder).state_dict()


class Killed(Exception):
    """Stands for a kill."""


def kill_at(step: int) -> stage.Listener:
    def listener(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.item == f"step {step}":
            raise Killed

    return listener


def test_a_killed_training_resumes_to_the_same_weights_bit_for_bit(plain: Path, start: Path) -> None:
    torch.set_num_threads(1)
    whole = train_assistant(job(plain, start, "whole"), silent)
    with pytest.raises(Killed):
        train_assistant(job(plain, start, "killed"), kill_at(5))
    assert not (plain / "killed").exists()
    notes: list[str] = []
    resumed = train_assistant(job(plain, start, "killed"), lambda event: notes.append(getattr(event, "text", "")))
    assert any("resuming from step 4 of 6" in note for note in notes)
    theirs = weights(resumed.folder)
    assert all((tensor == theirs[name]).all() for name, tensor in weights(whole.folder).items())
    assert resumed.record == whole.record


@pytest.mark.slow
def test_it_learns_measures_on_pictures_held_out_and_is_an_assistant(plain: Path, start: Path) -> None:
    torch.set_num_threads(1)
    trained = train_assistant(job(plain, start, steps=60), silent)
    assert trained.record["measured_on"] == 2 and trained.record["miou"] > 0.8
    assert trained.record["miou"] == pytest.approx(np.mean(list(trained.record["iou"].values())))
    assert "mIoU" in trained.table and "ground" in trained.table
    classes = named_classes(dict(enumerate(NAMES)), "two")
    assistant = load_transformers(str(trained.folder), classes, torch.device("cpu"))
    image = np.array(Image.open(plain / "val" / "images" / "0.png"))
    labels = assistant(image[None]).logits_KChw[0].argmax(dim=0).numpy()
    assert (labels[:4] == 0).mean() > 0.8 and (labels[-4:] == 1).mean() > 0.8
    assert not assistant.notes  # its preprocessing is stated beside it


def test_a_finished_network_stays_and_another_is_refused(plain: Path, start: Path) -> None:
    first = train_assistant(job(plain, start, steps=2), silent)
    before = (first.folder / "model.safetensors").stat().st_mtime_ns
    assert train_assistant(job(plain, start, steps=2), silent).record == first.record
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="already exists, and is not the network"):
        train_assistant(job(plain, start, steps=3), silent)


def test_what_does_not_fit_is_refused_before_training(plain: Path, start: Path) -> None:
    with pytest.raises(InputError, match="--label-set"):
        job_of(find_source(plain), AssistantTraining(str(start)), plain / "out")
    with pytest.raises(WeightsError, match="--start"):
        train_assistant(replace(job(plain, start), training=AssistantTraining(str(plain), 1)), silent)
    pair(plain / "train" / "images" / "0.png", plain / "train" / "labels" / "0.png", 0, 2)
    with pytest.raises(InputError, match=r"holds the class ids 2.*--labels-set.*--labels-from-one"):
        train_assistant(job(plain, start), silent)
    save(plain / "train" / "labels" / "0.png", np.zeros((48, 80, 3), np.uint8))
    with pytest.raises(InputError, match=r"mode RGB.*class ids, with one channel.*Convert them to class ids"):
        train_assistant(job(plain, start), silent)
    save(plain / "train" / "labels" / "0.png", np.zeros((48, 40), np.uint8))
    with pytest.raises(InputError, match=r"label 0\.png is 40x48; its picture is 80x48"):
        train_assistant(job(plain, start), silent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 2**64}, r"--seed is 18446744073709551616; .* at most 63 bits\. Correct --seed\.$"),
        ({"crop": 33}, r"--crop is 33; it must be a positive multiple of 32\. Correct --crop\.$"),
        ({"learning_rate": float("nan")}, r"--learning-rate is nan; it must be positive\. Correct --learning-rate\.$"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_the_names_of_their_options(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        AssistantTraining(**settings)


@pytest.mark.parametrize("out", [".", ".."])
def test_the_current_folder_is_no_place_for_a_network(
    plain: Path, start: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    inner = plain / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    named = replace(job(plain, start), out=Path(out))
    assert named.folder == (inner / out).resolve().with_name(f"{(inner / out).resolve().name}.training")
    with pytest.raises(InputError, match=r"already exists, .*Name another folder"):
        train_assistant(named, silent)


@pytest.mark.parametrize(("height", "width"), [(40, 72), (33, 95), (48, 64)])
def test_cells_that_reach_beyond_the_picture_are_not_squeezed_into_it(plain: Path, height: int, width: int) -> None:
    """A network that is right in every cell of 16 pixels is measured as right, whatever the picture's size."""
    labels = np.repeat([0, 1, 0, 1, 0, 1], 16)[None, :width].repeat(height, axis=0).astype(np.uint8)
    for n in range(2):
        save(plain / "val" / "images" / f"{n}.png", np.stack([100 * labels] * 3, axis=-1))
        save(plain / "val" / "labels" / f"{n}.png", labels)

    def network(pixel_values: torch.Tensor) -> SimpleNamespace:
        is_ground = (pixel_values[:, :1] > pixel_values[:, :1].mean()).float()
        score = torch.nn.functional.avg_pool2d(is_ground, 16)
        return SimpleNamespace(logits=torch.cat((1 - score, score), dim=1))

    matrix = stage.measure_assistant(job(plain, plain), network, Normalisation(), silent)
    assert matrix.miou == 1


def test_other_pictures_held_out_are_measured_without_training_anew(plain: Path, start: Path) -> None:
    first = train_assistant(job(plain, start, steps=2), silent)
    before = (first.folder / "model.safetensors").stat().st_mtime_ns
    pair(plain / "val" / "images" / "0.png", plain / "val" / "labels" / "0.png", 1)
    notes: list[str] = []
    again = train_assistant(job(plain, start, steps=2), lambda event: notes.append(getattr(event, "text", "")))
    assert again.record["miou"] != first.record["miou"]
    assert any("measured anew" in note for note in notes)
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == before
    assert json.loads((first.folder / "assistant.json").read_text()) == again.record
    assert again.record | {"miou": 0, "iou": 0, "held_out": 0} == first.record | {"miou": 0, "iou": 0, "held_out": 0}
    assert train_assistant(job(plain, start, steps=2), silent).record == again.record


def test_a_record_of_before_that_does_not_tell_what_was_held_out_is_believed(plain: Path, start: Path) -> None:
    first = train_assistant(job(plain, start, steps=2), silent)
    record = {key: value for key, value in first.record.items() if key != "held_out"} | {"miou": 0.123}
    (first.folder / "assistant.json").write_text(json.dumps(record))
    assert train_assistant(job(plain, start, steps=2), silent).record == record


def test_one_process_at_a_time(plain: Path, start: Path) -> None:
    other = job(plain, start)
    with stage.exclusive_lock(other.folder, stage.STAGE), pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.claims._PATIENCE", 0.1)
        with pytest.raises(CacheError):
            train_assistant(other, silent)


def test_pixels_without_a_label_teach_nothing() -> None:
    logits = torch.zeros((1, 2, 2, 2), requires_grad=True)
    loss = stage.cross_entropy(logits, torch.full((1, 8, 8), 255))
    assert float(loss.detach()) == 0
    labels = torch.full((1, 8, 8), 255)
    labels[0, 0, 0] = 1
    assert float(stage.cross_entropy(logits, labels).detach()) == pytest.approx(np.log(2))
