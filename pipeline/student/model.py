"""The student: a network that sees the whole panorama, whose left and right borders are neighbours.

It is a SegFormer, which this module builds, or another network of transformers (`any_network`).

Legend: B batch, C classes, D feature channels, H W panorama, h w the student's own resolution: a quarter of what it
sees, which is the panorama, enlarged by the student's scale; 3 = RGB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from pipeline.classes import LabelSet
from pipeline.errors import WeightsError, first_line
from pipeline.pretrained import DEMO, IMAGENET_MEAN, IMAGENET_STD, find_network, lacking_weights, network_digest, quiet
from pipeline.student.any_network import class_names, load_network, start_network, with_classes
from pipeline.student.config import WRAP, StudentConfig
from pipeline.student.folder import require_student
from pipeline.student.network_pass import LEVEL_STRIDES, pass_through
from pipeline.student.start import note_of_rows, rows_by_class, same_classes

STRIDE = 4
"""Pixels per logit: the decode head works at a quarter of the resolution."""
DEMO_START = DEMO / "student_start"
"""The embedded small start, `student.weights = "demo"`."""

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"depths": [2, 2, 2, 2], "hidden_sizes": [16, 32, 64, 128], "num_attention_heads": [1, 2, 4, 8],
             "decoder_hidden_size": 64},
    "b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256], "num_attention_heads": [1, 2, 5, 8],
           "decoder_hidden_size": 256},
    "b1": {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 320, 512], "num_attention_heads": [1, 2, 5, 8],
           "decoder_hidden_size": 256},
    "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "num_attention_heads": [1, 2, 5, 8],
           "decoder_hidden_size": 768},
}  # fmt: skip
"""SegFormer paper, table 6 (encoders) and section 3.2 (decoders); tiny is ours."""

_SEGFORMER = "segformer"
_SEGMENTS = "SegformerForSemanticSegmentation"
_CLASSIFIER, _FUSE = "decode_head.classifier.weight", "decode_head.linear_fuse.weight"
_SCALE = "panorama_scale"
"""Key of the config of a saved student; those without it see the panorama as it is."""
_ROWS_VERSION = 1
"""Raised when the code reuses other rows of initial weights with other classes."""
_LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""Errors of transformers for weights that are missing, broken or of another kind."""


@dataclass(frozen=True)
class StudentOutput:
    """The student's output for a batch."""

    logits_BChw: Tensor
    """Class logits at a quarter of the resolution that the student sees."""
    levels: tuple[Tensor, ...]
    """Encoder levels 1..4, each [B, D, rows, columns] of what the student sees, by the strides of LEVEL_STRIDES; none
    where the network has no such maps."""


@dataclass(frozen=True)
class StudentStart:
    """A student before training."""

    model: PreTrainedModel
    """Network with the classes of the run."""
    note: str
    """Which classes start from random weights, for the user; empty if none do, or all."""


def start_student(config: StudentConfig, label_set: LabelSet) -> StudentStart:
    """A student with the classes of `label_set`; random parts come from torch's global generator.

    Of initial weights with other classes, or the same in another order, rows of the final classifier are reused by the
    names of the classes and by known merges.

    Raises:
        WeightsError: `config.weights` is missing, broken, no SegFormer, or of another size than `config.size` ("tiny"
            takes any).
    """
    if config.kind == "transformers":
        return StudentStart(*start_network(find_network(config.weights, "student.weights"), label_set))
    start = _start_segformer(config, label_set)
    setattr(start.model.config, _SCALE, config.scale)  # saved with it: who loads a student need not know its recipe
    return start


