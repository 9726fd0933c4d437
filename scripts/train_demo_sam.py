"""Trains the embedded demo SAM on rendered street scenes, then measures it.

    python -m scripts.demo_data --kind windows --count 3000 --out data/sam/windows
    python -m scripts.demo_data --kind views --count 2000 --out data/sam/views
    python -m scripts.demo_data --kind photos --photos <folder> --count 400 --out data/sam/photos
    python -m scripts.train_demo_sam --data data/sam/windows data/sam/views --photos data/sam/photos --minutes 60

The schedule runs on the wall clock: `--minutes` is the length of the training, whatever the machine. A killed run goes
on from its last checkpoint. The network learns to answer one point with the nested masks around it: its part, its
object, and the region of its class; output k always means level k, so no answer is ambiguous.

Legend: B images, N points of an image, L levels (part, object, class region), h w low-resolution masks, C channels.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import segment_anything.modeling.image_encoder as image_encoder
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.teacher.demo_sam import CHANNELS, PATCH, build_demo_sam
from pipeline.teacher.demo_sam import SIZE as SEEN
from scripts.demo_data import SIZE, Batch, load_shards

LEVEL_OF_OUTPUT = (1, 0, 1, 2)
"""Outputs 1-3 answer part, object, class region; output 0, SAM's single-mask answer, the object."""
CLASSES = 13
LOW = SEEN // PATCH * 4
"""Side of the decoder's masks."""
SMALLEST = 16
"""Smallest mask that is asked for, pixels."""
POINTS = 8
"""Points per image and step."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the training goes; recorded in the model card."""

    minutes: float
    batch_size: int = 4
    learning_rate: float = 1e-3
    muon_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 60
    ema: float = 0.998
    photos: float = 0.15

    def rate_factor(self, step: int, seconds: float) -> float:
        """Linear warm-up over the first steps, then cosine decay over the wall clock, to 2 %."""
        share = min(seconds / (60 * self.minutes), 1.0)
        return min((step + 1) / self.warmup, 1.0) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


@dataclass(frozen=True)
class Example:
    """One augmented image with its points."""

    image_HW3: npt.NDArray[np.uint8]
    labels_HW: npt.NDArray[np.uint8]
    instances_HW: npt.NDArray[np.uint16]
    parts_HW: npt.NDArray[np.uint16]
    points_N2: npt.NDArray[np.float32]
    """(x, y) of pixel centres, in pixels of the image."""
    masks_NLHW: npt.NDArray[np.uint8]
    """Masks of all levels around each point; 0 or 1."""
    photo: bool
    """True where the regions are machine-made: one level, no classes."""


# --- examples -----------------------------------------------------------------------------------------------------


def region_around(ids_HW: npt.NDArray[np.integer], row: int, column: int) -> npt.NDArray[np.uint8]:
    """The piece of an object that holds a pixel; gaps of up to 4 pixels (a pole in front) do not part it."""
    same_HW = (ids_HW == ids_HW[row, column]).astype(np.uint8)
    bridged_HW = cv2.dilate(same_HW, np.ones((5, 5), np.uint8))
    pieces_HW = cv2.connectedComponents(bridged_HW, connectivity=4)[1]
    return same_HW * (pieces_HW == pieces_HW[row, column]).astype(np.uint8)


def sample_point(
    instances_HW: npt.NDArray[np.uint16], parts_HW: npt.NDArray[np.uint16], rng: np.random.Generator
) -> tuple[int, int]:
    """A pixel: any (as the grid of the mask generator asks), or of a random object or part (so that small ones count)."""
    choice = rng.uniform()
    if choice < 0.4:
        return int(rng.integers(SIZE)), int(rng.integers(SIZE))
    ids_HW = instances_HW if choice < 0.7 else parts_HW
    ids, counts = np.unique(ids_HW, return_counts=True)
    rows, columns = np.nonzero(ids_HW == rng.choice(ids[counts >= min(SMALLEST, counts.max())]))
    pick = rng.integers(len(rows))
    return int(rows[pick]), int(columns[pick])


