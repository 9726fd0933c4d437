"""The search among blends: a first round all over the space, then neighbours of the best, and what is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pipeline.errors import InputError
from pipeline.panorama.config import ViewsConfig
from pipeline.teacher.config import OPTIONAL_OF_ASSISTANT, AssistantConfig
from pipeline.tune.blends import Blend
from pipeline.tune.judge import Judgement
from pipeline.tune.parts import GROUPS

STEPS = (0.25, 0.125)
"""By how much weights are moved from one part to another, coarse first."""
_SETS = (("level",), ("level", "down", "nadir"), ("down", "nadir"), GROUPS)
"""Groups of views that are tried together at first."""
_WHOLE_AND_VIEWS = ((0.0, 1.0), (0.5, 0.5), (0.0, 0.5), (0.25, 0.5))
"""Weights of whole image and views that are tried at first with every set of groups."""
_SCALES = (1.0, 1.5, 2.0)
"""Scales of windows that are tried with the best blend."""
_FOVS = (60.0, 75.0, 90.0, 105.0)
"""Fields of view, degrees, that are tried with the best blend."""
_CONFIDENCE_POWERS, _LATITUDE_POWERS = (0.0, 2.0), (0.0, 1.0)
"""Weights per pixel that are tried: off, and those that were measured (scripts/measure_tune.py)."""
_FEWEST_CLASSES = 0.5
"""Blends with a smaller share of the usual effective number of classes have collapsed."""


def first_round(current: Blend, groups: Sequence[str]) -> list[Blend]:
    """The recipe's own blend, and others all over the space.

    Args:
        current: the recipe's.
        groups: groups of views that may have weight.
    """
    without_views = [Blend(whole, 0.0) for whole in (1.0, 0.75, 0.5, 0.25, 0.0)]
    sets = dict.fromkeys(tuple(group for group in some if group in groups) for some in _SETS)
    with_views = [Blend(whole, views, some) for some in sets if some for whole, views in _WHOLE_AND_VIEWS]
    powers = {name: getattr(current, name) for name in OPTIONAL_OF_ASSISTANT}
    return list(dict.fromkeys([current, *(replace(blend, **powers) for blend in (*without_views, *with_views))]))


def neighbours(blend: Blend, groups: Sequence[str], step: float) -> Iterator[Blend]:
    """Blends that differ in one thing: a step of weight moved from one part to another, the weight of one group, or,
    with the finer step, weights per pixel.

    Args:
        blend: where to start.
        groups: groups of views that may have weight.
        step: weight that is moved; less where a part has less.
    """
    weights = {"whole": blend.whole, "windows": blend.windows, "views": blend.views}
    for giver, has in weights.items():
        for taker in weights:
            moved = min(step, has)
            if giver == taker or moved == 0:
                continue
            after = weights | {giver: has - moved, taker: weights[taker] + moved}
            yield from _weighted(blend, after["whole"], after["views"], groups)
    if blend.views > 0:
        levels = (0.0, 1.0) if step == STEPS[0] else (0.0, 0.5, 1.0)
        changes = ((group, level) for group in groups for level in levels if blend.weight_of.get(group, 0) != level)
        for group, level in changes:
            weights = blend.weight_of | {group: level}
            if max(weights.values()) == 1:  # of all alike, smaller ones are no other blend
                yield blend.with_groups(weights)
    if step != STEPS[0]:
        yield from (other for other in _by_pixel(blend) if other != blend)


def variants(best: Blend, assistant: AssistantConfig, views: ViewsConfig, shared: Collection[str] = ()) -> list[Blend]:
    """The best blend with windows at other scales and with other fields of view, where these have weight. They need
    predictions of their own, so they are tried last.

    Args:
        best: of the blends with the recipe's scale and field of view.
        assistant: the recipe's.
        views: the recipe's.
        shared: groups of views that SAM is shown, too: with another field of view, its masks would be others.
    """
    scales = [scale for scale in _SCALES if scale != assistant.window_scale and best.windows > 0]
    fovs = [fov for fov in _FOVS if fov != views.fov and best.views > 0 and not shared]
    return [replace(best, window_scale=scale) for scale in scales] + [replace(best, fov=fov) for fov in fovs]


def _weighted(blend: Blend, whole: float, views: float, groups: Sequence[str]) -> Iterator[Blend]:
    """A blend with other weights; views that had none begin with the first group."""
    whole = round(whole, 6)
    views = round(min(views, 1 - whole), 6)  # both rounded up are more than 1
    if views == 0:
        yield replace(blend, whole=whole, views=views, groups=(), group_weights=())
    elif blend.groups or groups:
        named = (blend.groups, blend.group_weights) if blend.groups else (tuple(groups[:1]), ())
        yield replace(blend, whole=whole, views=views, groups=named[0], group_weights=named[1])


def _by_pixel(blend: Blend) -> Iterator[Blend]:
    """A blend with and without its weights per pixel."""
    for power in _CONFIDENCE_POWERS:
        yield replace(blend, confidence_power=power)
    for power in _LATITUDE_POWERS if blend.views > 0 else ():
        yield replace(blend, latitude_power=power)


class Search:
    """Says what to judge next: all over the space, then better and better neighbours of the best."""

    def __init__(self, current: Blend, groups: Sequence[str]) -> None:
        """A search that starts from the recipe's own blend.

        Args:
            current: the recipe's.
            groups: groups of views that may have weight.
        """
        self._first, self._groups = first_round(current, groups), tuple(groups)
        self._steps = list(STEPS)

    def next_round(self, judged: Mapping[Blend, Judgement]) -> list[Blend]:
        """Blends to judge next, at first the recipe's own; none once no neighbour of the best is left.

        Args:
            judged: all that were judged so far.

        Raises:
            InputError: as `choose`.
        """
        if left := [blend for blend in self._first if blend not in judged]:
            return left
        best = choose(judged, self._groups).best
        while self._steps:
            near = dict.fromkeys(neighbours(best, self._groups, self._steps[0]))
            if left := [blend for blend in near if blend not in judged]:
                return left
            self._steps.pop(0)
        return []


@dataclass(frozen=True)
class Choice:
    """The outcome of a search."""

    best: Blend
    """The blend with the highest score that has not collapsed."""
    collapsed: tuple[Blend, ...]
    """Blends that were refused: they know far fewer classes than most."""


def choose(judged: Mapping[Blend, Judgement], groups: Sequence[str] = GROUPS) -> Choice:
    """The best of the blends that were judged; of equal ones the first.

    Args:
        judged: blends and their scores.
        groups: groups of views that may have weight in it.

    Raises:
        InputError: all collapsed, or SAM found no masks to judge them by.
    """
    usual = median(judgement.classes for judgement in judged.values())
    collapsed = tuple(
        blend for blend, judgement in judged.items()
        if not judgement.score > 0 or judgement.classes < _FEWEST_CLASSES * usual
    )  # fmt: skip
    left = [blend for blend in judged if blend not in collapsed and set(blend.groups) <= set(groups)]
    if not left:
        raise InputError("none of the settings can be judged",
                         "SAM must find masks, and the assistant more than one class in them",
                         "Check SAM and the assistant on a few panoramas with `goodsam teacher-cache` and "
                         "`goodsam eval`")  # fmt: skip
    return Choice(max(left, key=lambda blend: judged[blend].score), collapsed)
