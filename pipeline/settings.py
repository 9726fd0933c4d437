"""Checks of settings that name the key, and fingerprints of settings and files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Refuse a setting by name, which is an option's where it begins with `--`.

    Raises:
        RecipeError: the condition does not hold.
    """
    if not condition:
        place = "" if key.startswith("--") else " in the recipe"
        raise RecipeError(f"{key} is {value!r}", f"it must be {expected}", f"Correct {key}{place}")


def require_choice(key: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a setting that is none of `choices`.

    Raises:
        RecipeError: it is none of them.
    """
    require(value in choices, key, value, f"one of {', '.join(repr(c) for c in choices)}")


def require_fraction(key: str, value: float) -> None:
    """Refuse a setting outside [0, 1].

    Raises:
        RecipeError: it is outside, or NaN.
    """
    require(0 <= value <= 1, key, value, "between 0 and 1")


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits of the SHA-256 of settings (dataclasses, numbers, strings, lists, dicts), by value.

    Results are stored under it, so that results of other settings cannot be read by mistake.
    """
    text = json.dumps([_plain(p) for p in parts], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_unused(settings: Any, optional: Mapping[str, object]) -> dict[str, Any]:
    """A table of settings as values for a fingerprint, without those that are off: results that were stored before such
    a setting was there keep their names.

    Args:
        settings: a dataclass.
        optional: settings that came later, and the values with which they change nothing.
    """
    table = dataclasses.asdict(settings)
    return {name: value for name, value in table.items() if name not in optional or value != optional[name]}


def by_dotted_name(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by their full names ("fusion.theta"), each with `prefix` in front."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= by_dotted_name(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_file_digest(path: Path) -> str:
    """`file_digest`, cached per process while it is the same file of the same size and time of change.

    Raises:
        OSError: the file cannot be read.
    """
    stat = path.stat()
    return _digest(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=64)
def _digest(path: Path, _state: tuple[int, int, int]) -> str:
    return file_digest(path)


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 over names and contents of a network's files, in the order of their names; contents as
    `weights_file_digest` has them: a stage asks several times, and weights may have gigabytes.

    Raises:
        OSError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.name):
        total.update(f"{path.name} {weights_file_digest(path)}\n".encode())
    return total.hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value
