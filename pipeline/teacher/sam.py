"""SAM (F_T): loading the demo model or a real checkpoint, and automatic masks of a window.

Only this module, `stock_masks`, `demo_sam`, `mobile_sam` and `generator` import segment_anything; stage two imports
none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from pipeline.errors import WeightsError, counted, first_few
from pipeline.precision import chosen_precision
from pipeline.teacher.config import SamConfig
from pipeline.teacher.demo_sam import PATCH, SIZE, WIDTH, build_demo_sam
from pipeline.teacher.generator.embeddings import KeptEmbeddings
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.generator.prompts import FurtherPrompts
from pipeline.teacher.identity import mask_source_identity, unreadable_weights, weights_path
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.mobile_sam import build_mobile_sam, is_mobile_sam, with_our_names

_OURS: dict[str, Callable[[], Sam]] = {"demo": build_demo_sam, "vit_t": build_mobile_sam}
"""Builders of the models that segment_anything does not have."""
_KNOWN: dict[tuple[int, ...], str] = {
    (1, SIZE // PATCH, SIZE // PATCH, WIDTH): "demo",
    (1, 64, 64, 768): "vit_b",
    (1, 64, 64, 1024): "vit_l",
    (1, 64, 64, 1280): "vit_h",
}
"""Model by the shape of the encoder's position embedding; MobileSAM's encoder has none."""
_NAMED = re.compile("vit_[tblh](?![a-z])")
"""Models in the names of checkpoints."""
_WRAPPERS = ("model", "state_dict")
"""Keys under which training programs store the weights beside the optimiser."""


def load_sam(config: SamConfig, device: torch.device) -> Sam:
    """The SAM of a recipe in float32, in evaluation mode; weights of the checkpoint that are not SAM's are ignored.

    Raises:
        WeightsError: the checkpoint is missing, no checkpoint, or that of another model.
    """
    return load_sam_and_notes(config, device)[0]


def load_mask_generator(config: SamConfig, device: torch.device) -> SamMaskGenerator:
    """Automatic masks by the SAM of a recipe; what is odd about its checkpoint is noted.

    Raises:
        WeightsError: as `load_sam`.
    """
    sam, notes = load_sam_and_notes(config, device)
    return SamMaskGenerator(sam, config, notes, mask_source_identity(config))


class SamMaskGenerator:
    """Our `MaskSource`: the masks of the stock generator, in its order.

    Args:
        sam: the model, on its device.
        config: settings of the generator.
        notes: on its checkpoint, a sentence each.
        identity: see `MaskSource`.
    """

    def __init__(self, sam: Sam, config: SamConfig, notes: Sequence[str] = (), identity: str = "sam") -> None:
        self.identity = identity
        self._notes = notes
        self.generator = AutomaticMaskGenerator(
            sam,
            **config.generator_settings(),
            precision=chosen_precision(config.precision, sam.device),
            memory_gib=config.memory_gib,
            refine=config.refine,
            jitter=config.jitter,
            keep_levels=config.keep_levels,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the checkpoint and slower implementations; most runs have none."""
        reasons = self.generator.fallback_reasons
        return (
            *self._notes,
            *(f"{part} uses the slower standard implementation ({reason})" for part, reason in reasons.items()),
            *(f"the GPU's memory holds fewer {units} at once than was estimated, which is slower (a lower "
              "sam.memory_gib avoids the attempt)" for units in self.generator.shrunk),
        )  # fmt: skip

    def __call__(self, window_hw3: npt.NDArray[np.uint8]) -> MaskSet:
        """Masks of an RGB window, uint8 [h, w, 3]; the set may be empty."""
        return self.generator.generate(window_hw3)

    def many(self, images: Sequence[npt.NDArray[np.uint8]], kept: KeptEmbeddings | None = None) -> list[MaskSet]:
        """See `MaskSource`; a GPU embeds them in batches.

        Args:
            images: RGB [h, w, 3].
            kept: gets their embeddings, for `answers`.

        Raises:
            DeviceMemoryError: a GPU's memory is too small for one window, prompt or mask.
        """
        return self.generator.generate_many(images, kept)

    def answers(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        further: Sequence[FurtherPrompts],
        kept: KeptEmbeddings | None = None,
    ) -> list[MaskSet]:
        """Masks of each of several RGB images for its own further prompts, filtered as those of the grid.

        Args:
            images: RGB [h, w, 3].
            further: the prompts of each.
            kept: has embeddings of the same images, which are taken from it; others are computed.

        Raises:
            DeviceMemoryError: as `many`.
        """
        return self.generator.answer_many(images, further, kept)


