"""Normalisation of a network's input pixels, read from the settings beside it by transformers' own image processors.

Legend: K images of a batch, H W image, 3 = RGB.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.errors import WeightsError, first_line
from pipeline.pretrained import IMAGENET_MEAN, IMAGENET_STD, PROCESSOR_FILES, quiet, settings_file

PAD_TO = 32
"""Images are padded to a multiple of this many pixels: the coarsest feature stride of the networks."""
_DEFAULTS = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_flip_channel_order": False}
"""Defaults for settings that name no image processor."""
_STEPS_WITHOUT_EFFECT = {"do_resize", "do_center_crop", "do_pad", "do_convert_rgb", "do_reduce_labels"}
"""Steps that do not change the values of RGB pixels."""
_FILE, _NESTED_KEY = PROCESSOR_FILES[0], "image_processor"
_REMEDY = "Remove image_processor_type there, and state do_rescale, do_normalize, image_mean and image_std"
_EXPECTED, _AGAIN = "it must hold settings as a JSON object", "Download or write it again"
_TOLERANCE = 1e-4
"""How far the processor's pixels may differ from ours, as a share of the largest: by rounding only."""


@dataclass(frozen=True)
class Normalisation:
    """Normalisation of pixels: (value * rescale - mean) / std per RGB channel, and the order of channels."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    rescale: float = 1 / 255
    flip: bool = False
    """Whether the network takes BGR."""

    @staticmethod
    def from_processor(settings: Mapping[str, Any], source: str = _FILE) -> Normalisation:
        """The normalisation by the image processor of a preprocessor_config.json.

        Args:
            settings: the file's contents. Where they name a class of transformers, its defaults fill what they leave
                out, and its output for an image decides. Where they name none (written by hand for an ONNX file, say),
                pixels are by default rescaled to 0 .. 1 and normalised by mean and std, which must be stated.
            source: the file, for messages.

        Raises:
            WeightsError: transformers has no such class, a step is unknown, or a step's numbers are missing or invalid.
        """
        name = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
        if name:
            return _of_class(name, settings, source)
        steps = {key for key, value in settings.items() if key.startswith("do_") and value}
        if unknown := steps - _DEFAULTS.keys() - _STEPS_WITHOUT_EFFECT:
            raise WeightsError(f"{source} asks for {', '.join(sorted(unknown))}",
                               "further steps need the name of the image processor that has them",
                               _REMEDY)  # fmt: skip
        return _of_values({**_DEFAULTS, **settings}, source)

    @staticmethod
    def from_folder(folder: Path) -> Normalisation:
        """From a folder's preprocessor_config.json, or from image_processor in its processor_config.json; ImageNet's
        where there is neither, which `assumption_note` mentions.

        Raises:
            WeightsError: the file cannot be read, or as `from_processor`.
        """
        path, settings = settings_file(folder), _stated(folder)
        return Normalisation() if settings is None else Normalisation.from_processor(settings, str(path))

    def prepare(self, images_KHW3: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """Network input [K, 3, H', W'], float32, padded with the last row and column to multiples of 32."""
        images = torch.from_numpy(np.array(images_KHW3, order="C")).to(device).permute(0, 3, 1, 2).float()
        mean_31, std_31 = (torch.tensor(v, device=device)[:, None, None] for v in (self.mean, self.std))
        height, width = images.shape[-2:]
        normalised = (images * self.rescale - mean_31) / std_31
        ordered = normalised.flip(1) if self.flip else normalised
        return functional.pad(ordered, (0, -width % PAD_TO, 0, -height % PAD_TO), mode="replicate")


def assumption_note(folder: Path, network: str) -> tuple[str, ...]:
    """A sentence for the user where `Normalisation.from_folder` assumes ImageNet's; none where settings are stated.

    Raises:
        WeightsError: the file cannot be read.
    """
    if _stated(folder) is not None:
        return ()
    return (
        f"there is no {_FILE} next to {network}: ImageNet's mean and std are assumed; put the file there if the network"
        " needs others",
    )


def _stated(folder: Path) -> Mapping[str, Any] | None:
    path = settings_file(folder)
    if path is None:
        return None
    settings = _read(path)
    if path.name == _FILE:
        return settings
    nested = settings.get(_NESTED_KEY)
    return cast("dict[str, Any]", nested) if isinstance(nested, dict) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON ({first_line(error)})", _EXPECTED, _AGAIN) from error  # fmt: skip
    if not isinstance(settings, dict):
        raise WeightsError(f"{path} is not a JSON object", _EXPECTED, _AGAIN)
    return cast("dict[str, Any]", settings)


def _of_values(values: Mapping[str, Any], source: str) -> Normalisation:
    """The normalisation of complete settings.

    Raises:
        WeightsError: a step's numbers are missing or invalid.
    """
    rescale = values["rescale_factor"] if values["do_rescale"] else 1.0
    if not isinstance(rescale, int | float):
        raise WeightsError(f"{source} has rescale_factor {rescale}", "it must be a number",
                           "Correct it, or set do_rescale to false")  # fmt: skip
    flip = bool(values["do_flip_channel_order"])
    if not values["do_normalize"]:
        return Normalisation((0.0,) * 3, (1.0,) * 3, rescale, flip)
    mean, std = (_per_channel(values, key, source) for key in ("image_mean", "image_std"))
    return Normalisation(mean, std, rescale, flip)


def _of_class(name: str, settings: Mapping[str, Any], source: str) -> Normalisation:
    """The normalisation by a class of transformers: its values, checked on an image, as it may ignore some of them.

    Raises:
        WeightsError: as `from_processor`.
    """
    processor = _processor(name, settings, source)
    values = {key: getattr(processor, key, None) for key in (*_DEFAULTS, "image_mean", "image_std")}
    stated = _of_values(values, source)
    image_HW3 = np.random.default_rng(0).integers(0, 256, (PAD_TO, PAD_TO, 3), dtype=np.uint8)
    theirs = _pixels(processor, image_HW3, name, source)
    plain = Normalisation((0.0,) * 3, (1.0,) * 3, stated.rescale)
    for base, flip in itertools.product((stated, plain), (stated.flip, not stated.flip)):
        candidate = Normalisation(base.mean, base.std, base.rescale, flip)
        ours = candidate.prepare(image_HW3[None], torch.device("cpu"))
        if theirs.shape == ours.shape and (theirs - ours).abs().max() <= _TOLERANCE * theirs.abs().max():
            return candidate
    raise WeightsError(f"{source} names {name}, which does more to pixels than rescaling and normalising",
                       "an assistant's pixels are only rescaled, normalised and reordered (BGR)", _REMEDY)  # fmt: skip


def _processor(name: str, settings: Mapping[str, Any], source: str) -> Any:
    """transformers' image processor of that name with these settings, by preference the variant without torchvision."""
    import transformers
    from transformers.models.auto import image_processing_auto

    family = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", name)
    find: Any = image_processing_auto.get_image_processor_class_from_name
    found = find(f"{family}ImageProcessorPil") or find(f"{family}ImageProcessor")
    if found is None:
        raise WeightsError(f"{source} names {name}",
                           f"transformers {transformers.__version__} has no image processor of that name",
                           _REMEDY)  # fmt: skip
    try:
        with quiet():
            return found.from_dict(dict(settings))
    except Exception as error:  # unsuitable settings raise errors of any class
        raise WeightsError(f"{source} names {name}, which refuses its settings ({first_line(error)})",
                           "it must hold the settings of that image processor", _REMEDY) from error  # fmt: skip


