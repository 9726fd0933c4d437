"""How much an accelerator works on at once: an estimate; where it was too bold, `accelerator.Pieces` halves.

The estimate is of the largest moment of each step, rounded up; it decides how fast masks come, not which. Sizes are
powers of two, so that a little more or less free memory does not change them.

Legend: C channels of the encoder's blocks or of the decoder, T cells of a window, S side of the encoder's square.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling import Sam

from pipeline.teacher.generator.encoder import why_not_walked

GIB = 1 << 30
_SHARE_OF_FREE = 0.5
"""Of what is free; the rest is the assistant's, and slack for the allocator."""
_UNKNOWN = 2 * GIB
"""Where a device does not tell what is free."""
_IMAGE_BYTES = 24
"""Per pixel of S S, before the encoder: float32 RGB, once alone and once in the batch."""
_ENCODER_NUMBERS = 24
"""C T numbers of a window inside the encoder, most of them queries, keys and values with their positions folded in."""
_PLAIN_ENCODER_NUMBERS = 120
"""The same per pixel of S S for encoders that are not SAM's, or do not tell C: what ViT-H has."""
_DECODER_NUMBERS = 9
"""C T numbers of a prompt inside the decoder: the cells with and without position, the upscaled pixels, the logits."""
_PIXEL_BYTES = 20
"""Bytes per pixel of an upsampled mask: its logit, comparisons with thresholds, the place of those that are kept."""
_MOST_WINDOWS, _MOST_PROMPTS, _MOST_MASKS = 16, 1024, 256
"""More at once is not faster: each fills the largest GPU, and the host launches some 280 kernels per chunk of prompts,
about what 256 of them keep a large GPU busy for (by arithmetic; not measured)."""
_MOST_BIAS_NUMBERS = 1 << 28


class Capacity(NamedTuple):
    """What is worked on at once."""

    windows: int
    """Images in a batch of the encoder."""
    bias_numbers: int
    """Numbers of the bias that its attention holds at once."""
    prompts: int
    """Prompts in a chunk of the decoder."""
    pixels: int
    """Pixels in a chunk of upsampled masks."""


def capacity(sam: Sam, precision: torch.dtype, memory_gib: float, prompts: int) -> Capacity:
    """What fits into the memory of the device on which a SAM lies, beside its weights.

    The largest batch of the encoder may take all of the memory. It is gone when the decoder works: that keeps the
    logits of all masks of a window until duplicates are known, and has half of what is left for a chunk of prompts
    and half for a chunk of upsampled masks.

    Args:
        sam: on its device.
        precision: of the encoder's blocks and of the decoder's cells.
        memory_gib: GiB that may be used; 0 for half of what is free now.
        prompts: of one window.
    """
    memory = int(memory_gib * GIB) if memory_gib > 0 else free_memory(sam.device)
    bias_numbers = min(_MOST_BIAS_NUMBERS, max(1, memory // (4 * precision.itemsize)))
    side, (rows, columns) = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size
    logits = prompts * 3 * (16 * rows * columns) * torch.float32.itemsize
    half = max(memory - logits, memory // 4) // 2
    return Capacity(
        _power_of_two((memory - bias_numbers * precision.itemsize) // window_bytes(sam, precision), _MOST_WINDOWS),
        bias_numbers,
        _power_of_two(half // prompt_bytes(sam, precision), _MOST_PROMPTS),
        _power_of_two(half // _PIXEL_BYTES, _MOST_MASKS * side * side),
    )


def window_bytes(sam: Sam, precision: torch.dtype) -> int:
    """Bytes that a window takes until it is embedded, the bias of the blocks that see all of it apart."""
    side, (rows, columns) = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size
    positions_1hwC = sam.image_encoder.pos_embed if why_not_walked(sam.image_encoder) is None else None
    if positions_1hwC is None:
        numbers = _PLAIN_ENCODER_NUMBERS * side**2
    else:
        numbers = _ENCODER_NUMBERS * positions_1hwC.shape[-1] * rows * columns
    return numbers * precision.itemsize + _IMAGE_BYTES * side**2


def prompt_bytes(sam: Sam, precision: torch.dtype) -> int:
    """Bytes that a prompt takes until its masks are drawn at low resolution."""
    rows, columns = sam.prompt_encoder.image_embedding_size
    return _DECODER_NUMBERS * sam.prompt_encoder.embed_dim * rows * columns * precision.itemsize


def free_memory(device: torch.device) -> int:
    """Bytes to work with where the user says nothing; what torch holds in reserve is free too."""
    if device.type != "cuda":
        return _UNKNOWN
    free, _ = torch.cuda.mem_get_info(device)
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE_OF_FREE * (free + reserve))


def _power_of_two(number: int, most: int) -> int:
    """The largest that is at most either; 1 where there is none."""
    return 1 << (max(1, min(number, most)).bit_length() - 1)
