"""The recipe that `goodsam tune` writes: where to, and what of it differs from the recipe that was tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.recipe import Recipe, to_toml
from stages.files import require_writable, write_whole

if TYPE_CHECKING:
    from pipeline.tune.blends import Blend

_MARK = "-tuned"


def usual_file(recipe: str) -> Path:
    """The file beside a recipe's own that is written unless another is named; in the current folder for built-in ones.

    Args:
        recipe: a recipe's name or path, as the command line takes it.
    """
    return Path(f"{recipe.removesuffix('.toml')}.tuned.toml")


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse a file that the recipe must not be written to, before anything is computed.

    Args:
        out: the file.
        overwrite: whether it may be there.

    Raises:
        InputError: it is there already, or has another ending than recipes.
        CacheError: it cannot be written.
    """
    if out.suffix != ".toml":
        raise InputError(f"--out is {out}", "the name of a recipe ends with .toml", "Add this ending")
    if out.is_dir():
        raise InputError(f"{out} is a folder", "a recipe is a file", "Name another file with --out")
    if out.exists() and not overwrite:
        raise InputError(f"{out} already exists", "a recipe is overwritten only with --overwrite",
                         "Name another file with --out, or pass --overwrite")  # fmt: skip
    require_writable(out)


def tuned(recipe: Recipe, blend: Blend) -> Recipe:
    """A recipe with another blend, as a run of its own name: `goodsam runs` shows both."""
    from pipeline.tune.blends import settings_of  # not above: it imports torch, seconds of a processor

    assistant, views = settings_of(blend, recipe.assistant, recipe.views, recipe.sam.view_groups)
    name = recipe.name if recipe.name.endswith(_MARK) else f"{recipe.name}{_MARK}"
    return replace(recipe, name=name, assistant=assistant, views=views)


def write_recipe(out: Path, recipe: Recipe, command: str, about: str) -> None:
    """Write a recipe with all its settings, each explained.

    Args:
        out: the file.
        recipe: what is written.
        command: that writes it ("tune"), which stands above it.
        about: a sentence that follows there.

    Raises:
        CacheError: it cannot be written.
    """
    write_whole(out, f"# Written by `goodsam {command}`: {about}.\n{to_toml(recipe, explained=True)}")
