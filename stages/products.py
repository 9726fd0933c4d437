"""Stage one's products, each declared once: what decides its content, what it is made of, and how it is computed.

From a declaration follow the product's fingerprint, its description in the store, what the run's record says of it, the
order of work, and whether a panorama is missing it. A further product is one more declaration in `PRODUCTS`.

Declarations are light: what computes is imported when it does. A rerun that finds everything done, and stage two, need
no more than the names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.classes import label_set
from pipeline.ensemble.config import OPTIONAL
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, OPTIONAL_OF_WINDOWS
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint, without_unused
from pipeline.teacher.config import FURTHER_PROMPTS, OPTIONAL_OF_ASSISTANT, OPTIONAL_OF_BOUNDARY, SAM_OPTIONAL
from pipeline.teacher.identity import assistant_identity, mask_source_identity, weights_digest, weights_path
from stages.files import mask_digest

if TYPE_CHECKING:
    from pipeline.cache.records import Arrays
    from stages.panorama_work import PanoramaWork

SPEED_SETTINGS = {"sam": ("points_per_batch", "memory_gib")}
"""Settings on which speed depends and no result."""
_SIZE = ("width", "height", "vertical_fov", "level")
"""Of the settings of panoramas, those that decide what the networks see; `height` follows from two others."""


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
    sees_ignore_mask: bool = False
    """Whether it depends on the panorama's own ignore mask, where there is a folder of masks."""

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
        prints[product.name] = fingerprint(product.name, product.version, product.settings(recipe), files, inputs)
    return prints


def _common_settings(recipe: Recipe) -> dict[str, Any]:
    """Working size and windows, which decide what all networks see."""
    size = {name: getattr(recipe.panorama, name) for name in _SIZE}
    return {"panorama": size, "windows": without_unused(recipe.windows, OPTIONAL_OF_WINDOWS)}


def _mask_settings(recipe: Recipe) -> dict[str, Any]:
    of_files = ("name", "model", "checkpoint") if recipe.sam.kind == "transformers" else ("name", "checkpoint")
    unused = (*of_files, *SPEED_SETTINGS["sam"], *FURTHER_PROMPTS)
    sam = {name: value for name, value in without_unused(recipe.sam, SAM_OPTIONAL).items() if name not in unused}
    return {**_common_settings(recipe), "sam": sam}


def _mask_files(recipe: Recipe) -> dict[str, FileSetting]:
    sam = recipe.sam
    if sam.kind == "transformers":
        return {"sam.name": _network(sam.name, lambda: mask_source_identity(sam))}
    checkpoint = Path(sam.checkpoint)
    return {"sam.checkpoint": FileSetting(checkpoint.name, lambda: weights_digest(sam), weights_path(sam).is_file())}


def _compute_masks(work: PanoramaWork) -> Arrays:
    from pipeline.cache.records import pack_masks

    source, image_HW3, large = work.mask_source(), work.image_HW3, work.recipe.sam.context
    if large > 0:
        from pipeline.teacher.context import masks_with_context

        windows = [view.footprint for view in work.shared_views]
        return pack_masks(masks_with_context(source, image_HW3, windows, large))
    return pack_masks(source.many([view.cut_image(image_HW3) for view in work.shared_views]))


def _prompted_settings(recipe: Recipe) -> dict[str, Any]:
    return {
        "label_set": recipe.classes.names,
        "thin_classes": recipe.classes.thin,
        "stuff_classes": recipe.classes.stuff,
        "sam": _further_prompts(recipe),
    }


def _further_prompts(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe.sam, name) for name in FURTHER_PROMPTS}


def _compute_prompted(work: PanoramaWork) -> Arrays:
    from pipeline.cache import records
    from pipeline.teacher.prompting import masks_with_prompts
    from pipeline.teacher.sam import SamMaskGenerator

    source, views = work.mask_source(), work.shared_views
    assert isinstance(source, SamMaskGenerator)  # other kinds of source are refused with these settings
    masks = records.unpack_masks(work.read(MASKS), views)
    assistant_CHW = records.unpack_fused(work.read(ASSISTANT, records.FUSED), views)[0]
    classes, config = work.recipe.classes, work.recipe.sam
    return records.pack_masks(masks_with_prompts(source, work.image_HW3, views, masks, assistant_CHW, classes, config))


