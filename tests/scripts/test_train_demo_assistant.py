"""Training of the demo's assistant: its views, its start, and going on after a kill."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SegformerForSemanticSegmentation

from pipeline.classes import DENSEPASS_13
from pipeline.world import build_scene, render_perspective
from scripts import train_demo_assistant
from scripts.demo_data import Batch
from scripts.train_demo_assistant import DEMO, PLANS, Training, ViewPool, main, train

NAME, SIDE, HOUR = "student_start", 64, 3600.0
Weights = dict[str, torch.Tensor]


class KilledError(Exception):
    """Stands for the signal."""


def save_views(path: Path, count: int, value: int = 0) -> None:
    """A shard of views of noise, whose first pixel is `value`."""
    rng = np.random.default_rng(value)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    images[:, 0, 0] = value
    labels = rng.integers(0, len(DENSEPASS_13), (count, SIDE, SIDE), dtype=np.uint8)
    ids = np.zeros((count, SIDE, SIDE), np.uint16)
    path.parent.mkdir(exist_ok=True)
    Batch(images, labels, ids, ids).save(path)


def first_pixels(pool: ViewPool) -> list[int]:
    return [int(image_HW3[0, 0, 0]) for image_HW3 in pool.images_NHW3]


def learn(training: Training, steps: range) -> None:
    """Steps on batches of noise, each at its time."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.rand((2, 3, SIDE, SIDE), generator=generator)
        labels = torch.randint(len(DENSEPASS_13), (2, SIDE, SIDE), generator=generator)
        training.elapsed = 60.0 * step
        training.learn(images, labels, torch.ones(len(DENSEPASS_13)))


def published(folder: Path) -> Weights:
    return SegformerForSemanticSegmentation.from_pretrained(folder, dtype=torch.float32).state_dict()


def assert_equal(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], rtol=0, atol=0, msg=name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and a checkpoint after every step."""
    monkeypatch.setitem(PLANS, NAME, replace(PLANS[NAME], crops=(SIDE,)))
    monkeypatch.setattr(train_demo_assistant, "BATCH", 2)
    monkeypatch.setattr(train_demo_assistant, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A published network that has learned a little."""
    training = Training(NAME, HOUR, tmp_path / "start.pt")
    learn(training, range(1, 3))
    training.publish(tmp_path / "start")
    return tmp_path / "start"


def test_the_pool_reads_all_folders_shards_of_one_name_included_and_each_once(tmp_path: Path) -> None:
    save_views(tmp_path / "level" / "0.npz", 2, value=1)
    save_views(tmp_path / "tilted" / "0.npz", 3, value=2)
    pool = ViewPool([tmp_path / "level", tmp_path / "tilted", tmp_path / "not rendered yet"], PLANS[NAME])
    pool.wait(5)
    assert first_pixels(pool) == [1, 1, 2, 2, 2]
    (tmp_path / "tilted" / "1.partial.npz").write_bytes(b"being written")
    save_views(tmp_path / "level" / "1.npz", 1, value=3)
    pool.refresh()
    assert first_pixels(pool) == [1, 1, 2, 2, 2, 3]
    assert len(pool.labels_NHW) == 6


@pytest.mark.slow
def test_a_training_begins_with_published_weights_and_takes_nothing_else(tmp_path: Path, start: Path) -> None:
    training = Training(NAME, HOUR, tmp_path / "new.pt")
    assert not torch.equal(training.network.state_dict()["decode_head.classifier.weight"],
                           published(start)["decode_head.classifier.weight"])  # fmt: skip
    training.begin_with(start)
    assert_equal(training.network.state_dict(), published(start))
    assert_equal(training.average.state_dict(), published(start))
    assert (training.step, training.elapsed, training.optimiser.state_dict()["state"]) == (0, 0.0, {})


@pytest.mark.slow
def test_a_wider_network_begins_nearly_as_the_narrow_one(tmp_path: Path) -> None:
    narrow = SegformerForSemanticSegmentation.from_pretrained(DEMO / "assistant", dtype=torch.float32).eval()
    wide = Training("b0_start", HOUR, tmp_path / "wide.pt")
    fresh = wide.network.eval().state_dict()["decode_head.classifier.weight"].clone()
    image_HW3 = render_perspective(build_scene(0), 256, 256, 70.0).image_HW3
    pixels = torch.from_numpy(image_HW3).permute(2, 0, 1)[None].float() / 255
    pixels = (pixels - wide.mean_311) / wide.std_311
    before = agreement(wide.network, narrow, pixels)
    wide.begin_with(DEMO / "assistant")
    assert agreement(wide.network, narrow, pixels) > 0.8 > before
    fuse = "decode_head.linear_fuse.weight"
    taken, own = published(DEMO / "assistant")[fuse], wide.network.state_dict()[fuse]
    for level in range(4):  # the inputs of every level begin where that level's do
        assert torch.equal(own[:192, 256 * level : 256 * level + 192], taken[:, 192 * level : 192 * (level + 1)])
    assert torch.equal(wide.network.state_dict()["decode_head.classifier.weight"][:, 192:], fresh[:, 192:])


