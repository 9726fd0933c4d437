"""Settings of stage two: the student, its losses and its training."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import require, require_choice

WRAP = 64
"""Columns of the other side that are added at both ends of a whole panorama for the student, a multiple of 32."""
TRAINING_WRAP = 32
"""The same while it learns: a step then takes 8 % less, and students are as good, at the seam too."""

_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0)
"""Times that the student may enlarge panoramas: two columns are then a whole number of its columns at the seam."""

LOSSES = ("assistant", "ensemble", "reliable", "boundary", "features")
"""Names of the losses, which are the names of their weights in LossConfig."""


@dataclass(frozen=True)
class StudentConfig:
    """The compact network: a SegFormer, or any semantic network of transformers."""

    size: str = "b0"
    """One of b0 (3.7 M parameters), b1 (13.7 M), b2 (27 M), tiny (0.78 M, for tests and the demo)."""
    weights: str = ""
    """Initial weights: hub name or folder (an encoder such as nvidia/mit-b0, or a whole SegFormer), "demo" for the
    embedded small start, or empty for random weights."""
    seed: int = 0
    """Seed of all that is random in its training: students of several seeds lie side by side in the cache."""
    kind: str = "segformer"
    """segformer, or transformers: any network that its AutoModelForSemanticSegmentation knows, which `weights` names
    (hub name or folder; a folder with a config.json alone begins at random), whatever `size` says."""
    scale: float = 1.0
    """The student sees the panorama enlarged so many times (1, 1.5, 2, 2.5 or 3), as `assistant.window_scale` enlarges
    windows: its logits are a quarter of what it sees, which is coarse for thin things. Time grows faster than the
    number of pixels, by its attention: a prediction of the demo's student takes 3.6 times as long at 1.5. Only for
    segformer."""

    def __post_init__(self) -> None:
        require_choice("student.kind", self.kind, ("segformer", "transformers"))
        require(self.kind == "segformer" or self.weights not in ("", "demo"), "student.weights", self.weights,
                "a folder or a hub name where student.kind is 'transformers'")  # fmt: skip
        require_choice("student.size", self.size, ("tiny", "b0", "b1", "b2"))
        require(self.scale in _SCALES and (self.kind == "segformer" or self.scale == 1), "student.scale", self.scale,
                f"one of {', '.join(map(str, _SCALES))}, and 1 unless student.kind is 'segformer'")  # fmt: skip
        require(0 <= self.seed < 2**63, "student.seed", self.seed, "zero or a positive number of at most 63 bits")


@dataclass(frozen=True)
class LossConfig:
    """Multi-level Knowledge Adaptation (MKA): one weight per loss of the paper's figure 2; 0 switches one off."""

    assistant: float = 1.0
    """L_CE^{TA,S}: student against the stitched assistant logits, whole image."""
    ensemble: float = 1.0
    """L_CE^{T,S}: student against the ensemble E, windows."""
    reliable: float = 1.0
    """L_CE^{T,S}: student against the high-confidence ensemble E_H, windows."""
    boundary: float = 0.5
    """L_bd^{T,S}: the student's soft boundary against the refined boundary B_ref."""
    features: float = 0.1
    """L_feat: projected student encoder levels against the assistant's."""
    corrections: float = 4.0
    """Weight of people's corrections (`data.corrections`), per corrected pixel, beside the weights above: cross-entropy
    with the corrected label (ours). It has no effect where there are none."""
    temperature: float = 1.0
    """Soft targets and predictions are divided by it; the loss is multiplied by its square (Hinton)."""
    hard: bool = False
    """Learn from labels, those of E and the assistant's (CE, as drawn in the paper), rather than soft targets (KL;
    ours)."""
    class_balance: float = 0.0
    """Pixels of rarer classes weigh more in the first three losses: the class's share of the batch to the power of
    minus this. 0: all weigh the same (paper); 0.25 to 0.5 keeps small classes from being unlearned (ours)."""
    stride: int = 1
    """Losses are computed on targets pooled by this factor: 4 is the student's own resolution and much faster."""
    feature_form: str = "cosine"
    """What the features' loss compares. cosine: direction of each cell's features (ours); mse: features, by the mean
    square of their difference over that of the assistant's; channels: where each channel is strong, by the KL of its
    softmax over the panorama (CWD, channel-wise knowledge distillation)."""
    feature_temperature: float = 4.0
    """Features are divided by it before that softmax, and the loss is multiplied by its square (CWD's 4)."""
    edge_share: float = 0.0
    """Share that pixels at the refined boundary B_ref have of the first three losses, however few they are; all others
    have the rest (edge and body apart, as in BPKD). 0: every pixel counts alike (paper)."""

    def __post_init__(self) -> None:
        weights = tuple(getattr(self, key) for key in LOSSES)
        for key, weight in zip(LOSSES, weights, strict=True):
            require(weight >= 0, f"losses.{key}", weight, "zero or positive")
        require(self.corrections >= 0, "losses.corrections", self.corrections, "zero or positive")
        require(any(weights), "losses", weights, "at least one weight above 0")
        require(0 <= self.class_balance <= 1, "losses.class_balance", self.class_balance, "from 0 to 1")
        require(self.temperature > 0, "losses.temperature", self.temperature, "positive")
        require_choice("losses.stride", self.stride, (1, 2, 4))
        require_choice("losses.feature_form", self.feature_form, ("cosine", "mse", "channels"))
        require(self.feature_temperature > 0, "losses.feature_temperature", self.feature_temperature, "positive")
        require(0 <= self.edge_share < 1, "losses.edge_share", self.edge_share, "at least 0 and below 1")