def _start_segformer(config: StudentConfig, label_set: LabelSet) -> StudentStart:
    if config.weights == "":
        architecture = with_classes(SegformerConfig(**ARCHITECTURES[config.size]), label_set)
        return StudentStart(SegformerForSemanticSegmentation(architecture), "")
    folder = _start_folder(config.weights)
    architecture = _architecture_of(folder)
    if config.size != "tiny":  # a size of ours: it takes initial weights of any shape
        _check_size(folder, architecture, config.size)
    known = class_names(architecture)
    if _needs_row_reuse(architecture, label_set):
        model, random = _pretrained(folder, architecture)
        rows = (None,) * len(label_set) if _CLASSIFIER in random else rows_by_class(known, label_set.names)
        _reuse_rows(model, label_set, rows)
    else:
        model, random = _pretrained(folder, with_classes(architecture, label_set))
        rows = (None,) * len(label_set)
    if _CLASSIFIER in random and _FUSE in random:
        return StudentStart(model, f"{config.weights} is an encoder: the student's head starts from random weights")
    as_it_is = same_classes(known, label_set.names) and _CLASSIFIER not in random
    return StudentStart(model, "" if as_it_is else note_of_rows(known, label_set.names, rows))


def start_identity(config: StudentConfig, label_set: LabelSet) -> str:
    """Identifies the initial weights of a student with these classes by content; empty where there are none.

    Raises:
        WeightsError: `config.weights` is missing, or no SegFormer.
    """
    if not config.weights:
        return ""
    if config.kind == "transformers":
        return network_digest(find_network(config.weights, "student.weights"))
    folder = _start_folder(config.weights)
    by_name = _needs_row_reuse(_architecture_of(folder), label_set)
    return network_digest(folder) + (f" by name {_ROWS_VERSION}" if by_name else "")


def load_student(folder: Path) -> PreTrainedModel:
    """A student that `save_student` wrote, ready to predict.

    Raises:
        WeightsError: the folder holds no student, or a broken one.
    """
    require_student(folder)
    try:
        if _type_of(folder) != _SEGFORMER:
            return load_network(folder).eval()
        return _pretrained(folder, _architecture_of(folder), whole=True)[0].eval()
    except WeightsError as error:
        raise WeightsError(error.found, "it must be as `goodsam distill` wrote it",
                           "Remove that folder and run `goodsam distill` again: it resumes from its last checkpoint"
                           ) from error  # fmt: skip


def save_student(model: PreTrainedModel, folder: Path, working_size: tuple[int, int] | None = None) -> None:
    """Write the student (float32) as a folder that transformers' own `from_pretrained` and pipelines understand.

    Args:
        model: the student.
        folder: made if it does not exist.
        working_size: (height, width) of the panoramas that it learned from; transformers' pipelines resize images to
            what the student sees of them. None leaves their size.
    """
    with quiet():
        model.save_pretrained(folder)
    scale = _scale_of(model)
    height, width = (round(scale * length) for length in working_size or (0, 0))
    size: dict[str, int] | None = {"height": height, "width": width} if working_size else None
    processor = SegformerImageProcessor(
        do_resize=size is not None, size=size, do_reduce_labels=False,
        image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD),
    )  # fmt: skip
    processor.save_pretrained(folder)


def normalise(images_B3HW: Tensor) -> Tensor:
    """RGB in [0, 1] -> what the network expects (ImageNet's mean and deviation)."""
    pixels_B3HW = images_B3HW.clone()  # by Python numbers: a GPU would wait for the copy of a tensor
    for channel_BHW, mean, deviation in zip(pixels_B3HW.unbind(1), IMAGENET_MEAN, IMAGENET_STD, strict=True):
        channel_BHW.sub_(mean).div_(deviation)
    return pixels_B3HW


def to_unit(images_BHW3: Tensor) -> Tensor:
    """uint8 RGB [B, H, W, 3] -> float32 [B, 3, H, W] in [0, 1]."""
    return images_BHW3.permute(0, 3, 1, 2).float() / 255


