"""bfloat16 is chosen only where the device computes in it."""

from __future__ import annotations

import pytest
import torch

from pipeline.precision import chosen_precision
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.assistant_transformers import TransformersAssistant
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.sam import load_mask_generator

CPU = torch.device("cpu")


def pretend_processor(monkeypatch: pytest.MonkeyPatch, *, avx512_bf16: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "expected"),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (True, True, torch.bfloat16)],
    ids=["neither", "AVX512-BF16", "AMX"],
)
def test_auto_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool, expected: torch.dtype
) -> None:
    pretend_processor(monkeypatch, avx512_bf16=avx512_bf16, amx=amx)
    assert chosen_precision("auto", CPU) == expected
    assistant = load_assistant(AssistantConfig(precision="auto"), CPU)
    assert isinstance(assistant, TransformersAssistant) and assistant.precision == expected
    assert load_mask_generator(SamConfig(precision="auto"), CPU).generator.precision == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stated_precision_is_taken_on_any_processor(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    pretend_processor(monkeypatch, avx512_bf16=precision == "float32", amx=False)
    assert chosen_precision(precision, CPU) == getattr(torch, precision)


def test_other_devices_compute_in_float32() -> None:
    assert chosen_precision("auto", torch.device("mps")) == torch.float32
