"""Stage one's products, each declared once: what decides its content, what it is made of, and how it is computed.

From a declaration follow the product's fingerprint, its description in the store, what the run's record says of it, the
order of work, and whether a panorama is missing it. A further product is one more declaration in `PRODUCTS`.

Declarations are light: what computes is imported when it does. A rerun that finds everything done, and stage two, need
no more than the names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.cache.schema import ASSISTANT, ASSISTANTS_BLEND, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.classes import label_set
from pipeline.ensemble.config import OPTIONAL
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, OPTIONAL_OF_WINDOWS, VIEW_GROUPS
from pipeline.recipe import Recipe, same_network_twice
from pipeline.settings import fingerprint, without_unused
from pipeline.teacher.config import (
    FURTHER_PROMPTS,
    MOST_FURTHER,
    OPTIONAL_OF_ASSISTANT,
    OPTIONAL_OF_BOUNDARY,
    SAM_OPTIONAL,
    AssistantConfig,
)
from pipeline.teacher.identity import assistant_identity, mask_source_identity, weights_digest, weights_path
from stages.files import mask_digest

if TYPE_CHECKING:
    from pipeline.arrays import BoolArray, FloatArray, LabelArray
    from pipeline.cache.records import Arrays
    from stages.panorama_work import PanoramaWork

SPEED_SETTINGS = {"sam": ("points_per_batch", "memory_gib")}
"""Settings on which speed depends and no result."""
_SIZE = ("width", "height", "vertical_fov", "level")
"""Of the settings of panoramas, those that decide what the networks see; `height` follows from two others."""

_OF_EVERY_VIEW = ("tilt", "fov", "size", "source_width")
"""Of the settings of perspective views, those that decide what each of them shows."""


@dataclass(frozen=True)
class FileSetting:
    """A setting that names a file, a folder or a network: it counts by content, wherever that lies."""

    name: str
    """File name or name on the hub; compared where the content is not at hand."""
    content: Callable[[], str]
    """Names the content; raises InputError or WeightsError where it is missing."""
    is_at_hand: bool
    """Whether the content lies on this machine."""
    is_per_panorama: bool = False
    """The folder has a file for each panorama or camera: that of a panorama is in the name of its entry, so that a
    changed one concerns no other."""


@dataclass(frozen=True)
class Product:
    """What stage one makes of every panorama, under a fingerprint of all that determines it."""

    name: str
    """Its name in the store; a valid identifier of lower case."""
    version: int
    """Raised when the code changes what is computed, so that older results are not read any more."""
    settings: Callable[[Recipe], dict[str, Any]]
    """What of a recipe decides its content, as values for JSON; settings that name files are not among them."""
    compute: Callable[[PanoramaWork], Arrays]
    """Makes the arrays of one panorama."""
    files: Callable[[Recipe], dict[str, FileSetting]] = lambda _: {}
    """Settings that decide its content by naming files."""
    inputs: tuple[str, ...] = ()
    """Names of the products that it is computed from, as far as a recipe has them; they are declared earlier."""
    is_asked_for: Callable[[Recipe], bool] = lambda _: True
    """Whether a recipe has this product."""
    asked_for_by: str = ""
    """The table of a recipe that asks for it; empty where every recipe has it."""
    sees_ignore_mask: bool = False
    """Whether it depends on the panorama's own ignore mask, where there is a folder of masks."""
    kind: str = ""
    """What it is, and the folder that it has in the store with others of that kind; empty: its name. Products of one
    kind and of the same content are the same, whichever of a recipe's they are."""

    @property
    def stored_as(self) -> str:
        """Name of its folder in the store."""
        return self.kind or self.name

    def entry(self, source_sha256: str, ignore_mask_sha256: str) -> str:
        """Name of a panorama's arrays in the store, by what is its own.

        Args:
            source_sha256: SHA-256 of the picture's file, hexadecimal.
            ignore_mask_sha256: that of its ignore mask, where there is a folder of masks and it has one; else empty.
        """
        own_mask = f"-{ignore_mask_sha256[:16]}" if self.sees_ignore_mask and ignore_mask_sha256 else ""
        return source_sha256[:32] + own_mask


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """Fingerprint of every product: everything that determines its content, panoramas apart, and nothing else.

    Raises:
        GoodSAMError: weights or the ignore mask are missing.
    """
    prints: dict[str, str] = {}
    for product in products_of(recipe):
        files = {
            key: "of each panorama" if file.is_per_panorama else file.content()
            for key, file in product.files(recipe).items()
        }
        inputs = [prints[name] for name in product.inputs if name in prints]
        settings = product.settings(recipe)
        prints[product.name] = fingerprint(product.stored_as, product.version, settings, files, inputs)
    _require_different_networks(recipe)
    return prints


