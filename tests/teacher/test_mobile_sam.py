"""MobileSAM: its encoder, and weights under the names that were published."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.encoder import FastEncoder
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
    assert torch.equal(exact, encoder(images))
    assert whole.fallback_reason is None and half.fallback_reason is None
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 5e-2


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