def forward_wrapped(model: PreTrainedModel, pixels_B3HW: Tensor, wrap: int) -> StudentOutput:
    """Run the student on normalised pixels, enlarged by its scale and padded by `wrap` columns of the other side of the
    seam.

    Args:
        model: the student, in training or evaluation mode.
        pixels_B3HW: from `normalise`.
        wrap: columns of what it sees, added on either side and cut off the outputs, a multiple of 32; 0 for crops,
            which have borders.

    Raises:
        ValueError: `wrap` is no multiple of 32.
    """
    if wrap % LEVEL_STRIDES[-1]:
        raise ValueError(f"wrap is {wrap}; it must be a multiple of {LEVEL_STRIDES[-1]}, whole cells of every level")
    seen_B3HW = enlarged(model, pixels_B3HW, wrap > 0)
    wrap = min(wrap, seen_B3HW.shape[-1])
    logits_BChw, levels = pass_through(model, wrap_columns(seen_B3HW, wrap))
    unwrapped = (unwrap_columns(x, wrap // stride) for x, stride in zip(levels, LEVEL_STRIDES, strict=False))
    return StudentOutput(unwrap_columns(logits_BChw, wrap // STRIDE), tuple(unwrapped))


def enlarged(model: PreTrainedModel, pixels_B3HW: Tensor, wrap: bool) -> Tensor:
    """What the student sees: the pixels, bilinearly enlarged by its scale, to whole cells of its logits.

    Logits of cells that only begin inside the picture would be stretched over it later: the last row would be off by as
    much as the cell reaches beyond. So the picture is stretched to the last cell's end, by 3 rows at most.

    Args:
        model: the student.
        pixels_B3HW: from `normalise`.
        wrap: the first and last column are neighbours.
    """
    scale = _scale_of(model)
    if scale == 1:
        return pixels_B3HW
    margin = 2 if wrap else 0  # columns, of which a scale in halves makes whole ones
    wider = wrap_columns(pixels_B3HW, margin)
    rows, columns = (side * round(2 * scale) // 2 for side in wider.shape[-2:])  # numbers, or symbols of an export
    whole_rows = (rows + STRIDE - 1) // STRIDE * STRIDE  # of a negative number ONNX rounds the quotient up
    larger = functional.interpolate(wider, size=(whole_rows, columns), mode="bilinear")
    return unwrap_columns(larger, round(margin * scale))


@torch.inference_mode()
def predict_logits(model: PreTrainedModel, images_BHW3: Tensor, wrap: int = WRAP) -> Tensor:
    """Logits logits_BChw of whole panoramas, at a quarter of the resolution that the student sees.

    Args:
        model: the student in eval mode.
        images_BHW3: uint8 RGB, on the model's device.
        wrap: as for `forward_wrapped`.

    Raises:
        ValueError: the images have another type or shape; `wrap` is no multiple of 32.
    """
    if images_BHW3.dtype != torch.uint8 or images_BHW3.shape[3:] != (3,):
        raise ValueError(f"images are {images_BHW3.dtype} {tuple(images_BHW3.shape)}; they must be uint8 [B, H, W, 3]")
    return forward_wrapped(model, normalise(to_unit(images_BHW3)), wrap).logits_BChw.float()


def resize_logits(logits_BChw: Tensor, height: int, width: int, wrap: bool = True) -> Tensor:
    """Bilinear resize to [B, C, height, width]; with `wrap`, the first and last column are neighbours."""
    columns = logits_BChw.shape[-1]
    if (logits_BChw.shape[-2], columns) == (height, width):
        return logits_BChw
    # The fewest columns whose resized width is whole: one when `width` is a multiple of `columns`.
    margin = columns // math.gcd(columns, width) if wrap else 0
    margin_resized = margin * width // columns
    resized = functional.interpolate(
        wrap_columns(logits_BChw, margin), size=(height, width + 2 * margin_resized), mode="bilinear"
    )
    return unwrap_columns(resized, margin_resized)


def wrap_columns(x: Tensor, count: int) -> Tensor:
    """Continue images or maps [..., W] over the seam by `count` columns on either side."""
    return torch.cat((x[..., -count:], x, x[..., :count]), dim=-1) if count else x


def unwrap_columns(x: Tensor, count: int) -> Tensor:
    """Cut `count` columns off either side."""
    return x[..., count:-count] if count else x


def _scale_of(model: PreTrainedModel) -> float:
    return float(getattr(model.config, _SCALE, 1.0))


def _start_folder(weights: str) -> Path:
    if weights != "demo":
        return find_network(weights, "student.weights")
    if not (DEMO_START / "config.json").is_file():
        raise WeightsError(f"{DEMO_START} does not hold the demo's initial weights", "they come with the project",
                           "Reinstall the project, or set student.weights")  # fmt: skip
    return DEMO_START


def _type_of(folder: Path) -> str:
    return str(_settings_of(folder).get("model_type", _SEGFORMER))


def _settings_of(folder: Path) -> dict[str, Any]:
    try:
        return SegformerConfig.get_config_dict(folder)[0]
    except _LOAD_ERRORS as error:
        raise _unreadable(folder, error) from error


def _architecture_of(folder: Path) -> SegformerConfig:
    values = _settings_of(folder)
    if values.get("model_type") != _SEGFORMER:
        found = f"is of type {values['model_type']}" if "model_type" in values else "has no config.json"
        raise WeightsError(f"{folder} {found}", "with student.kind = 'segformer' the student is a SegFormer",
                           "Set student.weights to a SegFormer, such as nvidia/mit-b0, or student.kind to "
                           "'transformers'")  # fmt: skip
    architecture = SegformerConfig.from_dict(values)
    architecture.reshape_last_stage = True  # without it transformers takes the last level for square
    return architecture


def _check_size(folder: Path, architecture: SegformerConfig, size: str) -> None:
    for key in ("depths", "hidden_sizes", "num_attention_heads"):
        found, expected = list(getattr(architecture, key)), ARCHITECTURES[size][key]
        if found != expected:
            raise WeightsError(f"{folder} has {key} {found}", f"student.size {size!r} has {expected}",
                               "Correct student.size or student.weights")  # fmt: skip


def _needs_row_reuse(architecture: SegformerConfig, label_set: LabelSet) -> bool:
    """Whether rows of the initial final classifier must be moved to other class ids.

    An encoder has no such classifier, though its config may name the classes that it was trained on (ImageNet has
    poles, too). Where no class is known, a classifier of another size is random anyway.
    """
    known = class_names(architecture)
    written_by = architecture.architectures or [_SEGMENTS]
    if _SEGMENTS not in written_by or same_classes(known, label_set.names):
        return False
    return len(known) == len(label_set) or any(row is not None for row in rows_by_class(known, label_set.names))


def _reuse_rows(model: SegformerForSemanticSegmentation, label_set: LabelSet, rows: Sequence[int | None]) -> None:
    """Give the student a final classifier for `label_set`, with these rows of its old one, random where None."""
    before: Any = model.decode_head.classifier
    after = nn.Conv2d(before.in_channels, len(label_set), kernel_size=1)
    nn.init.normal_(after.weight, std=model.config.initializer_range)  # as transformers does it
    bias: Tensor = cast(Tensor, after.bias)
    nn.init.zeros_(bias)
    with torch.no_grad():
        for class_id, row in enumerate(rows):
            if row is not None:
                after.weight[class_id] = before.weight[row]
                bias[class_id] = before.bias[row]
    model.decode_head.classifier = after
    model.config = with_classes(model.config, label_set)


def _pretrained(
    folder: Path, architecture: SegformerConfig, whole: bool = False
) -> tuple[SegformerForSemanticSegmentation, set[str]]:
    """Load weights as float32; what the head lacks or has in another size stays random, unless `whole`.

    Returns:
        The network and the names of the tensors that are random.
    """
    try:
        with quiet():
            loaded: Any = SegformerForSemanticSegmentation.from_pretrained(
                folder, config=architecture, ignore_mismatched_sizes=not whole, output_loading_info=True
            )
    except _LOAD_ERRORS as error:
        raise _unreadable(folder, error) from error
    model, report = loaded
    lacking = [str(key) for key in report["missing_keys"] if whole or not str(key).startswith("decode_head.")]
    lacking += [str(key) for key in report["mismatched_keys"] if "decode_head." not in str(key)]
    if lacking:
        raise lacking_weights(folder, lacking)
    return model.float(), {str(key) for key in report["missing_keys"]} | {
        str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]
    }


def _unreadable(folder: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{folder} cannot be loaded ({first_line(error)})", "it must hold a SegFormer",
                        "Correct student.weights")  # fmt: skip
