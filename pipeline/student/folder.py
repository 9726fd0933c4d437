"""Whether a folder holds a student, checked before the libraries that load one are imported."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import WeightsError


def require_student(folder: Path) -> None:
    """Refuse a folder that holds no student.

    Raises:
        WeightsError: it is missing, or lacks config.json or weights.
    """
    if _is_complete(folder):
        return
    if _is_complete(folder / "final"):
        raise WeightsError(f"{folder} holds no student", "that of a run lies in its folder final",
                           f"Name {folder / 'final'}")  # fmt: skip
    raise WeightsError(f"{folder} holds no student", "it must have config.json and model.safetensors",
                       "Run `goodsam distill` first, or correct the path")  # fmt: skip


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("config.json", "model.safetensors"))