OPTIONAL_LOSSES = {"feature_form": "cosine", "feature_temperature": 4.0, "edge_share": 0.0}
"""Settings of LossConfig that came later, and the values with which the losses are what they were before them."""


@dataclass(frozen=True)
class DistillConfig:
    """Training of the student from the cache (AdamW, linear warm-up, poly decay)."""

    steps: int = 20_000
    """Optimiser steps."""
    batch_size: int = 4
    """Panoramas, or crops of them, per step."""
    crop_width: int = 0
    """Width of the random crops of the panorama, pixels, a multiple of 32; 0, or the panorama's width or more: whole
    panoramas."""
    learning_rate: float = 6e-5
    """Peak learning rate of the encoder."""
    head_multiplier: float = 10.0
    """Factor on the learning rate of the decode head and the projections (as in SegFormer's own recipe)."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay."""
    warmup_steps: int = 500
    """Linear warm-up from near zero."""
    poly_power: float = 1.0
    """Exponent of the polynomial decay to zero."""
    yaw_roll: bool = True
    """Roll image and targets by a random number of columns (multiples of 32): exact on a panorama."""
    mirror: bool = True
    """Mirror image and targets left to right with probability one half."""
    colour_jitter: float = 0.3
    """Strength of random brightness, contrast and saturation changes of the image alone; 0 for none."""
    checkpoint_every: int = 500
    """Steps between checkpoints, from which a killed run resumes."""
    log_every: int = 20
    """Steps between lines of the log."""
    precision: str = "auto"
    """One of float32, bfloat16 (mixed precision; the losses stay float32), auto (bfloat16 where the
    device computes in it, else float32)."""
    sample_memory_gb: float = 1.0
    """Memory for panoramas read from the cache, gigabytes: a small set is then read only once."""
    average: float = 0.0
    """The student is the average of the weights after every step, of which this share stays in a step: 0.99 averages
    about the last 100. 0: the student is what the last step leaves (ours)."""
    validation: int = 0
    """Panoramas of `data.panoramas` that are not learned from: on these the student is validated while it learns, and
    its best checkpoint is chosen; 0: all are learned from, and nothing is validated."""
    validate_every: int = 500
    """Steps between validations, of which the last is after the last step."""

    def columns_of_step(self, width: int) -> int:
        """How many columns of a panorama of `width` columns a step shows the student."""
        return min(self.crop_width or width, width)

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "checkpoint_every", "log_every", "validate_every"):
            require(getattr(self, key) > 0, f"distill.{key}", getattr(self, key), "a positive number")
        require(self.learning_rate > 0, "distill.learning_rate", self.learning_rate, "positive")
        require(
            self.crop_width >= 0 and self.crop_width % 32 == 0,
            "distill.crop_width",
            self.crop_width,
            "0 or a multiple of 32",
        )
        require(0 <= self.colour_jitter < 1, "distill.colour_jitter", self.colour_jitter, "at least 0 and below 1")
        require_choice("distill.precision", self.precision, ("auto", "float32", "bfloat16"))
        for key in ("warmup_steps", "weight_decay", "head_multiplier", "poly_power", "sample_memory_gb", "validation"):
            require(getattr(self, key) >= 0, f"distill.{key}", getattr(self, key), "zero or positive")
        longest = max(1 - 4 / self.steps, 0)
        require(0 <= self.average <= longest, "distill.average", self.average,
                f"from 0 to {longest:.4g} at {self.steps} steps, or the student stays near its start")  # fmt: skip


OPTIONAL_TRAINING = {"average": 0.0, "validation": 0, "validate_every": 500}
"""Settings of DistillConfig that came later, and the values with which training is what it was before them."""
