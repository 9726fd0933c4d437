"""The folded decoder against segment_anything's `MaskDecoder.predict_masks`."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator import decoder as decoder_module
from pipeline.teacher.generator.decoder import DecodedMasks, FoldedDecoder, Prompts, StockDecoder, fastest_decoder
from pipeline.teacher.generator.folding import folding_saves
from pipeline.teacher.sam import load_sam

# name: channels, heads, cells per side, depth, downsampling of the attention, channels of the token's MLP, outputs
SIZES = {
    "vit_b": (256, 8, 64, 2, 2, 2048, 3),
    "small": (32, 2, 6, 2, 2, 48, 3),
    "deep": (48, 3, 5, 4, 2, 32, 3),
    "one layer": (32, 2, 7, 1, 2, 32, 3),
    "not worth folding": (32, 8, 6, 2, 2, 32, 3),
    "not worth folding, downsampled": (64, 4, 6, 3, 4, 32, 3),
    "no downsampling": (24, 3, 4, 2, 1, 16, 3),
    "two outputs": (32, 2, 6, 2, 2, 32, 2),
}


def _random_sam(name: str, kind: type[MaskDecoder] = MaskDecoder, activation: type[nn.Module] = nn.GELU) -> Sam:
    channels, heads, grid, depth, rate, mlp, outputs = SIZES[name]
    torch.manual_seed(3)
    transformer = TwoWayTransformer(depth, channels, heads, mlp, attention_downsample_rate=rate)
    sam = Sam(
        ImageEncoderViT(img_size=grid * 16, embed_dim=16, depth=1, num_heads=1, out_chans=channels),
        PromptEncoder(channels, (grid, grid), (grid * 16, grid * 16), mask_in_chans=4),
        kind(
            transformer_dim=channels,
            transformer=transformer,
            num_multimask_outputs=outputs,
            activation=activation,
            iou_head_hidden_dim=40,
        ),
    )
    for parameter in sam.mask_decoder.parameters():  # biases and norms too: a fresh one would hide a forgotten bias
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.3, std=0.3)
        else:
            nn.init.normal_(parameter, std=1.2 * parameter[0].numel() ** -0.5)
    return sam.eval()


def _image_and_points(sam: Sam, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    grid = sam.prompt_encoder.image_embedding_size
    embedding = torch.randn(1, sam.prompt_encoder.embed_dim, *grid, generator=generator)
    side = sam.prompt_encoder.input_image_size[0]
    return embedding, torch.rand(count, 2, generator=generator, dtype=torch.float64) * side


@torch.no_grad()
def _stock(sam: Sam, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [P, M, h, w] and predicted IoU [P, M] without the mask for unambiguous prompts."""
    labels = torch.ones(len(points), 1, dtype=torch.int)
    sparse, dense = sam.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)
    position = sam.prompt_encoder.get_dense_pe()
    logits, predicted_iou = sam.mask_decoder.predict_masks(embedding, position, sparse, dense)
    return logits[:, 1:], predicted_iou[:, 1:]


