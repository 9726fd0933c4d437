"""Assistants as ONNX files, from any framework; needs the optional onnxruntime.

The file takes one image batch [K, 3, H, W] and gives `logits`, and optionally encoder levels as `features_4`,
`features_8`, `features_16`, `features_32`: the number is the stride. Where no output is called logits, the only output
beside the levels is used, or the one that `assistant.output` names. Its class scores may be logits,
probabilities or their logarithms.

Inputs of float32 and float16 get normalised pixels, by ImageNet's mean and std unless a preprocessor_config.json lies
beside the file and states image_mean and image_std (R, G, B of 0..1), or do_normalize as false. Inputs of uint8 get raw
pixels, 0..255: such a network normalises them itself.

Networks that end with an upsampling are best exported without it: callers upsample the logits themselves, bilinearly
with half-pixel centres (align_corners=False).

Legend: K images of a batch, C classes, H W image, h w the output's own resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import LabelSet
from pipeline.errors import WeightsError, counted, first_line
from pipeline.onnx_session import open_session
from pipeline.teacher.assistant import (
    LEVEL_OF_STRIDE,
    PROBE_SIZE,
    AssistantOutput,
    crop_padding,
    require_classes,
    require_levels,
)
from pipeline.teacher.config import FIRST_ASSISTANT, SettingNames
from pipeline.teacher.identity import onnx_identity, require_onnx_file
from pipeline.teacher.normalisation import Normalisation, assumption_note

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_LEVEL_NAMES = {level: f"features_{stride}" for stride, level in LEVEL_OF_STRIDE.items()}
_SUM_TOLERANCE = 0.01
"""How far the sum of a pixel's probabilities may be from 1: float16 rounds each of them."""
_SMALLEST_PROBABILITY = 1e-12
"""Smaller ones are raised to this, to keep their logarithm finite."""


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
    gives_probabilities: bool = False
    """The network ends in a softmax."""
    gives_log_probabilities: bool = False
    """The network ends in the logarithm of a softmax."""
    notes: tuple[str, ...] = ()
    """See `Assistant`."""

    @property
    def feature_levels(self) -> tuple[int, ...]:
        """The encoder levels that it can return."""
        return tuple(sorted(self.feature_names))

    def __call__(self, images_KHW3: npt.NDArray[np.uint8], levels: Sequence[int] = ()) -> AssistantOutput:
        """See `Assistant`."""
        require_levels(levels, self.feature_levels, self.identity)
        inputs = self.normalisation.prepare(images_KHW3, torch.device("cpu"))
        names = [self.logits_name, *(self.feature_names[level] for level in levels)]
        logits, *features = (
            crop_padding(torch.from_numpy(values), inputs.shape, images_KHW3.shape[1:3]).to(self.device)
            for values in _run(self.session, names, inputs.numpy(), self.identity)
        )
        if self.gives_probabilities:  # their logarithms are logits: softmax restores the probabilities
            logits = logits.clamp_min(_SMALLEST_PROBABILITY).log()
        elif self.gives_log_probabilities:
            logits = logits.clamp_min(math.log(_SMALLEST_PROBABILITY))
        return AssistantOutput(logits, dict(zip(levels, features, strict=True)))


def load_onnx(
    name: str, labels: LabelSet, device: torch.device, output: str = "", names: SettingNames = FIRST_ASSISTANT
) -> OnnxAssistant:
    """A network from an ONNX file, with its weights inside or in files beside it.

    Args:
        name: path of the file.
        labels: the classes that it predicts.
        device: where results go, and where it runs if onnxruntime can.
        output: the output that has the class scores; empty: `logits`, or the only one beside the encoder levels.
        names: what errors call the settings.

    Raises:
        WeightsError: onnxruntime is not installed, the file is missing or broken, its input or class scores are not as
            described above, or it has other classes than `labels`.
    """
    path = Path(name).expanduser()
    session = _session(path, device, names.name)
    _require_images(session, name)
    outputs = [entry.name for entry in session.get_outputs()]
    scores_name = _scores_name(outputs, output, name, names.output)
    scores = _run(session, [scores_name], _probe(session), name)[0]
    _require_scores(scores, labels, f"the output {scores_name} of {name}", names.output)
    require_classes(scores.shape[1], labels, f"the assistant {name}", names.label_set)
    return OnnxAssistant(
        session,
        labels,
        onnx_identity(name, names.name),
        device,
        _normalisation(session, path.parent),
        scores_name,
        {level: level_name for level, level_name in _LEVEL_NAMES.items() if level_name in outputs},
        _are_probabilities(scores),
        _are_probabilities(np.exp(np.minimum(scores.astype(np.float64), 1.0))),
        () if _takes_bytes(session) else assumption_note(path.parent, f"the assistant {name}"),
    )


def _session(path: Path, device: torch.device, key: str) -> InferenceSession:
    require_onnx_file(path, key)
    return open_session(path, device, f"the assistant {path}", f"Export it again, or correct {key}")


