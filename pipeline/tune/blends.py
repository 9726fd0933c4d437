"""Blends of the assistant: which parts it is shown and how much each counts, and the settings of a recipe for that.

Legend: C classes, N pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipeline.arrays import AnyFloatArray, FloatArray
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, ViewsConfig
from pipeline.teacher.blending import Blender, blend_shares
from pipeline.teacher.config import OPTIONAL_OF_ASSISTANT, AssistantConfig
from pipeline.tune.parts import GROUPS, WHOLE, WINDOWS, Part, count_of

_DIGITS = 6
"""Of weights: sums of eighths and the like are exact."""


@dataclass(frozen=True)
class Blend:
    """How much each part counts; the windows have what is left of 1."""

    whole: float
    """Weight of the whole image, 0..1."""
    views: float
    """Weight of the perspective views, 0..1."""
    groups: tuple[str, ...] = ()
    """Which groups of perspective views, in the order of GROUPS; none without weight."""
    group_weights: tuple[float, ...] = ()
    """How much each of `groups` counts among them, above 0 and at most 1; empty: all count 1."""
    window_scale: float = 0.0
    """Factor by which windows are resized for the assistant; 0 for the recipe's."""
    fov: float = 0.0
    """Field of view of the perspective views, degrees; 0 for the recipe's."""
    confidence_power: float = 0.0
    """As `AssistantConfig` has it."""
    latitude_power: float = 0.0
    """As `AssistantConfig` has it."""

    def __post_init__(self) -> None:
        if bool(self.groups) != (self.views > 0) or not 0 <= self.whole + self.views <= 1 + 1e-9:
            raise ValueError(f"{self} is no blend: weights are at most 1, and groups are named where they have weight")
        if self.group_weights and (len(self.group_weights) != len(self.groups) or set(self.group_weights) == {1.0}):
            raise ValueError(f"{self} is no blend: groups have a weight each, or none where all count 1")

    @property
    def windows(self) -> float:
        """Weight of the windows."""
        return round(max(0.0, 1 - self.whole - self.views), _DIGITS)

    @property
    def weight_of(self) -> dict[str, float]:
        """How much each group counts among all."""
        return dict(zip(self.groups, self.group_weights or (1.0,) * len(self.groups), strict=True))

    def with_groups(self, weight_of: Mapping[str, float]) -> Blend:
        """The same with other groups.

        Args:
            weight_of: how much each counts; those with 0 are left out. One at least has more.
        """
        weights = {group: weight_of[group] for group in GROUPS if weight_of.get(group, 0) > 0}
        alike = set(weights.values()) == {1.0}
        return replace(self, groups=tuple(weights), group_weights=() if alike else tuple(weights.values()))

    def of_seeing(self, groups: Collection[str]) -> Blend:
        """The blend that says the same where of its groups only some see anything of the panorama.

        Args:
            groups: those that do.
        """
        weights = {group: weight for group, weight in self.weight_of.items() if group in groups}
        return self.with_groups(weights) if weights else replace(self, views=0.0, groups=(), group_weights=())

    @property
    def label(self) -> str:
        """Its parts with weight, for a table: "0.5 whole + 0.5 views (level, up x0.5)"."""
        named = [group if weight == 1 else f"{group} x{weight:g}" for group, weight in self.weight_of.items()]
        views = f"views ({', '.join(named)}{f'; {self.fov:g} degrees' if self.fov else ''})"
        windows = f"windows x{self.window_scale:g}" if self.window_scale else "windows"
        weights = {"whole": self.whole, windows: self.windows, views: self.views}
        powers = {"confidence": self.confidence_power, "latitude": self.latitude_power}
        by_pixel = "".join(f", by {name}^{power:g}" for name, power in powers.items() if power > 0)
        return " + ".join(f"{weight:.3g} {name}" for name, weight in weights.items() if weight > 0) + by_pixel


def blend_of(assistant: AssistantConfig, views: ViewsConfig) -> Blend:
    """The blend that a recipe's settings ask for."""
    powers = {name: getattr(assistant, name) for name in OPTIONAL_OF_ASSISTANT}
    weights = {group: views.weight(group) for group in GROUPS if views.count(group) > 0}
    if not weights or assistant.views_weight == 0:
        return Blend(assistant.whole_weight, 0.0, **powers)
    return Blend(assistant.whole_weight, assistant.views_weight, tuple(weights), **powers).with_groups(weights)


