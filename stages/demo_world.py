"""The demo's panoramas, which somebody must render before they can be used."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from stages.runs import Run

DEMO_WORLD = Path("cache") / "demo" / "world"
"""Where the built-in demo has its panoramas."""


@contextmanager
def world_needed(run: Run) -> Generator[None]:
    """Say how the demo's panoramas are made where an error says that they are not there."""
    try:
        yield
    except InputError as error:
        folders = [Path(folder) for folder in (run.recipe.data.panoramas, run.recipe.data.evaluation) if folder]
        missing = [folder for folder in folders if not folder.exists() and str(folder) in error.found]
        if any(folder.resolve().is_relative_to(DEMO_WORLD.resolve()) for folder in missing):
            raise InputError(error.found, error.expected, "Run `goodsam world demo` first") from None
        raise