def _image_and_things(sam: Sam, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """An embedding, boxes [B, 4] and two points inside each [B, 2, 2]."""
    embedding, points = _image_and_points(sam, 2 * count)
    inside = points.float().view(count, 2, 2)
    margin = 0.05 * sam.prompt_encoder.input_image_size[0]
    return embedding, torch.cat((inside.amin(1) - margin, inside.amax(1) + margin), 1), inside


@torch.no_grad()
def _stock_things(sam: Sam, embedding: Tensor, boxes: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """As `_stock`, of things."""
    labels = torch.ones(inside.shape[:2], dtype=torch.int)
    sparse, dense = sam.prompt_encoder(points=(inside, labels), boxes=boxes, masks=None)
    position = sam.prompt_encoder.get_dense_pe()
    logits, predicted_iou = sam.mask_decoder.predict_masks(embedding, position, sparse, dense)
    return logits[:, 1:], predicted_iou[:, 1:]


def _decode(sam: Sam, precision: torch.dtype, count: int, threshold: float | None, chunk: int = 3) -> DecodedMasks:
    embedding, points = _image_and_points(sam, count)
    decoder = fastest_decoder(sam, precision, chunk)
    assert decoder.fallback_reason is None
    return decoder.decode(decoder.prepare(embedding), points, threshold)


def _relative_error(ours: Tensor, reference: Tensor) -> float:
    return float((ours.double() - reference.double()).norm() / reference.double().norm())


def _middle_threshold(sam: Sam, count: int) -> float:
    """Some prompts have a mask above it, others none; far from every predicted IoU, so that rounding cannot decide."""
    ordered = _stock(sam, *_image_and_points(sam, count))[1].sort(1).values
    best = ordered[:, -1].sort().values
    values = ordered.flatten().sort().values
    between = values[(values >= best[0]) & (values <= best[-1])]
    widest = int(between.diff().argmax())
    return float(between[widest : widest + 2].mean())


@pytest.fixture(scope="module", params=["demo", *SIZES])
def any_sam(request: pytest.FixtureRequest) -> Sam:
    return load_sam(SamConfig(), torch.device("cpu")) if request.param == "demo" else _random_sam(request.param)


@pytest.mark.slow
def test_folded_logits_and_scores_are_the_stock_ones_in_float32(any_sam: Sam) -> None:
    logits, predicted_iou = _stock(any_sam, *_image_and_points(any_sam, 4))
    ours = _decode(any_sam, torch.float32, 4, None)
    assert ours.logits_Khw.dtype == ours.predicted_iou_P3.dtype == torch.float32
    assert ours.logits_Khw.shape == logits.flatten(0, 1).shape
    assert _relative_error(ours.logits_Khw, logits.flatten(0, 1)) < 2e-6
    assert _relative_error(ours.predicted_iou_P3, predicted_iou) < 2e-6


@pytest.mark.slow
def test_bfloat16_stays_within_two_percent_of_the_stock_float32(any_sam: Sam) -> None:
    logits, predicted_iou = _stock(any_sam, *_image_and_points(any_sam, 4))
    ours = _decode(any_sam, torch.bfloat16, 4, None)
    assert ours.logits_Khw.dtype == ours.predicted_iou_P3.dtype == torch.float32
    assert _relative_error(ours.logits_Khw, logits.flatten(0, 1)) < 2e-2
    assert _relative_error(ours.predicted_iou_P3, predicted_iou) < 2e-2


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_things_have_the_stock_logits_and_scores(any_sam: Sam, precision: torch.dtype, tolerance: float) -> None:
    embedding, boxes, inside = _image_and_things(any_sam, 5)
    logits, predicted_iou = _stock_things(any_sam, embedding, boxes, inside)
    decoder = fastest_decoder(any_sam, precision, prompts_at_once=2)
    ours = decoder.decode_things(decoder.prepare(embedding), boxes, inside, None)
    assert ours.logits_Khw.dtype == ours.predicted_iou_P3.dtype == torch.float32
    assert _relative_error(ours.logits_Khw, logits.flatten(0, 1)) < tolerance
    assert _relative_error(ours.predicted_iou_P3, predicted_iou) < tolerance


def test_no_things_give_no_masks() -> None:
    sam = _random_sam("small")
    decoder = fastest_decoder(sam)
    nothing = decoder.decode_things(decoder.prepare(_image_and_points(sam, 1)[0]), torch.zeros(0, 4),
                                    torch.zeros(0, 2, 2), None)  # fmt: skip
    assert nothing.kept_P3.shape == (0, 3) and nothing.logits_Khw.shape == (0, 24, 24)


def cross_attention(size: str) -> Attention:
    return cast(Any, _random_sam(size).mask_decoder.transformer).layers[0].cross_attn_token_to_image


def test_the_sizes_cover_both_the_folded_and_the_direct_products() -> None:
    for tokens in (7, 9):  # of points and of things
        folds = {name: folding_saves(cross_attention(name), tokens) for name in SIZES}
        assert folds["vit_b"]
        assert {folds["not worth folding"], folds["not worth folding, downsampled"]} == {False}
    assert folding_saves(cross_attention("small"), 7)


@pytest.mark.parametrize("chunk", [1, 2, 7, 50])
def test_masks_that_pass_the_threshold_come_in_the_order_of_their_flags_whatever_the_chunk(chunk: int) -> None:
    sam = _random_sam("small")
    threshold = _middle_threshold(sam, 7)
    logits, predicted_iou = _stock(sam, *_image_and_points(sam, 7))
    ours = _decode(sam, torch.float32, 7, threshold, chunk)
    kept = predicted_iou > threshold
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(ours.kept_P3, kept)
    torch.testing.assert_close(ours.logits_Khw, logits[kept], rtol=1e-4, atol=1e-5)


def test_prompts_without_a_passing_mask_are_never_upscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaled: list[int] = []

    class Counting(decoder_module.Upscaling):
        def __call__(self, cells_BNC: Tensor) -> Tensor:
            upscaled.append(len(cells_BNC))
            return super().__call__(cells_BNC)

    monkeypatch.setattr(decoder_module, "Upscaling", Counting)
    sam = _random_sam("small")
    threshold = _middle_threshold(sam, 7)
    passing = int((_stock(sam, *_image_and_points(sam, 7))[1] > threshold).any(1).sum())
    _decode(sam, torch.float32, 7, threshold)
    assert sum(upscaled) == passing < 7
    upscaled.clear()
    nothing = _decode(sam, torch.float32, 7, 1e6)
    assert not upscaled
    assert nothing.logits_Khw.shape == (0, 24, 24)
    assert nothing.predicted_iou_P3.shape == (7, 3)


def test_points_are_embedded_as_sam_embeds_them_bit_for_bit(any_sam: Sam) -> None:
    points = _image_and_points(any_sam, 5)[1]
    labels = torch.ones(len(points), 1, dtype=torch.int)
    sparse, _ = any_sam.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)
    assert torch.equal(Prompts(any_sam.prompt_encoder)(points), sparse)


def test_no_points_give_no_masks() -> None:
    nothing = _decode(_random_sam("small"), torch.float32, 0, None)
    assert nothing.kept_P3.shape == (0, 3)
    assert nothing.logits_Khw.shape == (0, 24, 24)


def test_one_decoder_keeps_the_images_apart_that_it_prepared() -> None:
    sam = _random_sam("small")
    embedding, points = _image_and_points(sam, 3)
    decoder = fastest_decoder(sam)
    first, second = decoder.prepare(embedding), decoder.prepare(-embedding)
    for prepared, image in ((first, embedding), (second, -embedding), (first, embedding)):
        ours = decoder.decode(prepared, points, None)
        assert _relative_error(ours.logits_Khw, _stock(sam, image, points)[0].flatten(0, 1)) < 2e-6


def test_folding_leaves_the_model_as_it_was_and_does_not_follow_it() -> None:
    sam = _random_sam("small")
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    embedding, points = _image_and_points(sam, 3)
    for precision in (torch.float32, torch.bfloat16):
        decoder = fastest_decoder(sam, precision)
        decoder.decode(decoder.prepare(embedding), points, None)
    for name, value in sam.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in sam.mask_decoder.parameters())
    decoder = fastest_decoder(sam)
    expected = decoder.decode(decoder.prepare(embedding), points, None)
    with torch.no_grad():
        for parameter in (*sam.mask_decoder.parameters(), *sam.prompt_encoder.parameters()):
            parameter.add_(1.0)
    again = decoder.decode(decoder.prepare(embedding), points, None)
    assert torch.equal(again.logits_Khw, expected.logits_Khw)


