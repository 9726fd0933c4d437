"""The assistant F_TA: a semantic network trained on perspective images, behind one small interface.

The adapters (`assistant_transformers`, `assistant_onnx`) share what is here: images of any size come in, are normalised
as the network wants them and padded to a multiple of 32; what comes out is cut back. Nothing is resized: the
resolution at which the network sees an image is its caller's choice.

Legend: K images of a batch, C classes, D feature channels, H W image, h w the output's own resolution, s stride.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.classes import DENSEPASS_13, LabelSet, label_set
from pipeline.errors import WeightsError, first_line
from pipeline.precision import chosen_precision
from pipeline.teacher.config import AssistantConfig

DEMO_FOLDER = Path(__file__).resolve().parents[1] / "demo" / "assistant"
DEMO_LABELS = DENSEPASS_13
PAD_TO = 32
"""Images are padded to a multiple of this many pixels: the coarsest feature stride of the networks."""
LEVEL_OF_STRIDE = {4: 1, 8: 2, 16: 3, 32: 4}
"""Encoder levels are named by their stride."""
_UNNAMED = re.compile(r"LABEL_\d+")

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STEPS = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_flip_channel_order": False}
_IMAGENET = _STEPS | {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
_HALF = _STEPS | {"image_mean": 0.5, "image_std": 0.5}
_CLIP = _STEPS | {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "": _STEPS,
    "Beit": _HALF,
    "Bit": _CLIP,
    "ConvNext": _HALF,
    "DPT": _HALF,
    "DeiT": _HALF,
    "MobileNetV2": _HALF,
    "MobileViT": _STEPS | {"do_normalize": False, "do_flip_channel_order": True},
    "Sapiens2": _IMAGENET,
    "Segformer": _IMAGENET,
    "Tipsv2Dpt": _STEPS | {"do_normalize": False},
    "ViT": _HALF,
}
"""Defaults of transformers' image processors: what they do to pixel values where their settings do not say it. By the
beginning of the class's name; "" where no class is named."""
IGNORED = {"MobileViT": {"do_normalize"}}
"""Settings that a class ignores even where they are stated; all other classes ignore do_flip_channel_order."""
STEPS_OF_SIZE = {"do_resize", "do_center_crop", "do_pad", "do_convert_rgb", "do_reduce_labels"}
"""Steps that leave the values of RGB pixels as they are."""


@dataclass(frozen=True)
class AssistantOutput:
    """What the assistant says about K images of equal size H W.

    A map of stride s, a power of two, has ceil(H / s) rows and ceil(W / s) columns: where s does not divide the size,
    the last cell reaches beyond the image.
    """

    logits_KChw: torch.Tensor
    """Class scores before the softmax, float32, at the network's own resolution (stride 4 for SegFormer)."""
    features: dict[int, torch.Tensor]
    """Encoder level (1 finest .. 4, strides 4 .. 32) -> features_KDhw, float32; only those asked for."""


class Assistant(Protocol):
    """A frozen semantic network."""

    @property
    def label_set(self) -> LabelSet:
        """The classes that it predicts."""
        ...

    @property
    def identity(self) -> str:
        """Kind, name and content hash of the weights, for fingerprints: other weights, other identity."""
        ...

    @property
    def feature_levels(self) -> tuple[int, ...]:
        """The encoder levels that it can give."""
        ...

    def __call__(self, images_KHW3: npt.NDArray[np.uint8], levels: Sequence[int] = ()) -> AssistantOutput:
        """Predict RGB images; tensors stay on the assistant's device.

        Raises:
            WeightsError: one of `levels` is not among `feature_levels`.
        """
        ...


def load_assistant(config: AssistantConfig, device: torch.device) -> Assistant:
    """The network that `config` names, ready to be called. The demo's own label set wins over the one in `config`.

    Raises:
        WeightsError: it is missing, broken, of the wrong kind, or has another number of classes than the label set.
    """
    if config.kind == "onnx":
        from pipeline.teacher.assistant_onnx import load_onnx

        return load_onnx(config.name, label_set(config.label_set), device, config.output)
    from pipeline.teacher.assistant_transformers import load_transformers

    precision = chosen_precision(config.precision, device)
    if config.kind == "demo":
        return load_transformers(str(DEMO_FOLDER), DEMO_LABELS, device, "demo", precision)
    return load_transformers(config.name, label_set(config.label_set), device, precision=precision)


