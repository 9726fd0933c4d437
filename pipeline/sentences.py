"""The docstrings of a settings dataclass and of its fields, as plain text."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any


def sentences(settings: type[Any]) -> dict[str, str]:
    """The docstring of each field of a settings dataclass, on one line, by the field's name.

    Fields without one are left out; a field that a dataclass has from another has its sentence there.
    """
    inherited: dict[str, str] = {}
    for base in reversed(settings.__bases__):
        inherited |= sentences(base) if is_dataclass(base) else {}
    own = {
        _name(field): " ".join(_text(under).split())
        for field, under in pairwise(_body(settings))
        if _name(field) and _text(under)
    }
    return inherited | own


def summary(settings: type[Any]) -> str:
    """The docstring of the dataclass, on one line; empty if it has none."""
    first = _body(settings)[0]
    return " ".join(_text(first).split())


@cache
def _body(settings: type[Any]) -> list[ast.stmt]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    assert isinstance(definition, ast.ClassDef)
    return definition.body


def _name(statement: ast.stmt) -> str:
    """The name of the field that a statement declares; empty if none."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    return ""


def _text(statement: ast.stmt) -> str:
    """The text of a statement that is a docstring; empty if it is none."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""
