"""MobileSAM: its encoder, and weights under the names that were published."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import cast

import pytest
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pipeline.errors import WeightsError
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.encoder import FastEncoder
from pipeline.teacher.generator.quick_tiny_vit import quick_tiny_vit
from pipeline.teacher.mobile_sam import CHANNELS, SIZE, TinyVitEncoder, build_mobile_sam, with_our_names
from pipeline.teacher.sam import load_mask_generator, load_sam

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_mobile_sam()


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under MobileSAM's own names, with the classifier that its file has too."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        own = re.sub(r"patch_embed\.conv([12])\.", lambda m: f"patch_embed.seq.{2 * (int(m[1]) - 1)}.", name)
        own = re.sub(r"stages\.(\d)\.downsample\.", lambda m: f"layers.{int(m[1]) - 1}.downsample.", own)
        own = re.sub(r"stages\.(\d)\.", r"layers.\1.", own)
        renamed[own.replace(".conv.weight", ".c.weight")] = value
    return renamed | {
        "image_encoder.head.weight": torch.zeros(1000, 320),
        "image_encoder.norm_head.bias": torch.ones(1),
    }


def test_weights_with_published_names_are_loaded_without_a_note(sam: Sam, tmp_path: Path) -> None:
    config = SamConfig(model="vit_t", checkpoint=str(tmp_path / "mobile_sam.pt"))
    torch.save(published(sam.state_dict()), config.checkpoint)
    loaded = load_sam(config, CPU).state_dict()
    assert loaded.keys() == sam.state_dict().keys()
    for name, value in sam.state_dict().items():
        assert torch.equal(loaded[name], value)
    assert load_mask_generator(config, CPU).notes == ()


def test_other_weights_keep_their_names() -> None:
    state = {"image_encoder.layers.0.c.weight": torch.zeros(1), "image_encoder.head.weight": torch.zeros(1)}
    assert with_our_names(state) == state


def test_a_recipe_for_another_model_names_it(sam: Sam, tmp_path: Path) -> None:
    torch.save(published(sam.state_dict()), tmp_path / "mobile_sam.pt")
    with pytest.raises(WeightsError, match="holds weights of vit_t; the recipe asks for weights of demo"):
        load_sam(SamConfig(checkpoint=str(tmp_path / "mobile_sam.pt")), CPU)


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.models.tiny_vit", None)
    with pytest.raises(WeightsError, match=r"`pip install timm` \(GoodSAM's extra `mobile-sam`\)"):
        TinyVitEncoder()


@torch.no_grad()
def test_an_embedding_has_a_cell_for_every_16_pixels_and_hardly_depends_on_the_precision(sam: Sam) -> None:
    encoder = sam.image_encoder
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    whole, half = FastEncoder(encoder), FastEncoder(encoder, torch.bfloat16)
    exact, rounded = whole(images), half(images)
    assert exact.shape == (1, CHANNELS, 16, 16)
    torch.testing.assert_close(exact, encoder(images), atol=2e-5, rtol=2e-5)
    assert whole.fallback_reason is None and half.fallback_reason is None
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 5e-2


@torch.no_grad()
def test_what_is_called_is_a_copy_without_normalisations_that_could_be_folded(sam: Sam) -> None:
    encoder = cast(TinyVitEncoder, copy.deepcopy(sam.image_encoder))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 1.5)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    quick = quick_tiny_vit(encoder, torch.float32)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    torch.testing.assert_close(quick(images), encoder(images), atol=2e-5, rtol=2e-5)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_attention_takes_the_fused_path(sam: Sam, precision: torch.dtype) -> None:
    images = torch.randn(1, 3, 256, 256)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        FastEncoder(sam.image_encoder, precision)(images)
    names = {event.key for event in seen.key_averages()}
    assert any("flash_attention" in name for name in names) and not any("attention_math" in name for name in names)


def test_an_encoder_with_hooks_is_called_itself(sam: Sam) -> None:
    encoder = cast(TinyVitEncoder, copy.deepcopy(sam.image_encoder))
    assert quick_tiny_vit(encoder, torch.float32) is not encoder
    encoder.patch_embed.register_forward_hook(lambda *_: None)
    assert quick_tiny_vit(encoder, torch.float32) is encoder


@pytest.mark.slow
@torch.no_grad()
def test_embeddings_are_those_of_mobile_sams_own_code(tmp_path: Path) -> None:
    theirs = pytest.importorskip("mobile_sam", reason="MobileSAM's own package is not installed")
    torch.manual_seed(1)
    reference = theirs.sam_model_registry["vit_t"]().eval()
    for module in reference.image_encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 1.5)
    torch.save(reference.state_dict(), tmp_path / "mobile_sam.pt")
    ours = load_sam(SamConfig(model="vit_t", checkpoint=str(tmp_path / "mobile_sam.pt")), CPU)
    images = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(ours.image_encoder(images), reference.image_encoder(images), atol=1e-4, rtol=1e-4)