def assistant_identity(config: AssistantConfig) -> str:
    """`Assistant.identity` of the network that `config` names, without loading it.

    Raises:
        WeightsError: it is missing.
    """
    if config.kind == "onnx":
        from pipeline.teacher.assistant_onnx import onnx_identity

        return onnx_identity(config.name)
    from pipeline.teacher.assistant_transformers import transformers_identity

    if config.kind == "demo":
        return transformers_identity(str(DEMO_FOLDER), kind="demo")
    return transformers_identity(config.name)


@dataclass(frozen=True)
class Normalisation:
    """How a network wants its pixels: (value * rescale - mean) / std per RGB channel, and the order of channels."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    rescale: float = 1 / 255
    flip: bool = False
    """The network wants BGR."""

    @staticmethod
    def from_processor(settings: Mapping[str, Any], source: str = "preprocessor_config.json") -> Normalisation:
        """What the image processor of a preprocessor_config.json does to pixel values, by its class in transformers.

        Args:
            settings: the file's contents. What they leave out is as the class has it. Where they name no class (written
                by hand for an ONNX file, say), pixels are rescaled to 0 .. 1, and normalised by the mean and std that
                must be stated, unless told otherwise.
            source: the file, for messages.

        Raises:
            WeightsError: the class or a step is not known here, or the numbers of a step are missing or are none.
        """
        family = _family(settings, source)
        ignored = IGNORED.get(family, {"do_flip_channel_order"} if family else frozenset[str]())
        stated = {key: value for key, value in settings.items() if key not in ignored}
        chosen = {**PROCESSORS[family], **stated}
        rescale = chosen["rescale_factor"] if chosen["do_rescale"] else 1.0
        if not isinstance(rescale, int | float):
            raise WeightsError(f"{source} has rescale_factor {rescale}", "pixels are rescaled by a number",
                               "State it, or do_rescale as false")  # fmt: skip
        flip = bool(chosen["do_flip_channel_order"])
        if not chosen["do_normalize"]:
            return Normalisation((0.0,) * 3, (1.0,) * 3, rescale, flip)
        mean, std = (_per_channel(chosen, key, source) for key in ("image_mean", "image_std"))
        return Normalisation(mean, std, rescale, flip)

    @staticmethod
    def beside(folder: Path) -> Normalisation:
        """From a folder's preprocessor_config.json; as for ImageNet where there is none.

        Raises:
            WeightsError: it is no such file, or as `from_processor`.
        """
        path = folder / "preprocessor_config.json"
        if not path.is_file():
            return Normalisation()
        try:
            settings = json.loads(path.read_text())
        except ValueError as error:
            raise WeightsError(f"{path} cannot be read ({first_line(error)})", "it must be JSON",
                               "Fetch or write it again") from error  # fmt: skip
        if not isinstance(settings, dict):
            raise WeightsError(f"{path} holds no settings", "it must be a JSON object", "Fetch or write it again")
        return Normalisation.from_processor(cast("dict[str, Any]", settings), str(path))

    def prepare(self, images_KHW3: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """Network input [K, 3, H', W'], float32, padded with the last row and column to multiples of 32."""
        images = torch.from_numpy(np.array(images_KHW3, order="C")).to(device).permute(0, 3, 1, 2).float()
        mean_31, std_31 = (torch.tensor(v, device=device)[:, None, None] for v in (self.mean, self.std))
        height, width = images.shape[-2:]
        normalised = (images * self.rescale - mean_31) / std_31
        ordered = normalised.flip(1) if self.flip else normalised
        return functional.pad(ordered, (0, -width % PAD_TO, 0, -height % PAD_TO), mode="replicate")


def _family(settings: Mapping[str, Any], source: str) -> str:
    """Which of PROCESSORS the settings are for: "" where they name none.

    Raises:
        WeightsError: none of them, or they name none and ask for a step that is not known.
    """
    name = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    family = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", name)
    remedy = "Take image_processor_type out and state do_rescale, do_normalize, image_mean and image_std there"
    if family not in PROCESSORS:
        known = ", ".join(filter(None, PROCESSORS))
        raise WeightsError(f"{source} is for {name}", f"known are the processors of {known}", remedy)
    steps = {key for key, value in settings.items() if key.startswith("do_") and value}
    if not family and (unknown := steps - PROCESSORS[""].keys() - STEPS_OF_SIZE):
        raise WeightsError(f"{source} asks for {', '.join(sorted(unknown))}",
                           "it names no image processor that would tell what that does", remedy)  # fmt: skip
    return family


def _per_channel(settings: Mapping[str, Any], key: str, source: str) -> tuple[float, ...]:
    """Mean or std of R, G and B; one number stands for all three.

    Raises:
        WeightsError: there are no such numbers.
    """
    found = settings.get(key)
    values = cast("list[object]", found) if isinstance(found, list | tuple) else [found] * 3
    numbers = tuple(float(value) for value in values if isinstance(value, int | float))
    if len(numbers) != 3 or len(values) != 3 or (key == "image_std" and 0 in numbers):
        raise WeightsError(f"{source} has {key} {found}" if key in settings else f"{source} has no {key}",
                           "a network's pixels are normalised by one number for each of R, G and B",
                           f"State {key} in it, or do_normalize as false")  # fmt: skip
    return numbers


def cut_back(maps_KDhw: torch.Tensor, padded: torch.Size, size: tuple[int, int]) -> torch.Tensor:
    """Drop the cells that lie wholly in the padding; `padded` ends in H' W', `size` is H W. Makes it float32."""
    rows, columns = (
        -(-extent * cells // full) for extent, cells, full in zip(size, maps_KDhw.shape[-2:], padded[-2:], strict=True)
    )
    return maps_KDhw[..., :rows, :columns].float()


def require_levels(levels: Sequence[int], available: tuple[int, ...], identity: str) -> None:
    """Refuse feature levels that the network does not have.

    Raises:
        WeightsError: one is missing.
    """
    missing = [level for level in levels if level not in available]
    if missing:
        raise WeightsError(
            f"the assistant {identity} has no features of level {', '.join(map(str, missing))}",
            f"it gives {', '.join(map(str, available)) or 'none'}",
            "Set assistant.feature_levels to these",
        )


def require_classes(found: int, labels: LabelSet, what: str) -> None:
    """Refuse a network whose classes are not those of the label set.

    Raises:
        WeightsError: the numbers differ.
    """
    if found != len(labels):
        raise WeightsError(
            f"{what} predicts {found} classes",
            f"the label set {labels.name} has {len(labels)}",
            "Set assistant.label_set to the labels that the network was trained on",
        )


def class_order(names: Sequence[str], labels: LabelSet, what: str) -> tuple[int, ...]:
    """Which of a network's channels is each class of the label set, by the network's own class names.

    Case, spaces, hyphens and underscores of names do not matter. Channels are taken as they come where the network
    has no names, only LABEL_0, LABEL_1, ..., as transformers calls classes that nobody named.

    Args:
        names: the network's class names in the order of its channels, as many as `labels` has.
        labels: the classes that the network is said to predict.
        what: the network, for messages.

    Returns:
        Position p holds the channel of class p.

    Raises:
        WeightsError: the names are others.
    """
    theirs, ours = ([_folded(name) for name in side] for side in (names, labels.names))
    if theirs == ours or all(_UNNAMED.fullmatch(name) for name in names):
        return tuple(range(len(labels)))
    if sorted(theirs) != sorted(ours) or len(set(ours)) != len(ours):
        raise WeightsError(
            f"{what} predicts {', '.join(names)}",
            f"the label set {labels.name} has {', '.join(labels.names)}",
            "Set assistant.label_set to the labels that the network was trained on, or correct id2label in its"
            " config.json where that is wrong",
        )
    return tuple(theirs.index(name) for name in ours)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
