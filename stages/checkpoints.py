"""Checkpoints that a kill at any moment leaves whole: the latest one and the one before."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pipeline.errors import CacheError
from stages.files import give_usual_permissions, put_in_place


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings and containers of them); what was at `path` becomes the previous one.

    Raises:
        CacheError: no room, or no permission. The checkpoints that were there stay.
    """
    buffer = io.BytesIO()  # writing to a file itself, torch would not tell what the system has against it
    torch.save(dict(state), buffer)
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(previous_of(path))
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def load_checkpoint(path: Path, fingerprint: str | None = None) -> dict[str, Any] | None:
    """The latest checkpoint that can be read, and has that fingerprint if one is asked for, on the CPU; or None."""
    for candidate in (path, previous_of(path)):
        try:
            state = torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception:  # what is no checkpoint raises nearly anything
            continue
        if isinstance(state, dict) and (fingerprint is None or state.get("fingerprint") == fingerprint):
            return state
    return None


def move_checkpoints(path: Path, to: Path) -> None:
    """Move the checkpoint and the one before, whichever are there: the latest last, so that a kill hides no later one.

    Raises:
        OSError: the system refused.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    for checkpoint, target in ((previous_of(path), previous_of(to)), (path, to)):
        with suppress(FileNotFoundError):
            checkpoint.replace(target)


def remove_checkpoints(path: Path) -> None:
    """Begin anew."""
    for checkpoint in (path, previous_of(path)):
        checkpoint.unlink(missing_ok=True)


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the latest one lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def replace_folder(folder: Path, fill: Callable[[Path], None], keep: Path | None = None) -> None:
    """Let `fill` write a new folder, and put it in the place of `folder` only when it is complete.

    What was there is moved to `keep`, or deleted.

    Raises:
        CacheError: no room, or no permission. The folder that was there stays.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        fill(partial)
        give_usual_permissions(partial)
        put_in_place(partial, folder, keep)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError | SafetensorError) -> CacheError:
    reason = error.strerror or error if isinstance(error, OSError) else error
    return CacheError(f"{path} cannot be written ({reason})", "the folder must have room and write permission",
                      "Free space and run the same command again; it resumes from the last checkpoint if there is one"
                      )  # fmt: skip