def _pixels(processor: Any, image_HW3: npt.NDArray[np.uint8], name: str, source: str) -> torch.Tensor:
    """A processor's output [1, 3, H, W] for an image, without its steps of size."""
    same_size = {step: False for step in ("do_resize", "do_center_crop", "do_pad") if hasattr(processor, step)}
    try:
        with quiet():
            return processor(images=[image_HW3], return_tensors="pt", **same_size)["pixel_values"].float()
    except Exception as error:  # as above
        raise WeightsError(f"{source} names {name}, which cannot prepare an image alone ({first_line(error)})",
                           "an assistant takes an image and nothing else", _REMEDY) from error  # fmt: skip


def _per_channel(settings: Mapping[str, Any], key: str, source: str) -> tuple[float, ...]:
    """Mean or std of R, G and B; one number stands for all three.

    Raises:
        WeightsError: they are missing or invalid.
    """
    found = settings.get(key)
    values = cast("list[object]", found) if isinstance(found, list | tuple) else [found] * 3
    numbers = tuple(float(value) for value in values if isinstance(value, int | float))
    if len(numbers) != 3 or len(values) != 3 or (key == "image_std" and 0 in numbers):
        raise WeightsError(f"{source} has {key} {found}" if key in settings else f"{source} has no {key}",
                           "it must have three numbers, for R, G and B (a standard deviation must not be 0)",
                           f"Correct {key}, or set do_normalize to false")  # fmt: skip
    return numbers
