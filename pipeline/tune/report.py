"""The table of what a search tried, and how far its choice is ahead of the recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from pipeline.tune.blends import Blend
from pipeline.tune.judge import Judgement, mean_judgement

_COLUMNS = ("score", "purity", "roll", "views", "MaNo", "SND", "seconds", "ahead", "assistant sees")
LEGEND = (
    "score: what the choice was made by, four fifths purity corrected for chance and one fifth roll; one class "
    "everywhere has 0. purity: share of the masks' pixels with their mask's winning class. roll: agreement with the "
    "prediction of the rolled panorama, corrected for chance. views: agreement of overlapping windows and views; it, "
    "MaNo and SND are for comparison. seconds: the assistant's, per panorama. ahead: panoramas on which the score is "
    "above that of the recipe's own blend."
)


@dataclass(frozen=True)
class Trial:
    """A blend that was judged."""

    blend: Blend
    """Its weights."""
    judgements: Sequence[Judgement]
    """One per panorama, in the same order for all trials."""
    seconds: float
    """What the assistant takes for its parts, per panorama."""

    @property
    def mean(self) -> Judgement:
        """The mean of every score."""
        return mean_judgement(self.judgements)

    def ahead_of(self, other: Trial) -> int:
        """Number of panoramas on which its score is above another's."""
        return sum(ours.score > theirs.score for ours, theirs in zip(self.judgements, other.judgements, strict=True))


def table(trials: Mapping[Blend, Trial], current: Blend, best: Blend, collapsed: Sequence[Blend], most: int = 0) -> str:
    """A table in Markdown, the best first.

    Args:
        trials: all, by blend.
        current: the recipe's own.
        best: the choice.
        collapsed: those that were refused.
        most: rows, apart from the choice's and the recipe's; 0 for all.
    """
    ranked = sorted(trials.values(), key=lambda trial: -trial.mean.score)
    shown = [trial for rank, trial in enumerate(ranked) if not most or rank < most or trial.blend in (current, best)]
    rows = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---:|" * (len(_COLUMNS) - 1) + "---|"]
    for trial in shown:
        mean = trial.mean
        of_current = f"{trial.ahead_of(trials[current])} of {len(trial.judgements)}"
        marks = {"chosen": trial.blend == best, "recipe": trial.blend == current, "collapsed": trial.blend in collapsed}
        said = "".join(f" ({mark})" for mark, is_so in marks.items() if is_so)
        numbers = [f"{value:.4f}" for value in (mean.score, mean.purity, mean.roll, mean.views, mean.mano)]
        cells = [*numbers, f"{mean.snd:.2f}", f"{trial.seconds:.1f}", of_current, f"{trial.blend.label}{said}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def verdict(trials: Mapping[Blend, Trial], current: Blend, best: Blend) -> str:
    """How far the choice is ahead of the recipe's own blend, with the standard error over panoramas, in a sentence."""
    count = len(trials[current].judgements)
    if best == current:
        return f"the recipe's own blend is the best of {len(trials)} on {count} panoramas: {current.label}"
    ours, theirs = trials[best].judgements, trials[current].judgements
    differences = [our.score - their.score for our, their in zip(ours, theirs, strict=True)]
    error = f" +- {stdev(differences) / math.sqrt(count):.4f}" if count > 1 else ""
    return (
        f"chosen: {best.label}; its score is {fmean(differences):.4f}{error} above that of the recipe's own "
        f"({current.label}), and above it on {trials[best].ahead_of(trials[current])} of {count} panoramas"
    )
