"""What the assistant is adapted on: the cached ensemble of panoramas that are learned from, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.adapt.batches import AdaptSample, Way
from pipeline.arrays import ImageArray
from pipeline.panorama.level import level_image
from pipeline.recipe import Recipe
from pipeline.student.reader import StoreReader
from stages.panorama_work import reduced_width
from stages.product_settings import voting_assistant
from stages.reading import RunReader
from stages.splits import SplitPanorama
from stages.tune import spread
from stages.views import assistant_views, shared_views, views_by_size, whole_view

_MOST_HELD_OUT = 4
"""At most one of so many panoramas is held out."""


@dataclass(frozen=True)
class CachedSamples:
    """An `AdaptReader` of what stage one has stored of a run."""

    reader: RunReader
    """Of the panoramas that are learned from."""

    def __call__(self, panorama_id: str) -> AdaptSample:
        """The sample of one panorama.

        Raises:
            CacheError: it is not in the cache, damaged, or its file has changed.
            InputError: the image cannot be read.
        """
        reader = self.reader
        # Neither features nor people's corrections: as in the paper, E and M alone.
        stored = StoreReader(reader.read, reader.image, hard=reader.recipe.adapt.hard,
                             blend=voting_assistant(reader.recipe))  # fmt: skip
        learned = stored(panorama_id)
        return AdaptSample(learned, self._source(panorama_id, learned.image_HW3))

    def _source(self, panorama_id: str, image_HW3: ImageArray) -> ImageArray:
        """The panorama that perspective views are cut from; the image itself where they need no larger one."""
        reader, config = self.reader, self.reader.recipe.panorama
        if not assistant_views(reader.recipe):
            return image_HW3
        width = reduced_width(config, reader.recipe.views.source_width, reader.placement(panorama_id).canvas_width)
        if width == config.width:
            return image_HW3
        panorama = reader.opened(panorama_id, width)
        return level_image(panorama.image_HW3, panorama.placement)


def ways(recipe: Recipe) -> tuple[Way, ...]:
    """How stage one shows a panorama to the assistant: windows, perspective views where they have weight, and the whole
    image, which is predicted in any case."""
    config, views = recipe.assistant, assistant_views(recipe)
    return (
        *(Way("windows", own, config.window_scale) for own in views_by_size(shared_views(recipe))),
        *((Way("views", views, config.views_scale, from_source=True),) if views else ()),
        Way("whole", (whole_view(recipe),), config.whole_scale),
    )


def split_for_comparison(
    panoramas: list[SplitPanorama], cached: RunReader, most: int
) -> tuple[list[SplitPanorama], list[SplitPanorama]]:
    """(panoramas to learn from, panoramas to compare on) among the cached ones; the latter are spread evenly.

    Panoramas of equal content are on one side. Where there are fewer than four, none can be spared: the comparison is
    then on those that are learned from.

    Args:
        panoramas: all to choose from.
        cached: knows which are in the cache, and their content.
        most: how many to hold out at most; 0 for none.
    """
    known = [panorama for panorama in panoramas if panorama.id in cached.paths]
    if most == 0:
        return known, []
    first_of: dict[str, SplitPanorama] = {}
    for panorama in known:
        first_of.setdefault(cached.records[panorama.id].sha256, panorama)
    distinct = list(first_of.values())
    count = min(most, len(distinct) // _MOST_HELD_OUT)
    if count == 0:
        return known, spread(distinct, most)
    held_out = spread(distinct, count)
    contents = {cached.records[panorama.id].sha256 for panorama in held_out}
    return [panorama for panorama in known if cached.records[panorama.id].sha256 not in contents], held_out