def _require_images(session: InferenceSession, name: str) -> None:
    """Refuse a network that takes something else than one batch of images with channels first."""
    entries = session.get_inputs()
    if len(entries) != 1:
        listed = ", ".join(entry.name for entry in entries)
        raise WeightsError(f"{name} takes {counted(len(entries), 'input')} ({listed})",
                           "an assistant takes a batch of images and nothing else",
                           "Export it with one input")  # fmt: skip
    entry = entries[0]
    if entry.type not in _INPUT_TYPES:
        raise WeightsError(f"the input {entry.name} of {name} is {entry.type}", f"it must be {', '.join(_INPUT_TYPES)}",
                           "Export it with a float32 input")  # fmt: skip
    if len(entry.shape) == 4 and entry.shape[3] == 3 and entry.shape[1] != 3:
        raise WeightsError(f"the input {entry.name} of {name} is {entry.shape}, channels last",
                           "an assistant takes images as [K, 3, H, W]", "Export it with channels first")  # fmt: skip


def _scores_name(outputs: Sequence[str], chosen: str, name: str, key: str) -> str:
    """The output that has the class scores.

    Raises:
        WeightsError: the chosen one does not exist, or none is chosen and several could be meant.
    """
    listed = ", ".join(outputs)
    if chosen:
        if chosen not in outputs:
            raise WeightsError(f"{name} has no output {chosen}", f"its outputs are {listed}",
                               f"Set {key} to one of them")  # fmt: skip
        return chosen
    candidates = [output for output in outputs if output not in _LEVEL_NAMES.values()]
    if "logits" in candidates or len(candidates) == 1:
        return "logits" if "logits" in candidates else candidates[0]
    raise WeightsError(f"{name} has the outputs {listed}", "one must be called logits",
                       f"Set {key} to the one that has the class scores")  # fmt: skip


def _normalisation(session: InferenceSession, folder: Path) -> Normalisation:
    stated = Normalisation.from_folder(folder)
    if _takes_bytes(session):
        return replace(stated, mean=(0.0,) * 3, std=(1.0,) * 3, rescale=1.0)
    return stated


def _takes_bytes(session: InferenceSession) -> bool:
    return session.get_inputs()[0].type == "tensor(uint8)"


def _probe(session: InferenceSession) -> npt.NDArray[np.float32]:
    """A small noise image, or one of the size that the file was exported for."""
    fixed = zip(session.get_inputs()[0].shape[2:], PROBE_SIZE, strict=False)
    sizes = [extent if isinstance(extent, int) else ours for extent, ours in fixed]
    return np.random.default_rng(0).uniform(0, 2, (1, 3, *sizes)).astype(np.float32)


def _require_scores(scores: npt.NDArray[np.generic], labels: LabelSet, what: str, key: str) -> None:
    """Refuse an output that is no map of class scores [K, C, h, w], by what it is.

    Raises:
        WeightsError: class ids, channels last, or another number of axes.
    """
    expected, shape = "an assistant gives a score per class, [K, C, h, w]", list(scores.shape)
    one_channel = scores.ndim == 3 or (scores.ndim == 4 and 1 in (shape[1], shape[3]) and len(labels) > 1)
    if one_channel and bool(np.all(scores == np.round(scores.astype(np.float64)))):
        raise WeightsError(f"{what} holds class ids ({scores.dtype} {shape})", expected,
                           "Export the network without its final argmax")  # fmt: skip
    if scores.ndim != 4:
        raise WeightsError(f"{what} is {scores.dtype} {shape}", expected, f"Export it with this shape, or set {key}")
    if shape[1] != len(labels) == shape[3]:
        raise WeightsError(f"{what} is {shape}, channels last", expected, "Export it with channels first")


def _are_probabilities(scores_KChw: npt.NDArray[np.generic]) -> bool:
    """Whether the scores of every pixel are at least 0 and sum to 1."""
    scores = scores_KChw.astype(np.float64)
    return bool(np.all(scores >= 0) and np.all(np.abs(scores.sum(axis=1) - 1) <= _SUM_TOLERANCE))


def _run(
    session: InferenceSession, outputs: Sequence[str], inputs: npt.NDArray[np.float32], name: str
) -> list[npt.NDArray[np.float32]]:
    """Outputs by name; inputs are cast to the file's type, and passed one by one if it was exported for a batch of one.

    Raises:
        WeightsError: the file was exported for another image size.
    """
    entry = session.get_inputs()[0]
    typed = inputs.astype(_INPUT_TYPES[entry.type])
    batches = np.split(typed, len(typed)) if entry.shape[0] == 1 else [typed]
    try:
        parts = [session.run(list(outputs), {entry.name: batch}) for batch in batches]
    except Exception as error:  # onnxruntime's errors have no common base class
        size = f"{inputs.shape[2]}x{inputs.shape[3]}"
        raise WeightsError(f"{name} cannot segment images of {size} pixels ({first_line(error)})",
                           f"it takes inputs of shape {entry.shape}",
                           "Export it with dynamic height and width") from error  # fmt: skip
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
