"""Which settings of a recipe are paths, and relative ones made absolute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.classes import is_file_of_classes
from pipeline.errors import RecipeError

PATH_KEYS = (
    ("data", "panoramas"),
    ("data", "evaluation"),
    ("data", "labels"),
    ("data", "labels_index"),
    ("data", "corrections"),
    ("panorama", "ignore_mask"),
    ("sam", "checkpoint"),
)
"""Settings that are always paths."""
NAME_OR_PATH_KEYS = (("sam", "name"), ("assistant", "name"), ("student", "weights"))
"""Settings that are a path if it exists or can be nothing else, and otherwise a name on the hub."""
LABEL_SET_KEYS = (("", "label_set"), ("assistant", "label_set"), ("data", "labels_set"), ("evaluation", "categories"))
"""Settings that are a path if they end with .json."""


def anchored(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe's parsed TOML table with its relative paths starting at `folder`; names and absolute paths stay.

    Raises:
        RecipeError: a path begins with the home folder of a user who has none.
    """
    result: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in table.items()}
    for name, key in (*PATH_KEYS, *NAME_OR_PATH_KEYS, *LABEL_SET_KEYS):
        _anchor(result.get(name, {}) if name else result, name, key, folder)
    further = result.get("further_assistants")
    if isinstance(further, (list, tuple)):
        result["further_assistants"] = [_anchored_assistant(settings, folder) for settings in further]
    return result


def _anchored_assistant(settings: Any, folder: Path) -> Any:
    """The settings of an assistant with relative paths starting at `folder`."""
    if not isinstance(settings, dict):
        return settings
    result: dict[str, Any] = dict(settings)
    for name, key in (*NAME_OR_PATH_KEYS, *LABEL_SET_KEYS):
        if name == "assistant":
            _anchor(result, name, key, folder)
    return result


def _anchor(settings: Any, table: str, key: str, folder: Path) -> None:
    """Let the path in a table's setting, if it is one, start at `folder`. What is no table or no text is refused when
    the settings are built."""
    value = settings.get(key) if isinstance(settings, dict) else None
    if isinstance(value, str) and value:
        path = folder / _expanded(value, f"{table}.{key}".lstrip("."))
        if _is_path((table, key), value, path):
            settings[key] = str(path)


def _expanded(value: str, key: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise RecipeError(f"{key} is {value!r}", "~ stands for the home folder, which is not known here",
                          "Write the whole path") from error  # fmt: skip


def _is_path(key: tuple[str, str], value: str, path: Path) -> bool:
    """Whether a setting's value is a path, which would be `path`."""
    if key in LABEL_SET_KEYS:
        return is_file_of_classes(value)
    if key in NAME_OR_PATH_KEYS:
        return value != "demo" and (value.startswith((".", "~")) or value.endswith(".onnx") or path.exists())
    return True
