"""Masks decoded again with themselves as prompt, and the stability of masks under moved prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from segment_anything.modeling import Sam

from pipeline.errors import RecipeError
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.decoder import DecodedMasks, fastest_decoder
from pipeline.teacher.generator.second_look import prompt_stability, refined
from pipeline.teacher.sam import SamMaskGenerator

POINTS_P2 = torch.tensor([[40.0, 60.0], [200.0, 90.0], [128.0, 128.0]])


WHOLE = (10_000, 10_000)
"""The image fills the encoder's square."""


@pytest.fixture(scope="module")
def embedding(sam: Sam) -> torch.Tensor:
    size = sam.prompt_encoder.image_embedding_size
    return torch.randn(1, sam.prompt_encoder.embed_dim, *size, generator=torch.Generator().manual_seed(1))


def draft_of(sam: Sam, embedding: torch.Tensor) -> DecodedMasks:
    decoder = fastest_decoder(sam)
    return decoder.decode(decoder.prepare(embedding), POINTS_P2, None)


def test_masks_are_decoded_again_with_their_point_and_their_own_logits(sam: Sam, embedding: torch.Tensor) -> None:
    """Mask by mask, by SAM's own prompt encoder and decoder."""
    draft = draft_of(sam, embedding)
    found = refined(sam, embedding, POINTS_P2, draft, 2, None)
    assert found.kept_P3.all() and found.logits_Khw.shape == draft.logits_Khw.shape
    for k, own in enumerate(draft.logits_Khw):
        logits, iou = own[None, None], torch.zeros(1, 1)
        for _ in range(2):
            point = (POINTS_P2[k // 3][None, None], torch.ones(1, 1, dtype=torch.int))
            sparse, dense = sam.prompt_encoder(points=point, boxes=None, masks=logits)
            logits, iou = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, False)
        torch.testing.assert_close(found.logits_Khw[k], logits[0, 0], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found.predicted_iou_P3[k // 3, k % 3], iou[0, 0], atol=1e-3, rtol=1e-3)


def test_masks_that_are_poor_afterwards_are_dropped(sam: Sam, embedding: torch.Tensor) -> None:
    draft = draft_of(sam, embedding)
    every = refined(sam, embedding, POINTS_P2, draft, 1, None)
    limit = float(every.predicted_iou_P3.median())
    good = refined(sam, embedding, POINTS_P2, draft, 1, limit)
    assert torch.equal(good.kept_P3, every.predicted_iou_P3 > limit)
    assert torch.equal(good.logits_Khw, every.logits_Khw[good.kept_P3.flatten()])
    nothing = DecodedMasks(draft.predicted_iou_P3, torch.zeros_like(draft.kept_P3), draft.logits_Khw[:0])
    assert len(refined(sam, embedding, POINTS_P2, nothing, 1, None).logits_Khw) == 0


def test_what_a_moved_prompt_finds_again_is_stable(sam: Sam, embedding: torch.Tensor) -> None:
    decoder = fastest_decoder(sam)
    prepared = decoder.prepare(embedding)
    logits = draft_of(sam, embedding).logits_Khw[1::3]
    still = prompt_stability(decoder, prepared, POINTS_P2, logits, 0.0, 0.0, WHOLE)
    torch.testing.assert_close(still, torch.ones(3), atol=1e-3, rtol=0)
    moved = prompt_stability(decoder, prepared, POINTS_P2, logits, 40.0, 0.0, WHOLE)
    assert (moved >= 0).all() and (moved < still).all()
    other = prompt_stability(decoder, prepared, POINTS_P2, -logits, 0.0, 0.0, WHOLE)
    assert (other < still).all()


def test_what_lies_in_the_padding_does_not_count(sam: Sam, embedding: torch.Tensor) -> None:
    decoder = fastest_decoder(sam)
    prepared = decoder.prepare(embedding)
    logits = draft_of(sam, embedding).logits_Khw[1::3].clone()
    rows = logits.shape[1] // 2
    expected = prompt_stability(decoder, prepared, POINTS_P2, logits, 20.0, 0.0, (rows, logits.shape[2]))
    logits[:, rows:] *= -1
    found = prompt_stability(decoder, prepared, POINTS_P2, logits, 20.0, 0.0, (rows, logits.shape[2]))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(prompt_stability(decoder, prepared, POINTS_P2, logits, 20.0, 0.0, WHOLE), expected)


@pytest.fixture(scope="module")
def window() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)


def test_both_are_settings_of_the_generator_and_off_by_default(sam: Sam, window: npt.NDArray[np.uint8]) -> None:
    loose: dict[str, Any] = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    settings: tuple[dict[str, Any], ...] = ({}, {"jitter": 0.02}, {"refine": 1})
    plain, jittered, again = (SamMaskGenerator(sam, SamConfig(**loose, **more))(window) for more in settings)
    assert plain.prompt_stability_M is None and again.prompt_stability_M is None
    np.testing.assert_array_equal(plain.dense(), jittered.dense())
    assert jittered.prompt_stability_M is not None and jittered.prompt_stability_M.shape == (len(plain),)
    assert ((jittered.prompt_stability_M >= 0) & (jittered.prompt_stability_M <= 1)).all()
    chosen = jittered.filter(np.array([1, 0]))
    assert chosen.prompt_stability_M is not None
    np.testing.assert_array_equal(chosen.prompt_stability_M, jittered.prompt_stability_M[[1, 0]])
    assert len(again) != len(plain) or not np.array_equal(again.dense(), plain.dense())


def test_all_masks_of_a_prompt_are_kept_where_the_assistant_chooses(sam: Sam, window: npt.NDArray[np.uint8]) -> None:
    loose: dict[str, Any] = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    usual = SamMaskGenerator(sam, SamConfig(**loose, box_nms_thresh=0.0))(window)
    every = SamMaskGenerator(sam, SamConfig(**loose, box_nms_thresh=0.0, keep_levels=True))(window)
    assert usual.prompts_M is None and len(usual) < len(every) == 12
    assert every.prompts_M is not None and np.bincount(every.prompts_M).tolist() == [3] * 4


@pytest.mark.parametrize("change", [{"refine": 1}, {"jitter": 0.1}, {"keep_levels": True}])
def test_other_sources_of_masks_refuse_them(change: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"unless sam\.kind is sam"):
        SamConfig(kind="stock", **change)