def _assistant_settings(recipe: Recipe) -> dict[str, Any]:
    shows_views = recipe.assistant.views_weight > 0
    unused = () if shows_views else ("views_weight", "views_scale")
    named = without_unused(recipe.assistant, OPTIONAL_OF_ASSISTANT)
    return {
        **_common_settings(recipe),
        "label_set": recipe.classes.names,
        "assistant": {
            **{key: value for key, value in named.items() if key not in ("name", "label_set", *unused)},
            "classes": label_set(recipe.assistant.label_set).names,
        },
        **({"views": without_unused(recipe.views, OPTIONAL_OF_VIEWS)} if shows_views else {}),
    }


def _assistant_files(recipe: Recipe) -> dict[str, FileSetting]:
    assistant = recipe.assistant
    if assistant.kind == "demo":
        return {"assistant.name": FileSetting("", lambda: assistant_identity(assistant), is_at_hand=True)}
    return {"assistant.name": _network(assistant.name, lambda: assistant_identity(assistant))}


def _compute_assistant(work: PanoramaWork) -> Arrays:
    from pipeline.cache.records import pack_assistant
    from pipeline.teacher.rectification import stitch_assistant
    from stages.views import assistant_views

    recipe, views = work.recipe, assistant_views(work.recipe)
    prediction = stitch_assistant(
        work.image_HW3,
        work.shared_views,
        work.assistant(),
        recipe.assistant,
        recipe.classes,
        more_views=views,
        more_image_HW3=work.image_at(recipe.views.source_width) if views else None,
        vertical_fov=recipe.panorama.vertical_fov,
    )
    return pack_assistant(prediction)


def _ensemble_settings(recipe: Recipe) -> dict[str, Any]:
    return {
        "thin_classes": recipe.classes.thin,
        "panorama": {"find_constant_border": recipe.panorama.find_constant_border},
        "fusion": without_unused(recipe.fusion, OPTIONAL),
        "boundary": without_unused(recipe.boundary, OPTIONAL_OF_BOUNDARY),
        **({"unknown": dataclasses.asdict(recipe.unknown)} if recipe.unknown.ignored_by_student else {}),
        **({"sam": _further_prompts(recipe)} if recipe.sam.prompts_further else {}),  # which masks vote
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

    recipe, views = work.recipe, work.shared_views
    masks = records.unpack_masks(work.read(voting_masks(recipe)), views)
    assistant_CHW, agreement_HW, view_labels_Khw = records.unpack_fused(work.read(ASSISTANT, records.FUSED), views)
    ignored_HW = work.ignored_HW
    fusion = fuse(assistant_CHW, agreement_HW, ignored_HW, views, masks, recipe.classes, recipe.fusion)
    boundary_HW = refine_boundary(views, masks, view_labels_Khw, ignored_HW, recipe.boundary)
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
PRODUCTS: tuple[Product, ...] = (
    Product(MASKS, 3, _mask_settings, _compute_masks, _mask_files),
    Product(ASSISTANT, 6, _assistant_settings, _compute_assistant, _assistant_files),
    Product(PROMPTED_MASKS, 1, _prompted_settings, _compute_prompted, inputs=(MASKS, ASSISTANT),
            is_asked_for=lambda recipe: recipe.sam.prompts_further),
    Product(ENSEMBLE, 3, _ensemble_settings, _compute_ensemble, _ensemble_files, (MASKS, ASSISTANT, PROMPTED_MASKS),
            sees_ignore_mask=True),
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


def product(name: str) -> Product:
    """The declaration of a product by its name."""
    return next(product for product in all_products() if product.name == name)