def test_tuned_weights_are_folded() -> None:
    sam = _random_sam("small")
    optimiser = torch.optim.SGD(sam.mask_decoder.parameters(), lr=0.1)
    embedding, points = _image_and_points(sam, 2)
    labels = torch.ones(2, 1, dtype=torch.int)
    sparse, dense = sam.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)
    logits, _ = sam.mask_decoder.predict_masks(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense)
    logits.square().mean().backward()
    optimiser.step()
    ours = _decode(sam, torch.float32, 4, None)
    assert _relative_error(ours.logits_Khw, _stock(sam, *_image_and_points(sam, 4))[0].flatten(0, 1)) < 2e-6


class _OtherDecoder(MaskDecoder):
    """A decoder with an output of its own, as descendants of SAM have it."""

    def predict_masks(self, *args: Tensor, **kwargs: Tensor) -> tuple[Tensor, Tensor]:
        logits, predicted_iou = super().predict_masks(*args, **kwargs)
        return logits + 1.0, predicted_iou


class _OtherTransformer(TwoWayTransformer):
    """Another class, even if it does the same."""


class _OtherPrompts(PromptEncoder):
    """Another class, even if it does the same."""


def _subclassed() -> Sam:
    return _random_sam("small", _OtherDecoder)


def _other_transformer() -> Sam:
    sam = _random_sam("small")
    sam.mask_decoder.transformer.__class__ = _OtherTransformer
    return sam


