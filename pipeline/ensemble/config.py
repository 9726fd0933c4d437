"""Settings of fusion."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import require_choice, require_fraction


@dataclass(frozen=True)
class FusionConfig:
    """Cross-task complementary fusion (CTCF; paper figure 2, Eq. 3)."""

    theta: float = 0.7
    """Masks with a lower label coverage ratio (Lcr) of the winner are unreliable: M = 0. Paper: not given. We: 0.7."""
    unreliable: str = "paint"
    """Treatment of unreliable masks. paint: they get their winner, too (the paper's E); keep: they keep the assistant's
    labels and probabilities."""
    protect_thin: bool = True
    """Pixels that the assistant labels with a thin class keep their label inside a large mask of another class (ours:
    mask voting deletes small classes)."""
    large_mask: float = 0.02
    """Share of the window's area from which a mask is large."""
    uncovered_confidence: float = 0.7
    """Pixels without a mask are reliable if the assistant's highest probability is at least this ..."""
    uncovered_agreement: float = 0.8
    """... and the windows' agreement is at least this."""

    def __post_init__(self) -> None:
        require_choice("fusion.unreliable", self.unreliable, ("paint", "keep"))
        for key in ("theta", "large_mask", "uncovered_confidence", "uncovered_agreement"):
            require_fraction(f"fusion.{key}", getattr(self, key))
