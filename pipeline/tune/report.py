"""The table of what a search tried, and how far its choice is ahead of the recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from pipeline.tune.blends import Blend
from pipeline.tune.judge import Judgement, mean_judgement
from pipeline.tune.sureness import Comparison

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

    def ahead_of(self, other: Trial) -> list[float]:
        """How far its score is above another's on each panorama that has one: SAM has found masks there."""
        both = zip(self.judgements, other.judgements, strict=True)
        return [ours.score - theirs.score for ours, theirs in both if not math.isnan(ours.score - theirs.score)]


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
        ahead = trial.ahead_of(trials[current])
        of_current = f"{_count_above(ahead)} of {len(ahead)}"
        marks = {"chosen": trial.blend == best, "recipe": trial.blend == current, "collapsed": trial.blend in collapsed}
        said = "".join(f" ({mark})" for mark, is_so in marks.items() if is_so)
        numbers = [f"{value:.4f}" for value in (mean.score, mean.purity, mean.roll, mean.views, mean.mano)]
        cells = [*numbers, f"{mean.snd:.2f}", f"{trial.seconds:.1f}", of_current, f"{trial.blend.label}{said}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def groups_table(groups: Mapping[str, Comparison]) -> str:
    """A table in Markdown of how sure the assistant is of every group of views, and what that means.

    Args:
        groups: those that see something.
    """
    rows = ["| views | sure | the whole image there | error | |", "|---|---:|---:|---:|---|"]
    for group, (views, whole, error) in groups.items():
        said = "left out" if groups[group].is_less_sure else ""
        of_error = f"{error:.3f}" if math.isfinite(error) else "unknown"
        rows.append(f"| {group} | {views:.3f} | {whole:.3f} | {of_error} | {said} |")
    rows += ["", "sure: 1 - entropy / log C, the mean over what the views see; error: standard error of the difference "
             "over panoramas. A network is less sure of what it was not trained on: views that make it less sure than "
             "the whole image does, by more than the error, are left out."]  # fmt: skip
    return "\n".join(rows) if groups else "no perspective view sees anything of these panoramas"


def verdict(trials: Mapping[Blend, Trial], current: Blend, best: Blend) -> str:
    """How far the choice is ahead of the recipe's own blend, with the standard error over panoramas, in a sentence."""
    ahead = trials[best].ahead_of(trials[current])
    count = len(ahead)
    if best == current:
        return f"the recipe's own blend is the best of {len(trials)} on {count} panoramas: {current.label}"
    error = f" +- {stdev(ahead) / math.sqrt(count):.4f}" if count > 1 else ""
    mean = fmean(ahead)
    return (
        f"chosen: {best.label}; its score is {abs(mean):.4f}{error} {'below' if mean < 0 else 'above'} that of the "
        f"recipe's own ({current.label}), and above it on {_count_above(ahead)} of {count} panoramas"
    )


def _count_above(ahead: Sequence[float]) -> int:
    return sum(difference > 0 for difference in ahead)