def _other_prompts() -> Sam:
    sam = _random_sam("small")
    sam.prompt_encoder.__class__ = _OtherPrompts
    return sam


def _other_activation() -> Sam:
    return _random_sam("small", activation=nn.SiLU)


def _approximate_gelu() -> Sam:
    sam = _random_sam("small")
    cast(nn.GELU, sam.mask_decoder.output_upscaling[4]).approximate = "tanh"
    return sam


def _extra_module() -> Sam:
    sam = _random_sam("small")
    sam.mask_decoder.hf_token = nn.Embedding(1, 32)
    return sam


def _adapter_in_a_projection() -> Sam:
    sam = _random_sam("small")
    attention = cast(TwoWayTransformer, sam.mask_decoder.transformer).final_attn_token_to_image
    attention.v_proj = cast(nn.Linear, nn.Sequential(attention.v_proj, nn.Linear(16, 16)))
    return sam


def _hooked() -> Sam:
    sam = _random_sam("small")

    def doubled(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output * 2

    cast(nn.Module, sam.mask_decoder.output_upscaling).register_forward_hook(doubled)
    return sam


def _forward_of_its_own() -> Sam:
    sam = _random_sam("small")
    norm = cast(TwoWayTransformer, sam.mask_decoder.transformer).norm_final_attn
    norm.forward = cast(Any, lambda x: x * 2)
    return sam


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_subclassed, "_OtherDecoder is not"),
        (_other_transformer, "_OtherTransformer is not"),
        (_other_prompts, "_OtherPrompts is not"),
        (_other_activation, "output_upscaling"),
        (_approximate_gelu, "output_upscaling.4"),
        (_extra_module, "hf_token"),
        (_adapter_in_a_projection, "final_attn_token_to_image.v_proj"),
        (_hooked, "output_upscaling has hooks"),
        (_forward_of_its_own, "norm_final_attn has hooks"),
    ],
)
def test_what_is_not_quite_sams_decoder_is_called_as_it_is(build: object, reason: str) -> None:
    sam = cast(Sam, cast(type, build)())
    decoder = fastest_decoder(sam, torch.bfloat16, prompts_at_once=2)
    assert isinstance(decoder, StockDecoder)
    assert reason in str(decoder.fallback_reason)
    embedding, points = _image_and_points(sam, 5)
    logits, predicted_iou = _stock(sam, embedding, points)
    threshold = _middle_threshold(sam, 5)
    ours = decoder.decode(decoder.prepare(embedding), points, threshold)
    kept = predicted_iou > threshold
    assert torch.equal(ours.kept_P3, kept)
    torch.testing.assert_close(ours.logits_Khw, logits[kept], rtol=1e-4, atol=1e-5)
    embedding, boxes, inside = _image_and_things(sam, 3)
    logits, predicted_iou = _stock_things(sam, embedding, boxes, inside)
    things = decoder.decode_things(decoder.prepare(embedding), boxes, inside, None)
    torch.testing.assert_close(things.logits_Khw, logits.flatten(0, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(things.predicted_iou_P3, predicted_iou)


def test_an_image_of_another_decoder_is_refused() -> None:
    embedding, points = _image_and_points(_random_sam("small"), 1)
    folded, plain = fastest_decoder(_random_sam("small")), fastest_decoder(_subclassed())
    assert isinstance(folded, FoldedDecoder)
    with pytest.raises(TypeError, match="another decoder"):
        folded.decode(plain.prepare(embedding), points, None)
    with pytest.raises(TypeError, match="another decoder"):
        plain.decode(folded.prepare(embedding), points, None)
