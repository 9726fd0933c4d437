"""Settings of fusion."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.classes import LabelSet, folded
from pipeline.settings import require, require_choice, require_fraction

_WEIGHTS = ("none", "lcr", "predicted_iou", "stability", "prompt_stability")


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
    protect_rare: float = 0.0
    """Classes that fewer than this share of the panorama's pixels have, by the assistant, are protected like thin ones;
    0: none are (ours)."""
    keep_confidence: float = 0.0
    """Pixels keep their label inside a mask of another class where the assistant's probability is at least this;
    0: none do (ours)."""
    theta_by: str = "setting"
    """Where theta comes from. setting: `theta`; levels: the mean Lcr of the panorama's masks of like size, which are
    small (less than 2 % of the window), medium (less than 10 %) or large (GoodSAM++; its sizes are not given)."""
    votes: str = "labels"
    """What elects a mask's winner. labels: every pixel has one vote, for its label (the paper's); confidence: its vote
    counts by the assistant's probability; probabilities: it shares its vote among the classes by their probabilities.
    Lcr is the winner's share of the labels unless `lcr_by` says otherwise."""
    lcr_by: str = "labels"
    """What Lcr is a share of. labels: of the mask's pixels, by their labels (the paper's); votes: of the votes that
    elected the winner, so that confident pixels count more for reliability too (GoodSAM++'s weight map)."""
    on_top: str = "small"
    """Which of overlapping masks owns a pixel. small: the smallest; pure: the one with the highest Lcr, corrected for
    chance: (Lcr - s) / (1 - s), where s is the winner's share of the whole window (ours)."""
    weigh_by: str = "none"
    """How masks count where windows differ. none: alike; lcr, predicted_iou, stability or (with sam.jitter)
    prompt_stability: by that figure of each mask, and pixels without a mask by the assistant's probability (ours)."""
    join: float = 0.0
    """Masks of overlapping windows vote as one region where their intersection over union, in what both windows see,
    exceeds this; 0: every mask votes alone (the paper's)."""
    join_rule: str = "all"
    """Which masks take the winner of their joined region; the others keep their own. all: every one; purer: those whose
    own Lcr is not above the region's; doubtful: those that are unreliable on their own, where the region is reliable.
    Lcr is a share of the region in any case (ours)."""
    one_per_prompt: bool = False
    """Of SAM's masks for one prompt (whole, part, part of that) only the largest whose Lcr reaches theta votes, or the
    purest if none does; of such masks that resemble each other, one. It needs sam.keep_levels."""
    thin_runner_up: float = 0.0
    """A mask won by ground, buildings, plants or sky goes to the runner-up if that is a thin class with at least this
    share of the winner's votes, for example 0.2 (the small-class rule of SAM4UDASS); 0: never."""
    paint_from: float = 0.0
    """Unreliable masks whose winner's Lcr is below this keep the assistant's labels, also where others are painted, for
    example 0.5: without a majority nothing is painted; 0: all are (the paper's)."""
    give_back: tuple[str, ...] = ()
    """Confusions in which the assistant is right: "sidewalk in road" gives pixels that it calls sidewalk back to it
    inside masks of road (SAM4UDASS); pixels without a mask are its own in any case."""
    agree: int = 0
    """With `further_assistants`: how many of all assistants must give a pixel the class that their mean gives it; where
    fewer do, the pixel is unreliable (M = 0), as in Leader360V, where two of three labellers must agree. 0: no pixel is
    unreliable for that."""

    def __post_init__(self) -> None:
        require(self.agree == 0 or self.agree >= 2, "fusion.agree", self.agree, "0, or 2 and more assistants")
        require_choice("fusion.unreliable", self.unreliable, ("paint", "keep"))
        require_choice("fusion.theta_by", self.theta_by, ("setting", "levels"))
        require_choice("fusion.votes", self.votes, ("labels", "confidence", "probabilities"))
        require_choice("fusion.lcr_by", self.lcr_by, ("labels", "votes"))
        require_choice("fusion.on_top", self.on_top, ("small", "pure"))
        require_choice("fusion.weigh_by", self.weigh_by, _WEIGHTS)
        require_choice("fusion.join_rule", self.join_rule, ("all", "doubtful", "purer"))
        fractions = (
            "theta", "large_mask", "protect_rare", "keep_confidence", "join", "thin_runner_up",
            "paint_from", "uncovered_confidence", "uncovered_agreement",
        )  # fmt: skip
        for key in fractions:
            require_fraction(f"fusion.{key}", getattr(self, key))


OPTIONAL = {
    "protect_rare": 0.0, "keep_confidence": 0.0, "theta_by": "setting", "votes": "labels", "lcr_by": "labels",
    "on_top": "small", "weigh_by": "none", "join": 0.0, "thin_runner_up": 0.0, "give_back": (),
    "one_per_prompt": False, "join_rule": "all", "paint_from": 0.0, "agree": 0,
}  # fmt: skip
"""Settings that came later, and the values with which fusion is what it was before them."""


def given_back(config: FusionConfig, label_set: LabelSet) -> dict[int, list[int]]:
    """Ids of the classes whose pixels masks leave to the assistant, by the id of the mask's class.

    Raises:
        RecipeError: an entry of `fusion.give_back` is not two classes of the set with " in " between them.
    """
    ids = {folded(name): class_id for class_id, name in enumerate(label_set.names)}
    found: dict[int, list[int]] = {}
    for entry in config.give_back:
        words = entry.split(" in ")
        splits = [(" in ".join(words[:k]), " in ".join(words[k:])) for k in range(1, len(words))]
        pairs = [(folded(said), folded(painted)) for said, painted in splits]
        known = [(ids[said], ids[painted]) for said, painted in pairs if said in ids and painted in ids]
        require(bool(known), "fusion.give_back", entry,
                f'two classes of {label_set.name}, as in "{label_set.names[-1]} in {label_set.names[0]}"')  # fmt: skip
        found.setdefault(known[0][1], []).append(known[0][0])
    return found
