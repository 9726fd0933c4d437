"""What is worked on at once follows the memory that there is, and halves where the estimate was too bold."""

from __future__ import annotations

import copy
import itertools
from typing import Any
from weakref import WeakSet, finalize

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.accelerator import AdaptiveBatches
from pipeline.teacher.generator import memory
from pipeline.teacher.generator.batched_regions import BatchedUpsampling, Sizes
from pipeline.teacher.generator.decoder import fastest_decoder
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.generator.memory import GIB, capacity, prompt_bytes, window_bytes
from pipeline.teacher.generator.regions import Thresholds


@pytest.fixture(scope="module")
def vit_b() -> Sam:
    with torch.device("meta"):  # sizes without memory
        return sam_model_registry["vit_b"]()


def test_the_estimate_grows_with_memory_from_one_to_what_fills_a_gpu(vit_b: Sam) -> None:
    rooms = [capacity(vit_b, torch.float32, gib, 1024) for gib in (1e-3, 1, 4, 16, 64, 1000)]
    assert rooms[0][0] == rooms[0][2] == 1
    assert rooms[-1] == (16, 1 << 28, 1024, 256 * 1024 * 1024)
    for smaller, larger in itertools.pairwise(rooms):
        assert all(one <= other for one, other in zip(smaller, larger, strict=True))
    assert all(room.windows & (room.windows - 1) == 0 and room.prompts & (room.prompts - 1) == 0 for room in rooms)


def test_half_precision_makes_room_for_more(vit_b: Sam) -> None:
    single, half = (capacity(vit_b, precision, 2, 256) for precision in (torch.float32, torch.bfloat16))
    assert half.prompts == 2 * single.prompts
    assert half.windows > single.windows


def test_encoders_that_do_not_tell_their_width_get_less_at_once(vit_b: Sam) -> None:
    without = copy.deepcopy(vit_b)
    without.image_encoder.pos_embed = None
    known, unknown = (capacity(sam, torch.float32, 2, 256) for sam in (vit_b, without))
    assert 1 < unknown.windows < known.windows
    assert unknown[1:] == known[1:]


def test_by_default_half_of_the_free_memory_is_used(vit_b: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 8 * GIB)
    assert memory.free_memory(torch.device("cuda")) == 2 * GIB


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        """The most that they were at a time."""
        self._now = 0
        self._known: WeakSet[Any] = WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for storage in {leaf.untyped_storage() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}:
            if storage not in self._known:
                self._known.add(storage)
                self._count(storage.nbytes())
                finalize(storage, self._count, -storage.nbytes())
        return result

    def _count(self, size: int) -> None:
        self._now += size
        self.peak = max(self.peak, self._now)


def narrow_sam() -> Sam:
    """SAM's own sizes, but for fewer blocks and channels, and as many of these to a head as in ViT-B."""
    encoder = ImageEncoderViT(
        depth=2, embed_dim=128, num_heads=2, out_chans=256, window_size=14, global_attn_indexes=(1,), use_rel_pos=True
    )
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 4)
    decoder = MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048))
    return Sam(encoder, prompts, decoder, [120.0] * 3, [60.0] * 3).eval()


@pytest.mark.slow
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_encoder_and_decoder_hold_no_more_than_is_estimated_nor_much_less(precision: torch.dtype) -> None:
    sam, prompts = narrow_sam(), 16
    generator = AutomaticMaskGenerator(sam, precision=precision, memory_gib=0.01, batched=True)
    with Held() as embedding:
        embedded_1Chw = generator.embed([np.zeros((1024, 1024, 3), np.uint8)])
    bias = generator.encoder.max_bias_numbers * precision.itemsize
    assert 0.4 < embedding.peak / (window_bytes(sam, precision) + bias) <= 1

    decoder = fastest_decoder(sam, precision, prompts_at_once=prompts)
    with Held() as decoding:
        decoder.decode(decoder.prepare(embedded_1Chw), torch.full((prompts, 2), 500.0), None)
    assert 0.5 < decoding.peak / (prompts * prompt_bytes(sam, precision)) <= 1


def test_masks_that_fill_the_frame_take_no_more_than_is_estimated() -> None:
    sizes, piece = Sizes((64, 64), 256, (256, 256), (512, 512), 3), 1 << 22
    upsampler = BatchedUpsampling(sizes, AdaptiveBatches("mask", piece))
    everything_Khw = torch.full((40, 64, 64), 9.0)
    with Held() as measuring:
        found = upsampler.measure(everything_Khw, Thresholds(0.0, 1.0), 0.0)
    with Held() as drawing:
        upsampler.draw(found.pixels, found.boxes_M4, Thresholds(0.0, 1.0))
    for held in (measuring, drawing):
        assert 3 < held.peak / piece <= memory.PIXEL_BYTES
