"""Any semantic network of transformers as a student: found by its folder or hub name, with the run's classes.

It must give every pixel logits of the classes (`AutoModelForSemanticSegmentation`) and take panoramas of the working
size. SegFormers are built in `model`, which knows their parts.

Legend: B batch, C classes, D feature channels, H W input, h w a quarter of it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSemanticSegmentation, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as SEMANTIC

from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import WeightsError, counted, first_line
from pipeline.pretrained import lacking_weights, quiet
from pipeline.student.start import note_of_rows, rows_by_class, same_classes

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_REMEDY = "Correct student.weights"
Config = TypeVar("Config", bound=PretrainedConfig)


def start_network(folder: Path, label_set: LabelSet) -> tuple[PreTrainedModel, str]:
    """The network of a folder with the classes of `label_set`; random parts come from torch's global generator.

    Of weights with other classes, what belongs to a class is reused by its name and by known merges. A folder without
    weights gives its network with random ones.

    Returns:
        The network, and for the user which classes start from random weights; empty if none do, or all.

    Raises:
        WeightsError: it is no semantic network of transformers, is broken, or lacks weights of its encoder.
    """
    own = _config(folder)
    wanted = with_classes(own, label_set)
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        return _random(wanted, folder), ""
    known = class_names(own)
    if same_classes(known, label_set.names):
        model, missing = _load(folder, wanted)
        return model, _HEAD_IS_RANDOM if missing else ""
    before, missing = _load(folder, own)
    after, of_classes = _random(wanted, folder), _class_tensors(own, folder)
    rows = (None,) * len(label_set) if missing & of_classes else rows_by_class(known, label_set.names)
    _copy(before, after, of_classes, rows)
    return after, _HEAD_IS_RANDOM if missing & of_classes else note_of_rows(known, label_set.names, rows)


_HEAD_IS_RANDOM = "the student's initial weights have no trained head: its head starts from random weights"


def load_network(folder: Path) -> PreTrainedModel:
    """A student that was saved, with all of its weights.

    Raises:
        WeightsError: it is broken, or lacks some.
    """
    model, missing = _load(folder, _config(folder))
    if missing:
        raise lacking_weights(folder, sorted(missing))
    return model


def encoder_prefix(model: torch.nn.Module) -> str:
    """What the names of the encoder's parameters begin with; empty where transformers does not tell."""
    prefixes = (str(getattr(model, "base_model_prefix", "")), "backbone")
    return next((f"{prefix}." for prefix in prefixes if prefix and hasattr(model, prefix)), "")


