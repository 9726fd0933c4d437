from __future__ import annotations

import torch
from torch.nn import functional

from pipeline.classes import DENSEPASS_13
from pipeline.student.config import StudentConfig
from pipeline.student.model import forward_wrapped, start_student
from pipeline.student.precision import mixed_precision


def test_attention_is_float32_and_products_bfloat16_in_mixed_precision_on_a_cpu() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 8).unbind()
    with mixed_precision("cpu", enabled=True):
        attended = functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        assert (q @ k.transpose(-1, -2)).dtype == torch.bfloat16
    assert torch.equal(attended, functional.scaled_dot_product_attention(q, k, v, scale=0.5))


def test_switched_off_it_changes_nothing() -> None:
    x = torch.randn(4, 4)
    expected = x @ x
    with mixed_precision("cpu", enabled=False):
        assert torch.equal(x @ x, expected)


def test_students_logits_and_gradients_hardly_change() -> None:
    torch.manual_seed(0)
    model, pixels = start_student(StudentConfig(size="tiny"), DENSEPASS_13).model.eval(), torch.randn(1, 3, 32, 64)
    results: list[tuple[torch.Tensor, torch.Tensor]] = []
    for enabled in (False, True):
        model.zero_grad()
        with mixed_precision("cpu", enabled):
            logits = forward_wrapped(model, pixels, 32).logits_BChw
        logits.float().square().mean().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((logits.float().flatten(), torch.cat(gradients)))
    for exact, mixed in zip(*results, strict=True):
        assert exact.dtype == mixed.dtype == torch.float32
        assert functional.cosine_similarity(exact, mixed, dim=0) > 0.99