@torch.no_grad()
def agreement(
    one: SegformerForSemanticSegmentation, other: SegformerForSemanticSegmentation, pixels: torch.Tensor
) -> float:
    """Share of the pixels to which both networks give the same label."""
    labels = [network(pixel_values=pixels).logits.argmax(1) for network in (one, other)]
    return (labels[0] == labels[1]).float().mean().item()


@pytest.mark.slow
def test_weights_that_were_taken_over_are_learned_on(tmp_path: Path, start: Path) -> None:
    training = Training(NAME, HOUR, tmp_path / "new.pt")
    training.begin_with(start)
    learn(training, range(1))
    name = "decode_head.classifier.weight"
    assert not torch.equal(training.network.state_dict()[name], published(start)[name])
    assert not torch.equal(training.network.state_dict()[name], training.average.state_dict()[name])


@pytest.mark.slow
def test_a_resumed_training_takes_the_steps_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = Training(NAME, HOUR, tmp_path / "undisturbed.pt")
    learn(undisturbed, range(4))
    killed = Training(NAME, HOUR, tmp_path / "killed.pt")
    learn(killed, range(2))
    killed.keep()
    learn(killed, range(2, 3))
    resumed = Training(NAME, HOUR, tmp_path / "killed.pt")
    assert (resumed.step, resumed.elapsed) == (2, 60.0)
    learn(resumed, range(2, 4))
    assert_equal(resumed.network.state_dict(), undisturbed.network.state_dict())
    assert_equal(resumed.average.state_dict(), undisturbed.average.state_dict())


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_killed_training_continues_from_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_views(tmp_path / "views" / "0.npz", 4)
    pool = ViewPool([tmp_path / "views"], PLANS[NAME])
    pool.refresh()
    checkpoint, out, batch = tmp_path / "new.pt", tmp_path / "out", ViewPool.batch
    killed = Training(NAME, HOUR, checkpoint)

    def batch_or_kill(pool: ViewPool, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if killed.step == 2:
            raise KilledError
        return batch(pool, rng)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(ViewPool, "batch", batch_or_kill)
        train(killed, pool, out)
    resumed = Training(NAME, killed.elapsed + 1e-6, checkpoint)
    assert (resumed.step, resumed.elapsed) == (2, killed.elapsed)
    assert_equal(resumed.average.state_dict(), killed.average.state_dict())
    train(resumed, pool, out)
    assert resumed.step == 3
    assert_equal(published(out), {n: v.half().to(v.dtype) if v.is_floating_point() else v
                                  for n, v in resumed.average.state_dict().items()})  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_command_begins_with_a_network_once_and_after_a_kill_with_the_checkpoint(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("level", "tilted"):
        save_views(tmp_path / folder / "0.npz", 2)
    views = [str(tmp_path / "level"), str(tmp_path / "tilted")]
    paths = ["--out", str(tmp_path / "out"), "--checkpoint", str(tmp_path / "new.pt")]
    options = ["--first-views", "4", "--threads", str(torch.get_num_threads()), "--views", *views, *paths]

    def run(minutes: float, begin_with: Path) -> None:
        command = ["", NAME, "--minutes", str(minutes), "--begin-with", str(begin_with), *options]
        monkeypatch.setattr(sys, "argv", command)
        main()

    run(1e-6, start)
    state = torch.load(tmp_path / "new.pt", weights_only=True)
    assert state["step"] == 1
    name = "decode_head.classifier.weight"
    torch.testing.assert_close(published(tmp_path / "out")[name], published(start)[name], rtol=0, atol=1e-3)
    run(state["elapsed"] / 60 + 1e-6, tmp_path / "is not read")
    assert torch.load(tmp_path / "new.pt", weights_only=True)["step"] == 2


def test_larger_crops_come_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_demo_assistant, "BATCH_PIXELS", 4 * SIDE**2)
    save_views(tmp_path / "views" / "0.npz", 4)
    shapes: list[tuple[int, ...]] = []
    for side in (SIDE // 2, SIDE, 2 * SIDE, 4 * SIDE):
        pool = ViewPool([tmp_path / "views"], replace(PLANS[NAME], crops=(side,)))
        pool.refresh()
        images, labels = pool.batch(np.random.default_rng(0))
        assert images.shape == (len(labels), 3, side, side)
        shapes.append(tuple(labels.shape))
    assert [shape[0] for shape in shapes] == [8, 4, 1, 1]