def settings_of(
    blend: Blend, assistant: AssistantConfig, views: ViewsConfig, shared: Collection[str] = ()
) -> tuple[AssistantConfig, ViewsConfig]:
    """A recipe's settings, changed to ask for a blend; those of perspective views stay where they have no weight.

    Args:
        blend: what they are to ask for.
        assistant: the recipe's.
        views: the recipe's.
        shared: groups of views that SAM is shown, too: they are not removed, but lose their weight for the assistant.
    """
    assistant, views = _variant(blend, assistant, views)
    powers = {name: getattr(blend, name) for name in OPTIONAL_OF_ASSISTANT}
    assistant = replace(assistant, whole_weight=blend.whole, views_weight=blend.views, **powers)
    if not blend.groups:
        return assistant, views
    counts = {group: count_of(group, views) for group in blend.groups}
    kept = {group: getattr(views, group) for group in shared if getattr(views, group) > 0}
    weight_of = dict.fromkeys(kept, 0.0) | blend.weight_of
    weights = OPTIONAL_OF_VIEWS | {f"{group}_weight": weight for group, weight in weight_of.items()}
    return assistant, replace(views, **(dict.fromkeys(GROUPS, 0) | counts | kept), **weights)


def parts_of(blend: Blend, assistant: AssistantConfig, views: ViewsConfig) -> tuple[Part, ...]:
    """The parts that a blend is made of. Windows are always among them: they fill what others do not see."""
    assistant, views = _variant(blend, assistant, views)
    whole = [Part(WHOLE, assistant.whole_scale)] if blend.whole > 0 else []
    groups = [Part.of_group(group, views, assistant.views_scale) for group in blend.groups]
    return (*whole, Part(WINDOWS, assistant.window_scale), *groups)


def _variant(blend: Blend, assistant: AssistantConfig, views: ViewsConfig) -> tuple[AssistantConfig, ViewsConfig]:
    """The settings with the blend's own scale of windows and field of view."""
    if blend.window_scale:
        assistant = replace(assistant, window_scale=blend.window_scale)
    return assistant, replace(views, fov=blend.fov) if blend.fov else views


class SeenPart(NamedTuple):
    """A part's prediction at the pixels that are kept."""

    probabilities_CN: FloatArray
    """Probabilities; 0 where it sees nothing."""
    weights_N: FloatArray
    """Its summed blend weights; of no interest for the whole image and the windows."""


def mix(blend: Blend, seen: Mapping[str, SeenPart], cosines_N: AnyFloatArray) -> FloatArray:
    """The blended probabilities [C, N], as `stitch_assistant` has them.

    Args:
        blend: the weights.
        seen: the blend's parts by their kind.
        cosines_N: cosine of the pixels' latitude.
    """
    windows_CN = seen[WINDOWS].probabilities_CN.copy()
    blender = Blender(windows_CN, cosines_N, blend.confidence_power, blend.latitude_power)
    of_whole: float | FloatArray = blend.whole
    if blend.groups:
        views = _together(blend, seen)
        of_views_N, of_whole = blend_shares(blend.whole, blend.views, np.minimum(2 * views.weights_N, 1))
        blender.add(views.probabilities_CN, of_views_N, is_flat=False)
    if blend.whole > 0:
        blender.add(seen[WHOLE].probabilities_CN.copy(), of_whole, is_flat=True)
    return blender.blended_CN


def _together(blend: Blend, seen: Mapping[str, SeenPart]) -> SeenPart:
    """The blend's groups of perspective views as one."""
    weights_GN = [np.float32(weight) * seen[group].weights_N for group, weight in blend.weight_of.items()]
    total_N = np.asarray(np.sum(weights_GN, axis=0), np.float32)
    divisor_N = np.where(total_N > 0, total_N, np.float32(1))
    views_CN = np.zeros_like(seen[WINDOWS].probabilities_CN)
    for group, weights_N in zip(blend.groups, weights_GN, strict=True):
        views_CN += seen[group].probabilities_CN * (weights_N / divisor_N)
    return SeenPart(views_CN, total_N)
