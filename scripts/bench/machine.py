"""What a measurement depends on besides the code."""

from __future__ import annotations

import platform
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def machine_facts(device: str) -> dict[str, Any]:
    """CPU, threads, instruction sets, torch and device, as a JSON object."""
    facts = {
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "amx": "amx_bf16" in cpu_flags(),
        "avx512_bf16": "avx512_bf16" in cpu_flags(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device,
    }
    return facts | ({"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {})


def has_fast_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16 faster than in float32."""
    return bool({"amx_bf16", "avx512_bf16"} & cpu_flags())


@contextmanager
def exact_convolutions(precision: torch.dtype) -> Generator[None]:
    """Where float32 is compared, float32 everywhere: cuDNN's convolutions are TF32 unless set otherwise, and only the
    stock decoder upscales by convolutions."""
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=torch.backends.cudnn.allow_tf32 and precision != torch.float32,
    ):
        yield


def cpu_model() -> str:
    """The CPU's name, where the system reports it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """Instruction sets of the CPU; empty where the system does not list them."""
    return set(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