def _require_different_networks(recipe: Recipe) -> None:
    """Refuse assistants that are one network under several names.

    Raises:
        RecipeError: two are.
    """
    if not recipe.further_assistants:
        return
    digests = {assistant_identity(one).rpartition(" ")[2] for one in recipe.assistants}
    if len(digests) < len(recipe.assistants):
        raise same_network_twice()


def _common_settings(recipe: Recipe) -> dict[str, Any]:
    """Working size and windows, which decide what all networks see."""
    size = {name: getattr(recipe.panorama, name) for name in _SIZE}
    return {"panorama": size, "windows": without_unused(recipe.windows, OPTIONAL_OF_WINDOWS)}


def _mask_settings(recipe: Recipe) -> dict[str, Any]:
    of_files = ("name", "model", "checkpoint") if recipe.sam.kind == "transformers" else ("name", "checkpoint")
    unused = (*of_files, *SPEED_SETTINGS["sam"], *FURTHER_PROMPTS, "shown")
    sam = {name: value for name, value in without_unused(recipe.sam, SAM_OPTIONAL).items() if name not in unused}
    common = _common_settings(recipe)
    if not recipe.sam.sees_windows:
        common.pop("windows")
    return {**common, "sam": sam, **_views_of_sam(recipe)}


def _views_of_sam(recipe: Recipe) -> dict[str, Any]:
    """The perspective views that SAM is shown, as far as it is; their weights are the assistant's."""
    views = recipe.views.only(recipe.sam.view_groups)
    shown = {group: views.count(group) for group in VIEW_GROUPS if views.count(group)}
    return {"views": {**shown, **{name: getattr(views, name) for name in _OF_EVERY_VIEW}}} if shown else {}


def _mask_files(recipe: Recipe) -> dict[str, FileSetting]:
    sam = recipe.sam
    if sam.kind == "transformers":
        return {"sam.name": _network(sam.name, lambda: mask_source_identity(sam))}
    checkpoint = Path(sam.checkpoint)
    return {"sam.checkpoint": FileSetting(checkpoint.name, lambda: weights_digest(sam), weights_path(sam).is_file())}


def _compute_masks(work: PanoramaWork) -> Arrays:
    from pipeline.cache.records import pack_masks
    from pipeline.teacher.projected_masks import inside_panorama

    source, large = work.mask_source(), work.recipe.sam.context
    if large > 0:
        from pipeline.teacher.context import masks_with_context

        windows = [view.footprint for view in work.shared_views]
        return pack_masks(masks_with_context(source, work.image_HW3, windows, large))
    found = zip(work.sam_views, source.many(work.pictures_for_sam()), strict=True)
    return pack_masks([inside_panorama(view, masks) for view, masks in found])


def _prompted_settings(recipe: Recipe) -> dict[str, Any]:
    return {
        "label_set": recipe.classes.names,
        "thin_classes": recipe.classes.thin,
        "stuff_classes": recipe.classes.stuff,
        "sam": _further_prompts(recipe),
        **_which_assistants(recipe),
    }


def _which_assistants(recipe: Recipe) -> dict[str, Any]:
    """That more than one assistant is asked, where they are: it decides which product's probabilities are read."""
    return {"further_assistants": len(recipe.further_assistants)} if recipe.further_assistants else {}


def _further_prompts(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe.sam, name) for name in FURTHER_PROMPTS}


def _compute_prompted(work: PanoramaWork) -> Arrays:
    from pipeline.cache import records
    from pipeline.teacher.prompting import masks_with_prompts
    from pipeline.teacher.sam import SamMaskGenerator

    source, views, pictures = work.mask_source(), work.sam_views, work.pictures_for_sam()
    assert isinstance(source, SamMaskGenerator)  # other kinds of source are refused with these settings
    masks = records.unpack_masks(work.read(MASKS), views)
    assistant_CHW = _read_assistant(work)[0]
    classes, config = work.recipe.classes, work.recipe.sam
    return records.pack_masks(masks_with_prompts(source, pictures, views, masks, assistant_CHW, classes, config))


def _assistant_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    config = assistant_of(recipe, name)
    shows_views = config.views_weight > 0
    unused = ("name", "label_set", "weight", *(() if shows_views else ("views_weight", "views_scale")))
    named = without_unused(config, OPTIONAL_OF_ASSISTANT)
    return {
        **_common_settings(recipe),
        "label_set": recipe.classes.names,
        "assistant": {
            **{key: value for key, value in named.items() if key not in unused},
            "classes": label_set(config.label_set).names,
        },
        **({"views": without_unused(recipe.views, OPTIONAL_OF_VIEWS)} if shows_views else {}),
    }


def _assistant_files(recipe: Recipe, name: str) -> dict[str, FileSetting]:
    assistant = assistant_of(recipe, name)
    if assistant.kind == "demo":
        return {"assistant.name": FileSetting("", lambda: assistant_identity(assistant), is_at_hand=True)}
    return {"assistant.name": _network(assistant.name, lambda: assistant_identity(assistant))}


def _compute_assistant(work: PanoramaWork, name: str) -> Arrays:
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


