"""The recipe that `goodsam adapt` writes: where to, its name, and what of it differs from the recipe before."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RecipeError
from pipeline.recipe import Recipe, literal
from stages.tuned_recipe import require_free

if TYPE_CHECKING:
    from pipeline.classes import LabelSet

_ROUND = re.compile(r"[.-]adapted(?:-(\d+))?$")
"""Ends the names of recipes and files that a round has written: my-adapted, my-adapted-2, my.adapted-2.toml."""


def usual_file(recipe: str) -> Path:
    """The file beside a recipe's own that is written unless another is named; in the current folder for built-in ones.

    Args:
        recipe: a recipe's name or path, as the command line takes it.
    """
    return Path(f"{_next_round(recipe.removesuffix('.toml'), '.')}.toml")


def adapted(recipe: Recipe, network: Path, classes: LabelSet) -> Recipe:
    """A recipe with the adapted assistant, as a run of its own name: `goodsam runs` shows both.

    Args:
        recipe: whose assistant was adapted.
        network: the adapted network's folder.
        classes: that it predicts.
    """
    assistant = replace(
        recipe.assistant, kind="transformers", name=str(network.absolute()), label_set=classes.name, output=""
    )
    return replace(recipe, name=_next_round(recipe.name, "-"), assistant=assistant)


def require_trainable(recipe: Recipe) -> None:
    """Refuse an assistant that cannot be trained, before anything is computed.

    Raises:
        RecipeError: it is an ONNX file.
    """
    if recipe.assistant.kind == "onnx":
        raise RecipeError(
            f"assistant.name is {recipe.assistant.name}, an ONNX file, which only predicts and cannot be trained",
            "an assistant is adapted as a network of transformers",
            'Set assistant.kind = "transformers" and assistant.name to the folder or hub name that the file was'
            " exported from",
        )


def require_place(out: Path, network: Path, overwrite: bool) -> None:
    """Refuse a file that the recipe must not be written to, before anything is computed.

    Args:
        out: the file; one that names `network` already is the round's own, written by an earlier call.
        network: folder of the adapted network.
        overwrite: whether another recipe may be there.

    Raises:
        InputError: another file is there, or it has another ending than recipes.
    """
    require_free(out, overwrite or is_written(out, network))


def is_written(out: Path, network: Path) -> bool:
    """Whether a recipe with this network is there, which its owner may have changed since."""
    if not out.is_file():
        return False
    path, text = str(network.absolute()), out.read_text(encoding="utf-8", errors="replace")
    return path in text or literal(path) in text  # quotes and backslashes are written otherwise


def _next_round(name: str, separator: str) -> str:
    before = _ROUND.search(name)
    if before is None:
        return f"{name}{separator}adapted"
    return f"{name[: before.start()]}{separator}adapted-{int(before[1] or 1) + 1}"