def make_example(batch: Batch, index: int, rng: np.random.Generator, photo: bool = False, augment: bool = True) -> Example:
    """Cut, mirror and recolour image `index`, and draw its points."""
    arrays = [a[index] for a in (batch.images_NHW3, batch.labels_NHW, batch.instances_NHW, batch.parts_NHW)]
    if augment:
        arrays = _cut_and_mirror(arrays, rng)
        arrays[0] = recolour(arrays[0], rng)
    image, labels, instances, parts = arrays
    points, masks = [], []
    while len(points) < POINTS:
        row, column = sample_point(instances, parts, rng)
        levels = np.stack([region_around(ids, row, column) for ids in (parts, instances, labels)])
        if levels[0].sum() >= SMALLEST or rng.uniform() < 0.1:
            points.append((column + 0.5, row + 0.5))
            masks.append(levels)
    return Example(image, labels, instances, parts, np.array(points, np.float32), np.stack(masks), photo)


def _cut_and_mirror(arrays: list[npt.NDArray[np.generic]], rng: np.random.Generator) -> list[npt.NDArray[np.generic]]:
    if rng.uniform() < 0.35:
        side = int(rng.integers(int(0.6 * SIZE), SIZE))
        top, left = rng.integers(SIZE - side, size=2)
        modes = (cv2.INTER_LINEAR, *[cv2.INTER_NEAREST] * 3)
        arrays = [
            cv2.resize(a[top : top + side, left : left + side], (SIZE, SIZE), interpolation=mode)
            for a, mode in zip(arrays, modes, strict=True)
        ]
    if rng.uniform() < 0.5:
        arrays = [np.ascontiguousarray(a[:, ::-1]) for a in arrays]
    return arrays


def recolour(image_HW3: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Strong changes of colour, sharpness and noise, so that what is learned carries over to photographs."""
    x = image_HW3.astype(np.float32) / 255
    mix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.08, (3, 3)).astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.3, 1.6) if rng.uniform() < 0.9 else 0.0)
    x = np.clip((x @ mix - 0.5) * np.float32(rng.uniform(0.6, 1.4)) + np.float32(0.5 + rng.normal(0, 0.1)), 0, 1)
    x = x ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.uniform() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.3))
    if rng.uniform() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.005, 0.05), x.shape).astype(np.float32)
    out = (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.uniform() < 0.2:
        encoded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])[1]
        out = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return out


# --- network ------------------------------------------------------------------------------------------------------


def folded_attention(self: image_encoder.Attention, x_BhwC: Tensor) -> Tensor:
    """SAM's global attention with its relative position folded into queries and keys: equal to 3e-6, far less memory.

    q' = [q s, q.Rh, q.Rw], k' = [k, onehot(row), onehot(column)], so q'.k' = s q.k + the two position terms.
    """
    B, H, W, _ = x_BhwC.shape
    T, heads = H * W, self.num_heads
    q, k, v = self.qkv(x_BhwC).reshape(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    rows = image_encoder.get_rel_pos(H, H, self.rel_pos_h).to(q.dtype)
    columns = image_encoder.get_rel_pos(W, W, self.rel_pos_w).to(q.dtype)
    grid = q.reshape(B, heads, H, W, -1)
    by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rows).reshape(B, heads, T, H)
    by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, columns).reshape(B, heads, T, W)
    row_onehot = torch.eye(H, dtype=q.dtype).repeat_interleave(W, 0).expand(B, heads, T, H)
    column_onehot = torch.eye(W, dtype=q.dtype).repeat(H, 1).expand(B, heads, T, W)
    long_q = torch.cat((q * self.scale, by_row, by_column), -1)
    long_k = torch.cat((k, row_onehot, column_onehot), -1)
    long_v = F.pad(v, (0, long_q.shape[-1] - v.shape[-1]))
    out = F.scaled_dot_product_attention(long_q, long_k, long_v, scale=1.0)[..., : v.shape[-1]]
    return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))


def speed_up_global_attention(sam: Sam) -> None:
    """Train the global blocks with `folded_attention`."""
    for block in sam.image_encoder.blocks:
        if block.window_size == 0:
            block.attn.forward = folded_attention.__get__(block.attn)


class Trainee(nn.Module):
    """SAM and a helper head that learns classes and edges per pixel while SAM is trained, and is thrown away after."""

    def __init__(self) -> None:
        super().__init__()
        self.sam = build_demo_sam()
        speed_up_global_attention(self.sam)
        _initialise(self.sam)
        self.helper = nn.Conv2d(CHANNELS, (CLASSES + 2) * 16, 1)

    def embed(self, images_B3HW: Tensor) -> Tensor:
        """Image embeddings [B, C, 24, 24] of windows of 256 pixels."""
        seen = F.interpolate(images_B3HW, (SEEN, SEEN), mode="bilinear", antialias=True, align_corners=False)
        with torch.autocast("cpu", torch.bfloat16):
            embedded = self.sam.image_encoder(self.sam.preprocess(seen))
        return embedded.float()

    def answer(self, embedding_Chw: Tensor, points_N2: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, 4, LOW, LOW] and predicted IoU [N, 4] of all outputs for single points."""
        labels = torch.ones(len(points_N2), 1, dtype=torch.int)
        sparse, dense = self.sam.prompt_encoder(points=(points_N2[:, None] * (SEEN / SIZE), labels), boxes=None, masks=None)
        position = self.sam.prompt_encoder.get_dense_pe()
        return self.sam.mask_decoder.predict_masks(embedding_Chw[None], position, sparse, dense)

    def pixels(self, embedding_BChw: Tensor) -> Tensor:
        """The helper's class logits and edge logits [B, CLASSES + 2, LOW, LOW]."""
        return F.pixel_shuffle(self.helper(embedding_BChw), 4)


def _initialise(sam: Sam) -> None:
    """Truncated normals as in ViT; SAM's own constructor leaves torch's defaults, which start slowly."""
    for module in sam.image_encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02)


