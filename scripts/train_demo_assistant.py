"""Trains the demo's assistant and the starts of its students on perspective views of the built-in world.

    python -m scripts.demo_data --kind views --count 4800 --per-scene 6 --out data/assistant/views
    python -m scripts.demo_data --kind tilted --count 2400 --per-scene 6 --seed-offset 800 --out data/assistant/tilted
    python -m scripts.demo_data --kind wide --count 3000 --per-scene 6 --seed-offset 1400 --out data/assistant/wide
    python -m scripts.train_demo_assistant assistant --minutes 180 --views data/assistant/views data/assistant/tilted
    python -m scripts.train_demo_assistant student_start --minutes 120 --views data/assistant/{views,tilted,wide}
    python -m scripts.train_demo_assistant b0_start --begin-with pipeline/demo/assistant --minutes 150 \\
        --views data/assistant/{views,tilted,wide}

The last one, a SegFormer-B0 that begins as the assistant, is for `scripts.evidence` and not in the project. No network
ever sees a panorama: what they lose there is the gap that GoodSAM closes. The schedule follows the clock, so that a
busy machine trains less, not longer; a killed run goes on from its last checkpoint. `python -m
scripts.evaluate_demo_assistant` measures what comes out.

Legend: B images of a batch, N images in memory, H W pixels, 3 = RGB.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor
from transformers.utils.logging import disable_progress_bar

from pipeline.classes import DENSEPASS_13
from pipeline.student.model import ARCHITECTURES
from scripts.demo_data import shard_paths

DEMO = Path(__file__).resolve().parents[1] / "pipeline" / "demo"


@dataclass(frozen=True)
class Plan:
    """What a network is, and how large it sees things."""

    shape: Mapping[str, Any]
    """What differs from SegFormer-B0."""
    magnification: tuple[float, float]
    """Views are resized by a factor in this range before they are cropped. The assistant will look at windows that were
    enlarged, the student at whole panoramas, where things are smaller."""
    crops: tuple[int, ...] = (128, 160, 192, 256)
    """Sides of the square crops, pixels, drawn per batch: a network that has seen one size only is poor on others."""


PLANS = {
    "assistant": Plan(
        {
            "hidden_sizes": [32, 64, 128, 192],
            "num_attention_heads": [1, 2, 4, 6],
            "decoder_hidden_size": 192,
        },
        magnification=(0.7, 1.9),
    ),
    "student_start": Plan(ARCHITECTURES["tiny"], magnification=(0.8, 1.9), crops=(192, 256, 384, 512)),
    "b0_start": Plan(ARCHITECTURES["b0"], magnification=(0.8, 1.9), crops=(192, 256, 384, 512)),
}
"""2.4, 0.78 and 3.7 million parameters. A student's start sees larger crops, for it will see a whole panorama of
1536x768 at once: one that had seen 256 pixels at most took walls for buildings and sky there."""
BATCH_PIXELS = 8 * 256**2
BATCH = 8
"""Crops of a batch, fewer where their pixels are more than BATCH_PIXELS."""
LOSS_STRIDE = 2
"""The loss looks at every second row and column of labels, in turn the even and the odd ones: a fifth less time."""
PEAK_RATE = 1e-3
WEIGHT_DECAY = 0.01
WARM_UP = 0.03
"""Share of the time in which the learning rate rises."""
AVERAGE_DECAY = 0.998
"""Per step, of the running average of the weights, which is what is saved."""
RARITY_EXPONENT = 0.25
"""Classes weigh frequency ** -this in the loss: poles count, and the probabilities stay nearly calibrated."""
CHECKPOINT_SECONDS = 120.0


def network_of(name: str) -> SegformerForSemanticSegmentation:
    """A fresh network of `PLANS`."""
    labels = dict(enumerate(DENSEPASS_13.names))
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            **PLANS[name].shape,
            id2label=labels,
            label2id={v: k for k, v in labels.items()},
            drop_path_rate=0.0,
            classifier_dropout_prob=0.0,
        )
    )


@dataclass
class ViewPool:
    """The rendered views in memory; shards that appear while training runs are taken in."""

    folders: Sequence[Path]
    plan: Plan
    images_NHW3: list[npt.NDArray[np.uint8]] = field(default_factory=list[npt.NDArray[np.uint8]])
    labels_NHW: list[npt.NDArray[np.uint8]] = field(default_factory=list[npt.NDArray[np.uint8]])
    read: set[Path] = field(default_factory=set[Path])

    def refresh(self) -> None:
        """Read the shards that are new."""
        for path in sorted(path for folder in self.folders for path in shard_paths(folder)):
            if path not in self.read:
                with np.load(path) as shard:
                    self.images_NHW3.extend(shard["images_NHW3"])
                    self.labels_NHW.extend(shard["labels_NHW"])
                self.read.add(path)

    def wait(self, count: int) -> None:
        """Return when there are `count` views."""
        self.refresh()
        while len(self.images_NHW3) < count:
            print(
                f"{len(self.images_NHW3)} of {count} views in {', '.join(map(str, self.folders))}; waiting", flush=True
            )
            time.sleep(5)
            self.refresh()

    def class_weights(self) -> torch.Tensor:
        """Weight of each class in the loss, mean 1 over the pixels."""
        evenly = self.labels_NHW[:: max(1, len(self.labels_NHW) // 400)]  # shards of all kinds of cameras
        sample = np.concatenate([labels_HW.ravel() for labels_HW in evenly])
        share = np.bincount(sample, minlength=256)[: len(DENSEPASS_13)] / sample.size
        weights = np.maximum(share, 1e-4) ** -RARITY_EXPONENT
        return torch.from_numpy(weights / (weights * share).sum()).float()

    def batch(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(images [B, 3, h, w] in 0..1, labels [B, h, w]), augmented."""
        crop = int(rng.choice(self.plan.crops))
        picks = rng.integers(len(self.images_NHW3), size=min(BATCH, max(1, BATCH_PIXELS // crop**2)))
        magnification = self.plan.magnification
        pairs = [_crop(self.images_NHW3[i], self.labels_NHW[i], crop, magnification, rng) for i in picks]
        return torch.stack([image for image, _ in pairs]), torch.stack([labels for _, labels in pairs])


def _crop(
    image_HW3: npt.NDArray[np.uint8],
    labels_HW: npt.NDArray[np.uint8],
    crop: int,
    magnification: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random square of the view, magnified to `crop` pixels, perhaps mirrored, in other light."""
    side = min(image_HW3.shape[:2])
    smallest, largest = magnification
    low, high = np.log(max(smallest, crop / side)), np.log(max(largest, crop / side))
    size = min(side, round(crop / float(np.exp(rng.uniform(low, high)))))
    top, left = (int(rng.integers(extent - size + 1)) for extent in image_HW3.shape[:2])
    square = np.s_[top : top + size, left : left + size]
    image = torch.from_numpy(image_HW3[square]).permute(2, 0, 1)[None].float() / 255
    labels = torch.from_numpy(labels_HW[square])[None, None].float()
    image = functional.interpolate(image, (crop, crop), mode="bilinear", align_corners=False, antialias=True)[0]
    labels = functional.interpolate(labels, (crop, crop), mode="nearest-exact")[0, 0].long()
    if rng.random() < 0.5:
        image, labels = image.flip(-1), labels.flip(-1)
    return _recoloured(image, rng), labels


def _recoloured(image_3HW: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Other exposure, white balance, contrast and saturation."""
    gain = torch.from_numpy(np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3))).float()[:, None, None]
    image = image_3HW * gain
    grey = image.mean(0, keepdim=True)
    image = grey + (image - grey) * float(rng.uniform(0.6, 1.4))
    image = image.mean() + (image - image.mean()) * float(rng.uniform(0.75, 1.3))
    return image.clamp(0, 1)


def learning_rate(progress: float) -> float:
    """Linear warm-up, then a cosine down to zero; `progress` in 0..1."""
    if progress < WARM_UP:
        return PEAK_RATE * max(progress, 1e-4) / WARM_UP
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


class Training:
    """One network on its way: weights, their running average, optimiser, and how long it has been trained."""

    def __init__(self, name: str, seconds: float, checkpoint: Path) -> None:
        torch.manual_seed(0)
        self.name, self.seconds, self.checkpoint = name, seconds, checkpoint
        self.network = network_of(name).train()
        self.average = deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
        self.step, self.elapsed = 0, 0.0
        processor = SegformerImageProcessor()
        self.mean_311 = torch.tensor(processor.image_mean)[:, None, None]
        self.std_311 = torch.tensor(processor.image_std)[:, None, None]
        if checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed = state["step"], state["elapsed"]

    def begin_with(self, folder: Path) -> None:
        """Take the weights of a published network of the same shape or a narrower one, nothing else."""
        weights = SegformerForSemanticSegmentation.from_pretrained(folder, dtype=torch.float32).state_dict()
        fresh = self.network.state_dict()
        weights = {name: _widened(tensor, fresh[name], name) for name, tensor in weights.items()}
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def keep(self) -> None:
        """Write the checkpoint; a kill in between leaves the last one."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {"network": self.network.state_dict(), "average": self.average.state_dict(),
                 "optimiser": self.optimiser.state_dict(), "step": self.step, "elapsed": self.elapsed}  # fmt: skip
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def publish(self, folder: Path) -> None:
        """Save the averaged weights in half precision, as transformers loads them."""
        half = deepcopy(self.average).half()
        half.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        SegformerImageProcessor(do_resize=False).save_pretrained(folder)

    def learn(self, images_B3HW: torch.Tensor, labels_BHW: torch.Tensor, weights_C: torch.Tensor) -> float:
        """One step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.elapsed / self.seconds)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(pixel_values=(images_B3HW - self.mean_311) / self.std_311).logits
        first_row, first_column = self.step // LOSS_STRIDE % LOSS_STRIDE, self.step % LOSS_STRIDE
        labels_Bhw = labels_BHW[:, first_row::LOSS_STRIDE, first_column::LOSS_STRIDE]
        logits = functional.interpolate(logits.float(), labels_Bhw.shape[-2:], mode="bilinear", align_corners=False)
        loss = functional.cross_entropy(logits, labels_Bhw, weights_C)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self._follow()
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        for mine, theirs in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)
        for mine, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)


