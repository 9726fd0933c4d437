"""Refuses, when it is imported, packages of the names of GoodSAM's own that Python finds before them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path


def require_own(name: str) -> None:
    """Refuse a package of that name which is not GoodSAM's.

    Raises:
        ImportError: there is one.
    """
    package, own = import_module(name), Path(__file__).resolve().parents[1] / name
    found = Path(getattr(package, "__file__", None) or next(iter(package.__path__)))
    if not found.resolve().is_relative_to(own):
        raise ImportError(f"the package `{name}` that Python finds is {found}, not GoodSAM's, which is {own}. Start "
                          "Python in another folder, or rename your package.")  # fmt: skip


require_own("pipeline")
require_own("stages")
