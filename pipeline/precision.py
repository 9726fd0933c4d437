"""The precision of networks: bfloat16 only where the processor or GPU computes in it."""

from __future__ import annotations

import torch


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices natively: CPUs with AMX or AVX512-BF16 (others convert, and are
    slower than in float32), GPUs of the Ampere generation or later."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def chosen_precision(setting: str, device: torch.device) -> torch.dtype:
    """The precision that a setting (auto, float32, bfloat16) means on a device: float32 or bfloat16."""
    if setting == "auto":
        return torch.bfloat16 if computes_in_bfloat16(device) else torch.float32
    return torch.bfloat16 if setting == "bfloat16" else torch.float32
