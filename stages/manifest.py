"""The record that hands stage one's cache to stage two: which fingerprints a run's recipe stands for.

Stage two need not have the networks and masks that stage one had. Where it has them, they must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.errors import RERUN_STAGE_ONE, CacheError, GoodSAMError
from pipeline.recipe import Recipe
from stages.files import write_whole
from stages.product_settings import FileSetting
from stages.products import Product, products_of
from stages.runs import Run, refuse_old_layout


class NotCachedError(CacheError):
    """Stage one has not computed what is asked for: `goodsam teacher-cache` does."""


def write_manifest(run: Run, prints: Mapping[str, str]) -> None:
    """Record what the store's fingerprints mean for this recipe.

    Args:
        run: recipe and folder.
        prints: fingerprint of every product.

    Raises:
        CacheError: the file cannot be written.
    """
    record = {product.name: {"fingerprint": prints[product.name], **describe(product, run.recipe)}
              for product in products_of(run.recipe)}  # fmt: skip
    write_whole(run.manifest, json.dumps({"products": record}, indent=1))


def describe(product: Product, recipe: Recipe) -> dict[str, Any]:
    """What a product's fingerprint stands for, as plain JSON: the version of the code, settings, and files by name and
    content; content only where it is at hand."""
    files = {
        key: {"name": file.name, **({"content": content} if (content := _content_at_hand(file)) is not None else {})}
        for key, file in product.files(recipe).items()
    }
    everything = {"version": product.version, "settings": product.settings(recipe), "files": files}
    return json.loads(json.dumps(everything))


def read_manifest(run: Run) -> dict[str, str]:
    """The fingerprints of all products that stage one recorded for this recipe.

    Raises:
        NotCachedError: stage one has not run, or it ran with other settings, files or code.
        CacheError: its record is damaged.
    """
    refuse_old_layout(run.folder)
    if not run.manifest.is_file():
        raise NotCachedError(f"{run.folder} has no teacher cache", "stage one makes it",
                             "Run `goodsam teacher-cache` first")  # fmt: skip
    recorded = read_record(run.manifest)
    products = products_of(run.recipe)
    for product in products:
        if other := _what_differs(recorded.get(product.name), product, run.recipe):
            raise NotCachedError(
                f"the cache in {run.folder} was made with other {other}",
                "its settings must be those of this recipe",
                "Run `goodsam teacher-cache` again: it computes only what has changed",
            )
    return {product.name: recorded[product.name]["fingerprint"] for product in products}


def what_differs(run: Run) -> dict[str, str]:
    """What the recipe has other than the run's record, in words, by product; empty where stage one has not run or
    nothing differs.

    Raises:
        CacheError: the record is damaged.
    """
    if not run.manifest.is_file():
        return {}
    recorded = read_record(run.manifest)
    found = {product.name: _what_differs(recorded.get(product.name), product, run.recipe)
             for product in products_of(run.recipe)}  # fmt: skip
    return {name: what for name, what in found.items() if what}


def read_record(path: Path) -> dict[str, dict[str, Any]]:
    """What a manifest says of every product: `fingerprint`, and what `describe` returns.

    Raises:
        CacheError: it is damaged.
    """
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["products"]
        for name in (MASKS, ASSISTANT, ENSEMBLE, *recorded):
            about = recorded[name]
            if not (isinstance(about["fingerprint"], str) and dict(about["settings"]) and about["files"] is not None):
                raise ValueError(f"{name} is incomplete")
        return recorded
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path} is damaged ({type(error).__name__}: {error})",
                         "it must be the record of stage one's settings", RERUN_STAGE_ONE) from error  # fmt: skip


def _what_differs(recorded: Mapping[str, Any] | None, product: Product, recipe: Recipe) -> str:
    """What a product was made with that the recipe has not; empty if nothing. None: it was not made,
    as the settings did not ask for it."""
    if recorded is None:
        return f"settings of {product.asked_for_by}"
    now = describe(product, recipe)
    then = recorded["settings"]
    settings = [key for key in then.keys() | now["settings"].keys() if then.get(key) != now["settings"].get(key)]
    files = recorded["files"]
    contents: list[str] = []
    for key, file in now["files"].items():
        before = files.get(key, {})
        if "content" in file and "content" in before:
            contents += [key] if file["content"] != before["content"] else []
        elif file["name"] != before.get("name"):
            settings.append(key.partition(".")[0])
    if settings:
        return f"settings of {', '.join(sorted(set(settings)))}"
    if contents:
        return f"content of {', '.join(contents)}"
    return "" if recorded.get("version") == now["version"] else "code"


def _content_at_hand(file: FileSetting) -> str | None:
    if not file.is_at_hand:
        return None
    with suppress(GoodSAMError):  # a folder that has no network any more, a checkpoint of another user
        return file.content()
    return None
