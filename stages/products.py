"""Stage one's products, each declared once: what decides its content, what it is made of, and how it is computed.

From a declaration follow the product's fingerprint, its description in the store, what the run's record says of it, the
order of work, and whether a panorama is missing it. A further product is one more declaration in `PRODUCTS`, with what
decides its content in `product_settings` and how it is computed in `product_arrays`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.cache.schema import ASSISTANT, ASSISTANTS_BLEND, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.recipe import Recipe, same_network_twice
from pipeline.settings import fingerprint
from pipeline.teacher.identity import assistant_identity
from stages.product_arrays import compute_assistant, compute_blend, compute_ensemble, compute_masks, compute_prompted
from stages.product_settings import (
    ASSISTANT_NAMES,
    FileSetting,
    assistant_files,
    assistant_settings,
    blend_settings,
    ensemble_files,
    ensemble_settings,
    mask_files,
    mask_settings,
    prompted_settings,
)

if TYPE_CHECKING:
    from pipeline.cache.records import Arrays
    from stages.panorama_work import PanoramaWork

STAGE_ONE = "teacher-cache"
"""Name of the stage that makes them, in events, logs and locks."""


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


def _assistant(name: str) -> Product:
    """The declaration of one of a recipe's assistants."""
    place = ASSISTANT_NAMES.index(name)
    return Product(
        name, 6, partial(assistant_settings, name=name), partial(compute_assistant, name=name),
        partial(assistant_files, name=name), is_asked_for=lambda recipe: place < len(recipe.assistants),
        asked_for_by="further_assistants" if place else "", kind=ASSISTANT,
    )  # fmt: skip


PRODUCTS: tuple[Product, ...] = (
    Product(MASKS, 3, mask_settings, compute_masks, mask_files),
    *map(_assistant, ASSISTANT_NAMES),
    Product(ASSISTANTS_BLEND, 1, blend_settings, compute_blend, inputs=ASSISTANT_NAMES,
            is_asked_for=lambda recipe: len(recipe.assistants) > 1, asked_for_by="further_assistants"),
    Product(PROMPTED_MASKS, 2, prompted_settings, compute_prompted, inputs=(MASKS, ASSISTANT, ASSISTANTS_BLEND),
            is_asked_for=lambda recipe: recipe.sam.prompts_further, asked_for_by="sam"),
    Product(ENSEMBLE, 3, ensemble_settings, compute_ensemble, ensemble_files,
            (MASKS, ASSISTANT, ASSISTANTS_BLEND, PROMPTED_MASKS), sees_ignore_mask=True),
)  # fmt: skip
"""In the order of work."""


def all_products() -> tuple[Product, ...]:
    """Every product that stage one can make, in the order of work."""
    return PRODUCTS


def products_of(recipe: Recipe) -> tuple[Product, ...]:
    """The products that a recipe has, in the order of work."""
    return tuple(product for product in all_products() if product.is_asked_for(recipe))


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


def stored_as(name: str) -> str:
    """The folder in the store of a product by its name; unknown ones, of other versions, have one of their name."""
    return next((declared.stored_as for declared in all_products() if declared.name == name), name)


def product(name: str) -> Product:
    """The declaration of a product by its name."""
    return next(product for product in all_products() if product.name == name)
