"""How each of stage one's products is computed of a panorama.

What computes is imported when it does: the declarations in `products`, which name these functions, are light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.cache.schema import ASSISTANT, ASSISTANTS_BLEND, MASKS
from stages.product_settings import assistant_of, assistants_of, blend_settings, voting_assistant, voting_masks

if TYPE_CHECKING:
    from pipeline.arrays import BoolArray, FloatArray, ImageArray, LabelArray
    from pipeline.cache.records import Arrays
    from pipeline.teacher.mask_source import MaskSource
    from pipeline.teacher.masks import MaskSet
    from stages.panorama_work import PanoramaWork


def compute_masks(work: PanoramaWork) -> Arrays:
    """SAM's automatic masks of every window and view that it is shown."""
    from pipeline.cache.records import pack_masks
    from pipeline.teacher.projected_masks import inside_panorama

    source, large = work.mask_source(), work.recipe.sam.context
    if large > 0:
        from pipeline.teacher.context import masks_with_context

        windows = [view.footprint for view in work.shared_views]
        return pack_masks(masks_with_context(source, work.image_HW3, windows, large))
    found = zip(work.sam_views, _masks_of(work.pictures_for_sam(), source, work), strict=True)
    return pack_masks([inside_panorama(view, masks) for view, masks in found])


def _masks_of(pictures: Sequence[ImageArray], source: MaskSource, work: PanoramaWork) -> list[MaskSet]:
    """The grid's masks of each picture; their embeddings are kept where the assistant will prompt, too."""
    if not work.recipe.sam.prompts_further:
        return source.many(pictures)
    from pipeline.teacher.sam import SamMaskGenerator

    assert isinstance(source, SamMaskGenerator)  # other kinds of source are refused with these settings
    return source.many(pictures, work.kept_embeddings)


def compute_prompted(work: PanoramaWork) -> Arrays:
    """The grid's masks, and those that answer the assistant's prompts."""
    from pipeline.cache import records
    from pipeline.teacher.prompting import masks_with_prompts
    from pipeline.teacher.sam import SamMaskGenerator

    source, views, pictures = work.mask_source(), work.sam_views, work.pictures_for_sam()
    assert isinstance(source, SamMaskGenerator)  # other kinds of source are refused with these settings
    masks = records.unpack_masks(work.read(MASKS), views)
    assistant_CHW = _read_assistant(work)[0]
    classes, config = work.recipe.classes, work.recipe.sam
    return records.pack_masks(masks_with_prompts(source, pictures, views, masks, assistant_CHW, classes, config,
                                                 work.kept_embeddings))  # fmt: skip


def compute_assistant(work: PanoramaWork, name: str) -> Arrays:
    """The stitched prediction of the assistant whose product has this name."""
    from pipeline.cache.records import pack_assistant
    from pipeline.teacher.rectification import stitch_assistant
    from stages.views import assistant_views

    recipe, config = work.recipe, assistant_of(work.recipe, name)
    views = assistant_views(recipe, config)
    prediction = stitch_assistant(
        work.image_HW3,
        work.shared_views,
        work.assistant(name),
        config,
        recipe.classes,
        more_views=views,
        more_image_HW3=work.image_at(recipe.views.source_width) if views else None,
        vertical_fov=recipe.panorama.vertical_fov,
    )
    return pack_assistant(prediction)


def compute_blend(work: PanoramaWork) -> Arrays:
    """The mean of all assistants, and how many of them have its class."""
    from pipeline.cache import codec, records
    from pipeline.ensemble.assistants import count_agreeing, weighted_mean

    names, weights = assistants_of(work.recipe), [1.0, *blend_settings(work.recipe)["weights"]]

    def each(array: str, decode: Callable[[Any], FloatArray]) -> Iterator[FloatArray]:
        return (decode(work.read(name, (array,))[array]) for name in names)

    blend_CHW = weighted_mean(each("assistant_probabilities", codec.decode_probabilities), weights)
    agreeing_HW = count_agreeing(blend_CHW, each("assistant_probabilities", codec.decode_probabilities))
    return records.pack_blend(blend_CHW, weighted_mean(each("agreement", codec.decode_unit), weights), agreeing_HW)


def _read_assistant(work: PanoramaWork) -> tuple[FloatArray, FloatArray, tuple[LabelArray, ...]]:
    """What fusion reads of the assistant, or of all of them: probabilities [C, H, W], agreement [H, W], and the labels
    of the views, which are the first one's."""
    from pipeline.cache import records

    voting = voting_assistant(work.recipe)
    of_panorama, of_views = records.FUSED[:-1], records.FUSED[-1:]
    return records.unpack_fused({**work.read(voting, of_panorama), **work.read(ASSISTANT, of_views)}, work.shared_views)


def _disputed(work: PanoramaWork) -> BoolArray | None:
    """Pixels on whose class too few assistants agree; None where nothing is asked of them."""
    from pipeline.ensemble.assistants import enough_agree

    agree = work.recipe.fusion.agree
    if agree == 0:
        return None
    agreeing_HW = work.read(ASSISTANTS_BLEND, ("agreeing_assistants",))["agreeing_assistants"]
    return ~enough_agree(agreeing_HW, agree, len(work.recipe.assistants))


def compute_ensemble(work: PanoramaWork) -> Arrays:
    """Fuse what the store holds, not what memory holds: a resumed run then equals a fresh one."""
    from pipeline.cache import records
    from pipeline.teacher.boundary import refine_boundary
    from pipeline.teacher.unknown import find_unknown
    from pipeline.teacher.vote import fuse

    recipe, views = work.recipe, work.sam_views
    masks = records.unpack_masks(work.read(voting_masks(recipe)), views)
    assistant_CHW, agreement_HW, window_labels_Khw = _read_assistant(work)
    ignored_HW = work.ignored_HW
    fusion = fuse(assistant_CHW, agreement_HW, ignored_HW, views, masks, recipe.classes, recipe.fusion,
                  _disputed(work))  # fmt: skip
    boundary_HW = refine_boundary(views, masks, window_labels_Khw, ignored_HW, recipe.boundary, work.shared_views)
    arrays = records.pack_ensemble(fusion, boundary_HW, ignored_HW)
    if recipe.unknown.ignored_by_student:
        found = find_unknown(assistant_CHW, ignored_HW, views, masks, recipe.classes, recipe.unknown)
        arrays["unknown"] = (found.numbers_HW > 0).astype(np.uint8)
    return arrays
