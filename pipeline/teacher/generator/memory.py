"""Estimates how much fits into an accelerator at once; `accelerator.AdaptiveBatches` halves what does not.

The estimates are of each step's peak memory, rounded up; they affect speed, not masks. Sizes are powers of two, so that
a little more or less free memory does not change them.

Legend: C channels of the encoder's blocks or of the decoder, T cells of a window, S side of the encoder's square.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling import Sam

from pipeline.teacher.generator.encoder import unsupported_encoder_reason

GIB = 1 << 30
_SHARE_OF_FREE = 0.5
"""Share of the free memory that is used; the rest is for the assistant and the allocator."""
_ASSUMED_FREE = 2 * GIB
"""Where a device does not report its free memory."""
_IMAGE_BYTES = 24
"""Per pixel of S S, before the encoder: float32 RGB, once alone and once in the batch."""
_ENCODER_NUMBERS = 24
"""C T numbers of a window inside the encoder, mostly queries, keys and values with their positions folded in."""
_UNKNOWN_ENCODER_NUMBERS = 120
"""Numbers per pixel of S S for encoders that are not SAM's, or whose C is unknown: those of ViT-H."""
_DECODER_NUMBERS = 9
"""C T numbers of a prompt inside the decoder: the cells with and without position, the upscaled pixels, the logits."""
PIXEL_BYTES = 20
"""Bytes per pixel of an upsampled mask: its logit, comparisons with thresholds, the index of those that are kept."""
_MAX_WINDOWS, _MAX_PROMPTS, _MAX_MASKS = 16, 1024, 256
"""More at once is not faster: each fills the largest GPU, and the host launches some 280 kernels per chunk of prompts,
about what 256 of them keep a large GPU busy for (by arithmetic; not measured)."""
_MAX_BIAS_NUMBERS = 1 << 28


class Capacity(NamedTuple):
    """Sizes of batches."""

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
        precision: that of the encoder's blocks and the decoder's cells.
        memory_gib: GiB that may be used; 0 for half of what is free now.
        prompts: number of prompts of one window.
    """
    memory = int(memory_gib * GIB) if memory_gib > 0 else free_memory(sam.device)
    bias_numbers = min(_MAX_BIAS_NUMBERS, max(1, memory // (4 * precision.itemsize)))
    side, (rows, columns) = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size
    logits = prompts * 3 * (16 * rows * columns) * torch.float32.itemsize
    half = max(memory - logits, memory // 4) // 2
    return Capacity(
        _power_of_two((memory - bias_numbers * precision.itemsize) // window_bytes(sam, precision), _MAX_WINDOWS),
        bias_numbers,
        _power_of_two(half // prompt_bytes(sam, precision), _MAX_PROMPTS),
        _power_of_two(half // PIXEL_BYTES, _MAX_MASKS * side * side),
    )


def window_bytes(sam: Sam, precision: torch.dtype) -> int:
    """Bytes that a window takes until it is embedded, without the bias of global attention."""
    side, (rows, columns) = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size
    positions_1hwC = sam.image_encoder.pos_embed if unsupported_encoder_reason(sam.image_encoder) is None else None
    if positions_1hwC is None:
        numbers = _UNKNOWN_ENCODER_NUMBERS * side**2
    else:
        numbers = _ENCODER_NUMBERS * positions_1hwC.shape[-1] * rows * columns
    return numbers * precision.itemsize + _IMAGE_BYTES * side**2


def prompt_bytes(sam: Sam, precision: torch.dtype) -> int:
    """Bytes that a prompt takes until its masks are drawn at low resolution."""
    rows, columns = sam.prompt_encoder.image_embedding_size
    return _DECODER_NUMBERS * sam.prompt_encoder.embed_dim * rows * columns * precision.itemsize


def free_memory(device: torch.device) -> int:
    """Bytes to use where the user sets no limit; memory that torch holds in reserve counts as free."""
    if device.type != "cuda":
        return _ASSUMED_FREE
    free, _ = torch.cuda.mem_get_info(device)
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE_OF_FREE * (free + reserve))


def _power_of_two(number: int, limit: int) -> int:
    """The largest power of two that is at most either, at least 1."""
    return 1 << (max(1, min(number, limit)).bit_length() - 1)
