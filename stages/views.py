"""Which views of a panorama the networks of stage one are shown."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.views import View
from pipeline.panorama.windows import Window, window_grid
from pipeline.recipe import Recipe
from pipeline.teacher.config import AssistantConfig


def shared_views(recipe: Recipe) -> tuple[View, ...]:
    """Windows of the working size, which cover the panorama: the assistant is shown them, and SAM unless `sam.shown`
    has others."""
    return window_grid(recipe.panorama.height, recipe.panorama.width, recipe.windows)


def assistant_views(recipe: Recipe, assistant: AssistantConfig | None = None) -> tuple[View, ...]:
    """Perspective views of the working size that only the assistant is shown; none where they have no weight.

    Args:
        recipe: all settings.
        assistant: one of the recipe's; None is the first.
    """
    if (assistant or recipe.assistant).views_weight == 0:
        return ()
    size = (recipe.panorama.height, recipe.panorama.width, recipe.panorama.vertical_fov)
    return perspective_views(*size, recipe.views)


def sam_views(recipe: Recipe) -> tuple[View, ...]:
    """Views of the working size that SAM is shown: windows, then perspective views; they may leave something out."""
    windows = shared_views(recipe) if recipe.sam.sees_windows else ()
    size = (recipe.panorama.height, recipe.panorama.width, recipe.panorama.vertical_fov)
    return (*windows, *perspective_views(*size, recipe.views.only(recipe.sam.view_groups)))


def whole_view(recipe: Recipe) -> View:
    """The whole panorama of the working size as one view."""
    return Window(0, 0, recipe.panorama.height, recipe.panorama.width)


def views_by_size(views: Sequence[View]) -> tuple[tuple[View, ...], ...]:
    """Views of each size, in their order; a network takes images of one size at once."""
    sizes = dict.fromkeys((view.height, view.width) for view in views)
    return tuple(tuple(view for view in views if (view.height, view.width) == size) for size in sizes)
