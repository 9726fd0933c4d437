"""Assistants as ONNX files, from any framework; needs the optional onnxruntime.

The file takes one normalised image batch, float32 [K, 3, H, W], and gives `logits` (or, where nothing has that name,
its first output), and optionally encoder levels as `features_4`, `features_8`, `features_16`, `features_32`: the
number is the stride. Pixels are normalised as for ImageNet unless a preprocessor_config.json lies beside the file and
states image_mean and image_std (R, G, B of 0..1), or do_normalize as false.

Networks that end with an upsampling are best exported without it: callers upsample the logits themselves, bilinearly
with half-pixel centres (align_corners=False).

Legend: K images of a batch, C classes, H W image, h w the output's own resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import LabelSet
from pipeline.errors import WeightsError, first_line
from pipeline.settings import digest_of
from pipeline.teacher.assistant import (
    LEVEL_OF_STRIDE,
    AssistantOutput,
    Normalisation,
    cut_back,
    require_classes,
    require_levels,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_CUDA = "CUDAExecutionProvider"
_PROBE = 64
"""Side of the image that tells the number of classes where the file leaves it open."""


@dataclass(frozen=True)
class OnnxAssistant:
    """See `pipeline.teacher.assistant.Assistant`."""

    session: InferenceSession
    label_set: LabelSet
    identity: str
    device: torch.device
    normalisation: Normalisation
    logits_name: str
    feature_names: dict[int, str]
    """Encoder level -> name of the output."""

    @property
    def feature_levels(self) -> tuple[int, ...]:
        """The encoder levels that it can give."""
        return tuple(sorted(self.feature_names))

    def __call__(self, images_KHW3: npt.NDArray[np.uint8], levels: Sequence[int] = ()) -> AssistantOutput:
        """See `Assistant`."""
        require_levels(levels, self.feature_levels, self.identity)
        inputs = self.normalisation.prepare(images_KHW3, torch.device("cpu"))
        names = [self.logits_name, *(self.feature_names[level] for level in levels)]
        logits, *features = (
            cut_back(torch.from_numpy(values), inputs.shape, images_KHW3.shape[1:3]).to(self.device)
            for values in _run(self.session, names, inputs.numpy(), self.identity)
        )
        return AssistantOutput(logits, dict(zip(levels, features, strict=True)))


def load_onnx(name: str, labels: LabelSet, device: torch.device) -> OnnxAssistant:
    """A network from an ONNX file, with its weights inside or in files <its name>*data beside it.

    Raises:
        WeightsError: onnxruntime is not installed, the file is missing or broken, or has other classes than `labels`.
    """
    path = Path(name).expanduser()
    session = _session(path, device)
    outputs = [output.name for output in session.get_outputs()]
    logits_name = "logits" if "logits" in outputs else outputs[0]
    features = {level: f"features_{stride}" for stride, level in LEVEL_OF_STRIDE.items()}
    require_classes(_classes(session, logits_name, name), labels, f"the assistant {name}")
    return OnnxAssistant(
        session,
        labels,
        onnx_identity(name),
        device,
        Normalisation.beside(path.parent),
        logits_name,
        {level: output for level, output in features.items() if output in outputs},
    )


def onnx_identity(name: str) -> str:
    """The identity of the assistant that `load_onnx` would give, without loading it.

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(name).expanduser()
    _require_file(path)
    files = [path, *path.parent.glob(path.name + "*data"), *path.parent.glob("preprocessor_config.json")]
    return f"onnx {path.name} sha256:{digest_of(files)}"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} is not a file", "assistant.name is an ONNX file", "Correct assistant.name")


def _session(path: Path, device: torch.device) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError("onnxruntime is not installed", f"the assistant {path} needs it",
                           "Run `.venv/bin/uv pip install --python .venv/bin/python -e '.[onnx]'` in the project's"
                           " folder") from error  # fmt: skip
    _require_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
    if device.type == "cuda" and _CUDA in onnxruntime.get_available_providers():  # with onnxruntime-gpu only
        providers.insert(0, (_CUDA, {"device_id": device.index or 0}))
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base
        raise WeightsError(f"{path} cannot be loaded ({first_line(error)})", "it must be an ONNX network",
                           "Export it again, or correct assistant.name") from error  # fmt: skip


def _classes(session: InferenceSession, logits_name: str, name: str) -> int:
    """Number of channels of the logits, by running the network on a small image (or its own fixed size)."""
    sizes = [extent if isinstance(extent, int) else _PROBE for extent in session.get_inputs()[0].shape[2:]]
    return _run(session, [logits_name], np.zeros((1, 3, *sizes), np.float32), name)[0].shape[1]


def _run(
    session: InferenceSession, outputs: Sequence[str], inputs: npt.NDArray[np.float32], name: str
) -> list[npt.NDArray[np.float32]]:
    """Outputs by name; files exported for a batch of one get the images one by one.

    Raises:
        WeightsError: the file was exported for another image size.
    """
    entry = session.get_inputs()[0]
    batches = np.split(inputs, len(inputs)) if entry.shape[0] == 1 else [inputs]
    try:
        parts = [session.run(list(outputs), {entry.name: batch}) for batch in batches]
    except Exception as error:  # onnxruntime's errors have no common base
        size = f"{inputs.shape[2]}x{inputs.shape[3]}"
        raise WeightsError(f"{name} cannot segment images of {size} pixels ({first_line(error)})",
                           f"it takes {entry.shape}", "Export it with free image size") from error  # fmt: skip
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