def to_quarter(logits_BCrs: Tensor, height: int, width: int) -> Tensor:
    """Logits of any resolution at a quarter of the input's, rounded up."""
    size = (-(-height // 4), -(-width // 4))
    if logits_BCrs.shape[-2:] == size:
        return logits_BCrs
    return functional.interpolate(logits_BCrs, size=size, mode="bilinear")


def levels_among(
    hidden_states: Sequence[Tensor], height: int, width: int, strides: Sequence[int]
) -> tuple[Tensor, ...]:
    """Of an encoder's hidden states the last map [B, D, rows, columns] of each stride; empty unless all are there."""
    maps = {tuple(state.shape[-2:]): state for state in hidden_states if state.ndim == 4}
    sizes = [(-(-height // stride), -(-width // stride)) for stride in strides]
    return tuple(maps[size] for size in sizes) if all(size in maps for size in sizes) else ()


def require_fit(model: PreTrainedModel, height: int, learned_width: int, batch: int, predicted_width: int) -> None:
    """Refuse a network that does not take images of the sizes that it will see, or gives no logits of its classes.

    Args:
        model: on its device; it stays as it is.
        height: rows of the panoramas.
        learned_width: columns in training.
        batch: images in training.
        predicted_width: columns when it predicts, one image at a time.

    Raises:
        WeightsError: it does not.
    """
    trial = copy.deepcopy(model)  # a pass in training changes the statistics of batch norms
    _require_logits(trial.train(), (batch, 3, height, learned_width))
    _require_logits(trial.eval(), (1, 3, height, predicted_width))


def _require_logits(model: PreTrainedModel, shape: tuple[int, int, int, int]) -> None:
    kind, classes = str(model.config.model_type), len(class_names(model.config))
    try:
        with torch.inference_mode():
            found = tuple(cast(Any, model)(pixel_values=torch.zeros(shape, device=model.device)).logits.shape)
    except Exception as error:  # networks raise errors of any class for sizes that they do not take
        batch, _, height, width = shape
        raise WeightsError(f"the student's network ({kind}) does not take {counted(batch, 'image')} of "
                           f"{width}x{height} pixels ({first_line(error)})",
                           "it must take batches of whole panoramas, padded with wrapped columns",
                           "Choose one that takes images of any size, such as a SegFormer, MobileViT or UperNet, or "
                           "another distill.batch_size") from error  # fmt: skip
    if len(found) != 4 or found[1] != classes:
        raise WeightsError(f"the student's network ({kind}) gives an output of shape {found}",
                           f"it must be logits of the {classes} classes, [B, C, h, w]", _REMEDY)  # fmt: skip


def _config(folder: Path) -> PretrainedConfig:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # json and transformers raise errors of any class
        raise _unreadable(folder, error) from error
    if config.model_type not in SEMANTIC:
        raise WeightsError(f"{folder} is of type {config.model_type}",
                           "a student outputs logits of classes for every pixel, as these types of transformers do: "
                           f"{', '.join(sorted(SEMANTIC))} (networks that predict masks with classes, such as "
                           "Mask2Former, do not)", "Set student.weights to one of them")  # fmt: skip
    if getattr(config, "use_auxiliary_head", False):
        config.use_auxiliary_head = False  # its output is not learned from
    return config


def class_names(config: PretrainedConfig) -> tuple[str, ...]:
    """Names of a network's classes, in the order of their ids."""
    return tuple(str(name) for _, name in sorted(cast("dict[int, str]", config.id2label).items()))


def with_classes(config: Config, label_set: LabelSet) -> Config:
    """A copy of a network's settings with other classes, which folders saved with it name, too."""
    changed = copy.deepcopy(config)
    changed.id2label = dict(enumerate(label_set.names))
    changed.label2id = {name: class_id for class_id, name in enumerate(label_set.names)}
    changed.semantic_loss_ignore_index = IGNORE
    return changed


def _random(config: PretrainedConfig, folder: Path) -> PreTrainedModel:
    try:
        with quiet():
            return cast(PreTrainedModel, AutoModelForSemanticSegmentation.from_config(config))
    except Exception as error:
        raise _unreadable(folder, error) from error


def _load(folder: Path, config: PretrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    """The network, float32, and the names of the tensors of its head that are random.

    Raises:
        WeightsError: it is broken, or lacks tensors of its encoder.
    """
    try:
        with quiet():
            loaded: Any = AutoModelForSemanticSegmentation.from_pretrained(
                folder, config=config, output_loading_info=True, trust_remote_code=False, local_files_only=True,
                ignore_mismatched_sizes=False, dtype=torch.float32,
            )  # fmt: skip
    except Exception as error:
        raise _unreadable(folder, error) from error
    model, report = loaded
    missing = {str(key) for key in report["missing_keys"]}
    encoder = encoder_prefix(model)
    if lacking := sorted(key for key in missing if encoder and key.startswith(encoder)):
        raise lacking_weights(folder, lacking)
    return model, missing


def _class_tensors(config: PretrainedConfig, folder: Path) -> set[str]:
    """Names of the tensors that have a row per class: those whose shape depends on the number of classes."""

    def shapes(more: int) -> dict[str, torch.Size]:
        changed, count = copy.deepcopy(config), len(class_names(config)) + more
        changed.id2label = {number: str(number) for number in range(count)}
        changed.label2id = {str(number): number for number in range(count)}
        with torch.device("meta"):
            return {name: value.shape for name, value in _random(changed, folder).state_dict().items()}

    own, other = shapes(0), shapes(1)
    return {name for name, shape in own.items() if other[name] != shape}


@torch.no_grad()
def _copy(before: PreTrainedModel, after: PreTrainedModel, of_classes: set[str], rows: Sequence[int | None]) -> None:
    """Give `after` the weights of `before`; of tensors with a row per class these rows, where there are any."""
    source, target = before.state_dict(), after.state_dict()
    for name, value in target.items():
        if name not in of_classes:
            value.copy_(source[name])
            continue
        for class_id, row in enumerate(rows):
            if row is not None:
                value[class_id] = source[name][row]


def _unreadable(folder: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{folder} cannot be loaded ({first_line(error)})",
                        "it must hold a semantic segmentation network of transformers", _REMEDY)  # fmt: skip
