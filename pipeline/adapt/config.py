"""Settings of the adaptation of the assistant to the panoramas."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import require, require_choice
from pipeline.student.config import DistillConfig, LossConfig

ADAPT_LOSSES = ("consistency", "ensemble", "reliable")
"""Names of the losses, which are the names of their weights in AdaptConfig."""


OPTIONAL_OF_ADAPT = {"share": 1.0}
"""Settings that came later, and the values with which they change nothing."""


@dataclass(frozen=True)
class AdaptConfig:
    """Training of the assistant on its own teacher cache, without labels (`goodsam adapt`; AdamW, linear warm-up, poly
    decay). No other command reads these settings."""

    steps: int = 600
    """Optimiser steps; they show windows, perspective views (where they have weight) and the whole image in turn."""
    batch_size: int = 2
    """Panoramas per step: two overlapping windows or views of each, or each as a whole."""
    learning_rate: float = 2e-5
    """Peak learning rate of all weights."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay."""
    warmup_steps: int = 20
    """Linear warm-up from near zero."""
    poly_power: float = 1.0
    """Exponent of the polynomial decay to zero."""
    consistency: float = 1.0
    """Weight of L_CC: two windows or views should say the same where they overlap."""
    ensemble: float = 1.0
    """Weight of CE(S, E): assistant against the ensemble."""
    reliable: float = 1.0
    """Weight of CE(S, E_H): assistant against the high-confidence ensemble."""
    share: float = 1.0
    """Share of the trained weights in those of the adapted network; the rest are the weights before. 1: the trained
    ones alone (ours, as fine-tuned networks are averaged with their start: it keeps more of what they knew)."""
    hard: bool = False
    """Learn from E's labels (CE, as drawn in the paper), rather than its soft form (KL; ours)."""
    class_balance: float = 0.0
    """Pixels of rarer classes weigh more in the losses against E: the class's share of the batch to the power of minus
    this. 0: all weigh the same (paper)."""
    mirror: bool = True
    """Mirror image and targets left to right with probability one half."""
    colour_jitter: float = 0.1
    """Strength of random brightness, contrast and saturation changes of the image; 0 for none."""
    held_out: int = 4
    """Panoramas that are not learned from, at most a quarter of all: the adapted assistant is used only if it is better
    than the old one on them by what needs no label. 0: it is used without being compared."""
    seed: int = 0
    """Seed of all that is random."""
    checkpoint_every: int = 50
    """Steps between checkpoints, from which a killed run resumes."""
    log_every: int = 10
    """Steps between lines of the log."""
    precision: str = "auto"
    """One of float32, bfloat16 (mixed precision; the losses stay float32), auto (bfloat16 where the device computes in
    it, else float32)."""

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "checkpoint_every", "log_every"):
            require(getattr(self, key) > 0, f"adapt.{key}", getattr(self, key), "a positive number")
        require(self.learning_rate > 0, "adapt.learning_rate", self.learning_rate, "positive")
        weights = tuple(getattr(self, key) for key in ADAPT_LOSSES)
        for key, weight in zip(ADAPT_LOSSES, weights, strict=True):
            require(weight >= 0, f"adapt.{key}", weight, "zero or positive")
        # Consistency alone is best served by one class everywhere.
        require(self.ensemble > 0 or self.reliable > 0, "adapt.ensemble and adapt.reliable",
                (self.ensemble, self.reliable), "at least one above 0")  # fmt: skip
        require(0 < self.share <= 1, "adapt.share", self.share, "above 0 and at most 1")
        require(0 <= self.class_balance <= 1, "adapt.class_balance", self.class_balance, "from 0 to 1")
        require(0 <= self.colour_jitter < 1, "adapt.colour_jitter", self.colour_jitter, "at least 0 and below 1")
        require(0 <= self.seed < 2**63, "adapt.seed", self.seed, "zero or a positive number of at most 63 bits")
        require_choice("adapt.precision", self.precision, ("auto", "float32", "bfloat16"))
        for key in ("warmup_steps", "weight_decay", "poly_power", "held_out"):
            require(getattr(self, key) >= 0, f"adapt.{key}", getattr(self, key), "zero or positive")

    @property
    def schedule(self) -> DistillConfig:
        """Steps, learning rates, log and checkpoints, as stage two's schedule has them."""
        return DistillConfig(steps=self.steps, learning_rate=self.learning_rate, head_multiplier=1.0,
                             weight_decay=self.weight_decay, warmup_steps=self.warmup_steps, poly_power=self.poly_power,
                             checkpoint_every=self.checkpoint_every, log_every=self.log_every)  # fmt: skip

    @property
    def against_ensemble(self) -> LossConfig:
        """How a prediction is compared with E, as stage two's divergence takes it."""
        return LossConfig(hard=self.hard, class_balance=self.class_balance)
