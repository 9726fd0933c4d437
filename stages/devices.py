"""Choosing and describing the device that a stage computes on."""

from __future__ import annotations

import torch

from pipeline.errors import RecipeError


def choose_device(name: str) -> str:
    """The device of that name: cpu, cuda or cuda:<n>; `auto` is cuda where there is one, otherwise cpu.

    Raises:
        RecipeError: the device is unknown or not available.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not _is_available(name):
        raise RecipeError(f"device {name!r} is not available (torch, built for CUDA {torch.version.cuda}, sees"
                          f" {torch.cuda.device_count()} GPUs)", "it must be cpu, cuda where there is one, or auto",
                          "Use --device auto, or check the GPU's driver")  # fmt: skip
    return name


def describe_device(name: str, threads: int) -> str:
    """An available device for people: "the CPU, 2 threads", or "cuda:0, NVIDIA H200"."""
    device = torch.device(name)
    if device.type == "cuda":
        return f"cuda:{device.index or 0}, {torch.cuda.get_device_name(device)}"
    return f"the CPU, {threads} thread{'s' if threads > 1 else ''}" if name == "cpu" else name


def _is_available(name: str) -> bool:
    try:
        device = torch.device(name)
    except RuntimeError:
        return False
    return name == "cpu" or (device.type == "cuda" and (device.index or 0) < torch.cuda.device_count())