def _blend_settings(recipe: Recipe) -> dict[str, Any]:
    return {"weights": [further.weight for further in recipe.further_assistants]}


def _compute_blend(work: PanoramaWork) -> Arrays:
    from pipeline.cache import codec, records
    from pipeline.ensemble.assistants import count_agreeing, weighted_mean

    names, weights = assistants_of(work.recipe), [1.0, *_blend_settings(work.recipe)["weights"]]

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


def _ensemble_settings(recipe: Recipe) -> dict[str, Any]:
    return {
        "thin_classes": recipe.classes.thin,
        "panorama": {"find_constant_border": recipe.panorama.find_constant_border},
        "fusion": without_unused(recipe.fusion, OPTIONAL),
        "boundary": without_unused(recipe.boundary, OPTIONAL_OF_BOUNDARY),
        **({"unknown": dataclasses.asdict(recipe.unknown)} if recipe.unknown.ignored_by_student else {}),
        **({"sam": _further_prompts(recipe)} if recipe.sam.prompts_further else {}),  # which masks vote
        **_which_assistants(recipe),
    }


def _ensemble_files(recipe: Recipe) -> dict[str, FileSetting]:
    mask = recipe.panorama.ignore_mask
    path = Path(mask)
    is_there = bool(mask) and path.exists()
    file = FileSetting(path.name, lambda: mask_digest(mask), is_there or not mask, bool(mask) and path.is_dir())
    return {"panorama.ignore_mask": file}


def _compute_ensemble(work: PanoramaWork) -> Arrays:
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


def _network(name: str, content: Callable[[], str]) -> FileSetting:
    path = Path(name).expanduser()
    return FileSetting(path.name if path.is_absolute() else name, content, path.exists())


STAGE_ONE = "teacher-cache"
"""Name of the stage that makes them, in events, logs and locks."""
ASSISTANT_NAMES = (ASSISTANT, *(f"{ASSISTANT}_{number}" for number in range(2, 2 + MOST_FURTHER)))
"""Names of the products of a recipe's assistants, the first one's first."""


def _assistant(name: str) -> Product:
    """The declaration of one of a recipe's assistants."""
    place = ASSISTANT_NAMES.index(name)
    return Product(
        name, 6, partial(_assistant_settings, name=name), partial(_compute_assistant, name=name),
        partial(_assistant_files, name=name), is_asked_for=lambda recipe: place < len(recipe.assistants),
        asked_for_by="further_assistants" if place else "", kind=ASSISTANT,
    )  # fmt: skip


PRODUCTS: tuple[Product, ...] = (
    Product(MASKS, 3, _mask_settings, _compute_masks, _mask_files),
    *map(_assistant, ASSISTANT_NAMES),
    Product(ASSISTANTS_BLEND, 1, _blend_settings, _compute_blend, inputs=ASSISTANT_NAMES,
            is_asked_for=lambda recipe: len(recipe.assistants) > 1, asked_for_by="further_assistants"),
    Product(PROMPTED_MASKS, 1, _prompted_settings, _compute_prompted, inputs=(MASKS, ASSISTANT, ASSISTANTS_BLEND),
            is_asked_for=lambda recipe: recipe.sam.prompts_further, asked_for_by="sam"),
    Product(ENSEMBLE, 3, _ensemble_settings, _compute_ensemble, _ensemble_files,
            (MASKS, ASSISTANT, ASSISTANTS_BLEND, PROMPTED_MASKS), sees_ignore_mask=True),
)  # fmt: skip
"""In the order of work."""


def all_products() -> tuple[Product, ...]:
    """Every product that stage one can make, in the order of work."""
    return PRODUCTS


def products_of(recipe: Recipe) -> tuple[Product, ...]:
    """The products that a recipe has, in the order of work."""
    return tuple(product for product in all_products() if product.is_asked_for(recipe))


def voting_masks(recipe: Recipe) -> str:
    """Name of the product whose masks vote."""
    return PROMPTED_MASKS if recipe.sam.prompts_further else MASKS


def assistants_of(recipe: Recipe) -> tuple[str, ...]:
    """Names of the products of a recipe's assistants."""
    return ASSISTANT_NAMES[: len(recipe.assistants)]


def assistant_of(recipe: Recipe, name: str) -> AssistantConfig:
    """The settings of a recipe's assistant by the name of its product."""
    return recipe.assistants[ASSISTANT_NAMES.index(name)]


def voting_assistant(recipe: Recipe) -> str:
    """Name of the product whose probabilities label the masks: the assistant, or the mean of several."""
    return ASSISTANTS_BLEND if recipe.further_assistants else ASSISTANT


def stored_as(name: str) -> str:
    """The folder in the store of a product by its name; unknown ones, of other versions, have one of their name."""
    return next((declared.stored_as for declared in all_products() if declared.name == name), name)


def product(name: str) -> Product:
    """The declaration of a product by its name."""
    return next(product for product in all_products() if product.name == name)