def _widened(narrow: torch.Tensor, fresh: torch.Tensor, name: str) -> torch.Tensor:
    """A narrower network's weights as the first channels of a wider one's, whose others stay as they began."""
    wide = fresh.clone()
    if name == "decode_head.linear_fuse.weight":  # its inputs are the four levels, one after the other
        narrow, wide = (tensor.unflatten(1, (4, -1)) for tensor in (narrow, wide))
    wide[tuple(slice(0, extent) for extent in narrow.shape)] = narrow
    return wide.reshape(fresh.shape)


def train(training: Training, pool: ViewPool, out: Path) -> None:
    """Train until the time is used up, publishing the weights with every checkpoint."""
    weights_C = pool.class_weights()
    last = kept = time.monotonic()
    losses: list[float] = []
    while training.elapsed < training.seconds:
        rng = np.random.default_rng((training.step, 7))
        losses.append(training.learn(*pool.batch(rng), weights_C))
        now = time.monotonic()
        training.elapsed, last = training.elapsed + now - last, now
        if now - kept > CHECKPOINT_SECONDS or training.elapsed >= training.seconds:
            training.keep()
            training.publish(out)
            pool.refresh()
            print(f"step {training.step}, {training.elapsed / 60:.1f} min, {len(pool.images_NHW3)} views, "
                  f"loss {np.mean(losses):.3f}", flush=True)  # fmt: skip
            kept, losses = now, []


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PLANS, help="which network")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock time of the whole training")
    parser.add_argument(
        "--views", type=Path, nargs="+", default=[Path("data/assistant/views")], help="folders of the shards"
    )
    begin = "folder of a published network of this shape or a narrower one, whose weights are the start"
    parser.add_argument("--begin-with", type=Path, help=begin)
    parser.add_argument("--out", type=Path, help="where the weights go; data/assistant/out/<name> unless given")
    parser.add_argument("--checkpoint", type=Path, help="data/assistant/<name>.pt unless given")
    parser.add_argument("--first-views", type=int, default=400, help="start when there are so many views")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    disable_progress_bar()
    checkpoint = options.checkpoint or Path(f"data/assistant/{options.name}.pt")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    pool = ViewPool(options.views, PLANS[options.name])
    pool.wait(options.first_views)
    training = Training(options.name, 60 * options.minutes, checkpoint)
    if options.begin_with and training.step == 0:
        training.begin_with(options.begin_with)
    train(training, pool, options.out or Path("data/assistant/out") / options.name)


if __name__ == "__main__":
    main()