def load_sam_and_notes(config: SamConfig, device: torch.device) -> tuple[Sam, tuple[str, ...]]:
    """As `load_sam`, with what the user should know of its checkpoint, a sentence each.

    Raises:
        WeightsError: as `load_sam`.
    """
    path = weights_path(config)
    state = with_our_names(_read_state(path))
    sam = (_OURS | sam_model_registry)[config.model]()
    own = sam.state_dict()
    _require_all(path, config.model, state, own)
    sam.load_state_dict(state, strict=False)
    notes = (*_ignored_note([name for name in state if name not in own]), *_name_note(path, config.model))
    return sam.float().eval().to(device), notes


def _ignored_note(ignored: Sequence[str]) -> tuple[str, ...]:
    """A sentence on a checkpoint's weights that are not SAM's, given by name; none if there are none."""
    return tuple(f"{counted(len(ignored), 'weight tensor')} of the checkpoint ignored, as SAM has no such weights: "
                 f"{first_few(ignored)}" for _ in ignored[:1])  # fmt: skip


def _name_note(path: Path, model: str) -> tuple[str, ...]:
    """A sentence where a checkpoint's name is that of another model than its weights, as of tuned ones that were merged
    into the wrong file; none where it is not."""
    named = _NAMED.findall(path.name.lower())
    if not named or model in named:
        return ()
    return (f"{path.name} holds the weights of {model}, according to their shapes, though its name says {named[0]}",)


def _require_all(path: Path, model: str, state: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    """Refuse weights that lack some of a SAM's (`own`), or have other shapes."""
    missing = [name for name in own if name not in state]
    misshapen = [name for name in own if name in state and state[name].shape != own[name].shape]
    if not missing and not misshapen:
        return
    positions = state.get("image_encoder.pos_embed", torch.empty(0))
    known = "vit_t" if is_mobile_sam(state) else _KNOWN.get(positions.shape)
    if known not in (None, model):
        found, expected = f"holds weights of {known}", f"the recipe asks for weights of {model}"
    elif missing:
        found = f"lacks {len(missing)} of the {len(own)} weight tensors of {model} ({first_few(missing)})"
        expected = "it may hold more than SAM's weights, but must hold all of them"
    else:
        name = misshapen[0]
        found, expected = f"holds {name} of shape {list(state[name].shape)}", f"{model} has {list(own[name].shape)}"
    raise WeightsError(f"{path} {found}", expected, "Correct sam.model or sam.checkpoint")


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise unreadable_weights(path, "SAM", error) from error
    except Exception as error:  # files that are no checkpoint raise errors of any class
        raise WeightsError(f"{path} is not a checkpoint, is broken, or holds more than tensors and plain values",
                           "it must be a file of torch.save that can be read without running code from it",
                           "Download it again (`goodsam fetch-weights` checks the hash), or save only its state "
                           "dict") from error  # fmt: skip
    for wrapper in _WRAPPERS:
        if isinstance(saved, dict) and isinstance(saved.get(wrapper), dict):
            saved = saved[wrapper]
    if not isinstance(saved, dict) or not all(isinstance(value, torch.Tensor) for value in saved.values()):
        raise WeightsError(f"{path} holds no weights", "it must be a state dict of SAM", "Correct sam.checkpoint")
    return {str(name).removeprefix("module."): value for name, value in saved.items()}  # DataParallel's prefix
