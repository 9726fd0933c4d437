"""ONNX files, opened with the optional onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.errors import WeightsError, first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_CUDA = "CUDAExecutionProvider"


def open_session(source: Path | bytes, device: torch.device, what: str, remedy: str) -> InferenceSession:
    """A network of an ONNX file, with as many threads as torch has; on a GPU if onnxruntime can.

    Args:
        source: the file, or its content.
        device: where it is to run.
        what: what the file is, for messages ("the assistant street.onnx").
        remedy: what to do about a file that cannot be loaded.

    Raises:
        WeightsError: onnxruntime is not installed, or cannot load the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError("onnxruntime is not installed", f"{what} needs it",
                           "Run `pip install onnxruntime`") from error  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
    if device.type == "cuda" and _CUDA in onnxruntime.get_available_providers():  # with onnxruntime-gpu only
        providers.insert(0, (_CUDA, {"device_id": device.index or 0}))
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base
        raise WeightsError(f"{what} cannot be loaded ({_reason(error)})", "it must be an ONNX network",
                           remedy) from error  # fmt: skip


def _reason(error: Exception) -> str:
    """What onnxruntime found, without its code and the file's name."""
    return first_line(error).rpartition(" failed:")[2]