def optimisers(trainee: Trainee, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformers, AdamW for everything else."""
    matrices, rest = [], []
    for name, parameter in trainee.named_parameters():
        if not parameter.requires_grad or "mask_downscaling" in name:
            continue
        inner = parameter.ndim == 2 and (".blocks." in name or ".transformer." in name) and "rel_pos" not in name
        (matrices if inner else rest).append(parameter)
    muon = torch.optim.Muon(
        matrices, lr=schedule.muon_rate, weight_decay=schedule.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(rest, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay)
    for optimiser in (muon, adamw):
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]


# --- losses -------------------------------------------------------------------------------------------------------


def mask_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy and dice per mask, [...] of logits [..., h, w] and soft targets in [0, 1].

    SAM's focal loss leaves logits blunt, and the stability filter then drops the masks; plain cross entropy does not.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((-2, -1))
    p = logits.sigmoid()
    dice = 1 - (2 * (p * targets).sum((-2, -1)) + 1) / ((p + targets).sum((-2, -1)) + 1)
    return 5 * entropy + dice


def iou_of(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of thresholded masks, [...]."""
    a, b = logits > 0, targets > 0.5
    return (a & b).sum((-2, -1)) / (a | b).sum((-2, -1)).clamp(min=1)


def point_loss(logits_N4hw: Tensor, iou_N4: Tensor, targets_NLhw: Tensor, photo: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(mask loss, loss of the predicted IoU, mean IoU) over the outputs that know their answer.

    In photographs only one region is known, of no certain level: the best of the three outputs learns it.
    """
    if photo:
        targets_N4hw = targets_NLhw[:, :1].expand_as(logits_N4hw)
        losses_N4 = mask_losses(logits_N4hw, targets_N4hw)
        weight_N4 = F.one_hot(losses_N4[:, 1:].argmin(1) + 1, 4) / len(losses_N4)
    else:
        targets_N4hw = targets_NLhw[:, LEVEL_OF_OUTPUT]
        losses_N4 = mask_losses(logits_N4hw, targets_N4hw)
        weight_N4 = losses_N4.new_tensor([0.1, 0.3, 0.3, 0.3]).expand_as(losses_N4) / len(losses_N4)
    with torch.no_grad():
        actual_N4 = iou_of(logits_N4hw, targets_N4hw)
    return (
        (losses_N4 * weight_N4).sum(),
        ((iou_N4 - actual_N4).square() * weight_N4).sum(),
        (actual_N4 * weight_N4).sum(),
    )


def edges_of(ids_BHW: Tensor) -> Tensor:
    """Where ids change to the right or below, pooled to [B, LOW, LOW], 0 or 1."""
    right = F.pad((ids_BHW[:, :, 1:] != ids_BHW[:, :, :-1]).float(), (0, 1))
    below = F.pad((ids_BHW[:, 1:] != ids_BHW[:, :-1]).float(), (0, 0, 0, 1))
    return F.adaptive_max_pool2d(torch.maximum(right, below)[:, None], LOW)[:, 0]


def helper_loss(pixels_BChw: Tensor, examples: list[Example]) -> Tensor:
    """Classes and edges per pixel, of the rendered images."""
    keep = [i for i, e in enumerate(examples) if not e.photo]
    if not keep:
        return pixels_BChw.sum() * 0
    pixels_BChw = pixels_BChw[keep]
    labels = torch.from_numpy(np.stack([examples[i].labels_HW for i in keep]))[:, None]
    labels = F.interpolate(labels, (LOW, LOW), mode="nearest-exact")[:, 0].long()
    ids = [torch.from_numpy(np.stack([getattr(examples[i], f"{k}_HW").astype(np.int32) for i in keep]))
           for k in ("instances", "parts")]  # fmt: skip
    edges = torch.stack([edges_of(x) for x in ids], 1)
    entropy = F.cross_entropy(pixels_BChw[:, :CLASSES], labels)
    return entropy + F.binary_cross_entropy_with_logits(pixels_BChw[:, CLASSES:], edges)


# --- training -----------------------------------------------------------------------------------------------------


def images_of(examples: list[Example]) -> Tensor:
    """Images as [B, 3, H, W] float32, 0..255, as SAM's preprocessing expects them."""
    return torch.from_numpy(np.stack([e.image_HW3 for e in examples])).permute(0, 3, 1, 2).float()


def targets_of(example: Example) -> Tensor:
    """Soft masks [N, L, LOW, LOW]: the share of each cell that is covered, with more contrast, so that logits get sharp."""
    covered = F.interpolate(torch.from_numpy(example.masks_NLHW).float(), (LOW, LOW), mode="area")
    return ((covered - 0.5) * 1.5 + 0.5).clamp(0, 1)


@dataclass
class State:
    """All that a killed run needs to go on."""

    trainee: Trainee
    average: Trainee
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write, then rename: a kill leaves the previous checkpoint."""
        partial_path = path.with_suffix(".partial")
        torch.save({"trainee": self.trainee.state_dict(), "average": self.average.state_dict(),
                    "optimisers": [o.state_dict() for o in self.optimisers],
                    "step": self.step, "seconds": self.seconds, "history": self.history}, partial_path)  # fmt: skip
        partial_path.rename(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        saved = torch.load(path, weights_only=True)
        self.trainee.load_state_dict(saved["trainee"])
        self.average.load_state_dict(saved["average"])
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]


def start(schedule: Schedule) -> State:
    """Random weights, their running average, and optimisers."""
    torch.manual_seed(0)
    trainee = Trainee()
    average = copy.deepcopy(trainee).requires_grad_(False)
    speed_up_global_attention(average.sam)
    return State(trainee, average, optimisers(trainee, schedule))


def train_step(state: State, examples: list[Example], schedule: Schedule) -> dict[str, float]:
    """One step of both optimisers; returns the losses."""
    factor = schedule.rate_factor(state.step, state.seconds)
    trainee = state.trainee
    embedding = trainee.embed(images_of(examples))
    totals = torch.zeros(3)
    for example, one in zip(examples, embedding, strict=True):
        logits, iou = trainee.answer(one, torch.from_numpy(example.points_N2))
        totals = totals + torch.stack(point_loss(logits, iou, targets_of(example), example.photo)) / len(examples)
    helper = helper_loss(trainee.pixels(embedding), examples)
    (totals[0] + totals[1] + 0.3 * helper).backward()
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    for optimiser in state.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        optimiser.step()
        optimiser.zero_grad()
    update_average(state.average, trainee, min(schedule.ema, (1 + state.step) / (10 + state.step)))
    state.step += 1
    masks, predicted, iou = totals.tolist()
    return {"masks": masks, "predicted": predicted, "iou": iou, "helper": helper.item()}


@torch.no_grad()
def update_average(average: Trainee, trainee: Trainee, decay: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(average.parameters()), list(trainee.parameters()), 1 - decay)


def save_weights(trainee: Trainee, path: Path) -> None:
    """SAM's weights alone, fp16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".partial")
    torch.save({k: v.half() for k, v in trainee.sam.state_dict().items()}, partial_path)
    partial_path.rename(path)


def draw(data: Batch, photos: Batch | None, schedule: Schedule, rng: np.random.Generator) -> list[Example]:
    """The examples of one step."""
    examples = []
    for _ in range(schedule.batch_size):
        photo = photos is not None and rng.uniform() < schedule.photos
        batch = photos if photo and photos is not None else data
        examples.append(make_example(batch, int(rng.integers(len(batch))), rng, photo))
    return examples


@torch.no_grad()
def point_quality(trainee: Trainee, batch: Batch, images: int) -> dict[str, float]:
    """Mean IoU for one point on held-out windows: of each output with its level, and of the best output with each."""
    rng = np.random.default_rng(7)
    by_level, best, error = [], [], []
    for index in np.linspace(0, len(batch) - 1, min(images, len(batch))).astype(int):
        example = make_example(batch, int(index), rng, augment=False)
        logits, predicted = trainee.answer(
            trainee.embed(images_of([example]))[0], torch.from_numpy(example.points_N2)
        )
        targets_NLhw = targets_of(example)
        iou_NL3 = iou_of(logits[:, None, 1:], targets_NLhw[:, :, None])
        by_level.append(iou_NL3.diagonal(dim1=1, dim2=2).mean(0))
        best.append(iou_NL3.amax(2).mean())
        error.append((predicted[:, 1:] - iou_NL3.diagonal(dim1=1, dim2=2)).abs().mean())
    part, whole, region = torch.stack(by_level).mean(0).tolist()
    return {"part": part, "object": whole, "region": region, "best_of_three": torch.stack(best).mean().item(),
            "predicted_error": torch.stack(error).mean().item()}  # fmt: skip


def train(state: State, data: Batch, photos: Batch | None, validation: Batch, schedule: Schedule, work: Path,
          out: Path) -> None:  # fmt: skip
    """Until the schedule's minutes are over; checkpoints and weights are written every few minutes."""
    rng = np.random.default_rng(state.step + 1)
    running: dict[str, float] = {}
    last_save = last_line = time.monotonic()
    while state.seconds < 60 * schedule.minutes:
        before = time.monotonic()
        losses = train_step(state, draw(data, photos, schedule, rng), schedule)
        running = {k: 0.98 * running.get(k, v) + 0.02 * v for k, v in losses.items()}
        now = time.monotonic()
        state.seconds += now - before
        if now - last_line > 15:
            last_line = now
            left = schedule.minutes - state.seconds / 60
            print(f"step {state.step} {state.seconds / state.step:.2f} s/step, {left:.1f} min left  "
                  + "  ".join(f"{k} {v:.4f}" for k, v in running.items()), flush=True)  # fmt: skip
        if now - last_save > 240 or state.seconds >= 60 * schedule.minutes:
            last_save = now
            quality = point_quality(state.average, validation, 40)
            state.history.append({"step": state.step, "minutes": state.seconds / 60, **running, **quality})
            print(json.dumps(state.history[-1]), flush=True)
            state.save(work / "checkpoint.pt")
            save_weights(state.average, out / "sam.pth")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of training shards")
    parser.add_argument("--validation", type=Path, required=True, help="folder of held-out windows")
    parser.add_argument("--photos", type=Path, help="folder of photographs with machine-made regions")
    parser.add_argument("--minutes", type=float, default=60, help="length of the training")
    parser.add_argument("--work", type=Path, default=Path("data/sam"), help="folder of the checkpoint")
    parser.add_argument("--out", type=Path, default=Path("pipeline/demo"), help="folder of the weights")
    options = parser.parse_args()
    torch.set_num_threads(1)
    schedule = Schedule(options.minutes)
    state = start(schedule)
    if (options.work / "checkpoint.pt").exists():
        state.load(options.work / "checkpoint.pt")
    data = Batch.join([load_shards(folder) for folder in options.data])
    photos = load_shards(options.photos) if options.photos else None
    train(state, data, photos, load_shards(options.validation), schedule, options.work, options.out)


if __name__ == "__main__":
    main()
