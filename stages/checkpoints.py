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
from stages.files import give_usual_permissions, put_in_place, writing


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings and containers of them); what was at `path` becomes the previous one.

    Raises:
        CacheError: no room, or no permission. The checkpoints that were there stay.
    """
    buffer = io.BytesIO()  # writing to a file itself, torch would not tell what the system has against it
    torch.save(dict(state), buffer)
    partial = path.with_suffix(".partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                path.replace(previous_of(path))
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def load_checkpoint(path: Path, student: str) -> dict[str, Any] | None:
    """The latest checkpoint that can be read and whose `student` is this one, on the CPU; None if there is none."""
    for candidate in (path, previous_of(path)):
        try:
            state = torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception:  # what is no checkpoint raises nearly anything
            continue
        if isinstance(state, dict) and state.get("student") == student:
            return state
    return None


def remove_checkpoints(path: Path) -> None:
    """Begin anew."""
    for checkpoint in (path, previous_of(path)):
        checkpoint.unlink(missing_ok=True)


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the latest one lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a new folder, and put it in the place of `folder` only when it is complete.

    Raises:
        CacheError: no room, or no permission. The folder that was there stays.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(folder):
            partial.mkdir(parents=True)
            try:
                fill(partial)
            except SafetensorError as error:  # its message is the system's
                raise OSError(error) from error
            give_usual_permissions(partial)
            put_in_place(partial, folder)
    except CacheError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
