"""Promptable networks of transformers as mask sources: every kind gives masks; SAM's are those of our generator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.errors import RecipeError, WeightsError
from pipeline.teacher.config import SamConfig
from pipeline.teacher.identity import mask_source_identity
from pipeline.teacher.mask_source import MaskSource, load_mask_source
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.promptable import PromptableMasks
from pipeline.teacher.sam import SamMaskGenerator
from tests.teacher import tiny_promptable
from tests.teacher.tiny_promptable import CHANNELS, NETWORKS, SIDE, draw_weights

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
ALL: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}

Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny network of a kind, written once."""
    root = tmp_path_factory.mktemp("networks")

    def of(kind: str) -> Path:
        return root / kind if (root / kind).is_dir() else tiny_promptable.save(kind, root / kind)

    return of


@pytest.fixture(scope="module")
def loaded(folder: Callable[[str], Path]) -> Callable[[str], MaskSource]:
    """The tiny network of a kind as a mask source, loaded once."""
    return cache(lambda kind: load_mask_source(settings(folder(kind)), CPU))


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Coarse pictures: larger than the network's square, of another shape, and smaller."""
    rng = np.random.default_rng(3)
    sizes = ((8, 8), (5, 7), (3, 2))
    return [np.kron(rng.integers(0, 255, (*size, 3)), np.ones((16, 16, 1))).astype(np.uint8) for size in sizes]


def settings(folder: Path, **others: Any) -> SamConfig:
    return SamConfig(kind="transformers", name=str(folder), points_per_side=3, **{**ALL, **others})


def with_settings(source: MaskSource, config: SamConfig) -> PromptableMasks:
    """The network of a source with other settings of the generator."""
    assert isinstance(source, PromptableMasks)
    return PromptableMasks(source.network, source.processor, config, source.identity)


def same(one: MaskSet, other: MaskSet) -> bool:
    return (
        len(one) == len(other)
        and np.array_equal(one.dense(), other.dense())
        and np.array_equal(one.predicted_iou_M, other.predicted_iou_M)
        and np.array_equal(one.stability_M, other.stability_M)
    )


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_gives_the_same_masks_of_the_images_size_again(
    kind: str, folder: Callable[[str], Path], loaded: Callable[[str], MaskSource], images: list[Image]
) -> None:
    first, again = loaded(kind).many(images), load_mask_source(settings(folder(kind)), CPU).many(images)
    for masks, same_masks, image_HW3 in zip(first, again, images, strict=True):
        assert (masks.height, masks.width) == image_HW3.shape[:2]
        assert len(masks) > 3
        assert max(masks.areas()) > 0
        assert same(masks, same_masks)
        assert (np.diff(masks.predicted_iou_M) <= 0).all()  # the best first, as in the stock generator


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_image_decides_the_masks(kind: str, loaded: Callable[[str], MaskSource], images: list[Image]) -> None:
    masks, mirrored = loaded(kind).many([images[0], np.ascontiguousarray(images[0][:, ::-1])])
    assert not same(masks, mirrored)


@pytest.mark.parametrize("kind", NETWORKS)
def test_with_thresholds_of_one_there_are_no_masks(
    kind: str, folder: Callable[[str], Path], loaded: Callable[[str], MaskSource], images: list[Image]
) -> None:
    strict = settings(folder(kind), pred_iou_thresh=1.0, stability_score_thresh=1.0, stability_score_offset=50.0)
    for masks, image_HW3 in zip(with_settings(loaded(kind), strict).many(images), images, strict=True):
        assert len(masks) == 0
        assert masks.dense().shape == (0, *image_HW3.shape[:2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_number_of_prompts_in_a_batch_changes_no_mask(
    kind: str, folder: Callable[[str], Path], loaded: Callable[[str], MaskSource], images: list[Image]
) -> None:
    of_two, of_nine = (
        with_settings(loaded(kind), settings(folder(kind), points_per_batch=count)).many(images[1:2])[0]
        for count in (2, 9)
    )
    assert len(of_two) == len(of_nine)
    assert np.count_nonzero(of_two.dense() != of_nine.dense()) <= 4


def standard_sam() -> Sam:
    """SAM's own architecture, small, with random weights."""
    torch.manual_seed(1)
    cells = SIDE // 16
    norm = cast(Any, partial(torch.nn.LayerNorm, eps=1e-6))
    encoder = ImageEncoderViT(
        SIDE, 16, embed_dim=32, depth=2, num_heads=2, out_chans=CHANNELS, norm_layer=norm, use_rel_pos=True,
        window_size=3, global_attn_indexes=(1,),
    )  # fmt: skip
    prompts = PromptEncoder(CHANNELS, (cells, cells), (SIDE, SIDE), mask_in_chans=16)
    decoder = MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=2, mlp_dim=64),
        iou_head_hidden_dim=32,
    )
    sam = Sam(encoder, prompts, decoder).eval()
    draw_weights(sam)
    with torch.no_grad():
        for name, weight in sam.named_parameters():
            if re.search(r"output_hypernetworks_mlps\.\d\.layers\.2", name):
                weight *= 500  # logits of trained size, so that some masks are stable
    return sam


RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^(vision_encoder)\.blocks\.", r"\1.layers."),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.0\.", r"\1.proj_in."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.2\.", r"\1.proj_out."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.1\.", r"\1.layers.0."),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"point_embeddings\.", "point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
)
"""What transformers calls the weights of segment_anything's modules."""


def written_by_transformers(sam: Sam, folder: Path) -> Path:
    """transformers' SAM with the weights of segment_anything's."""
    state: dict[str, torch.Tensor] = {}
    for name, weight in sam.state_dict().items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        state[name] = weight
    state["shared_image_embedding.positional_embedding"] = state["prompt_encoder.shared_embedding.positional_embedding"]
    network, processor = tiny_promptable.sam()
    own = network.state_dict()
    assert state.keys() - own.keys() <= {"pixel_mean", "pixel_std"}
    network.load_state_dict({name: weight for name, weight in state.items() if name in own})
    tiny_promptable.write(network, processor, folder)
    return folder


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"stability_score_thresh": 0.83, "box_nms_thresh": 0.9},
        {"min_mask_region_area": 30, "box_nms_thresh": 0.95},
    ],
    ids=["all masks", "filtered", "without small regions"],
)
def test_masks_of_transformers_sam_are_ours_with_the_same_weights(
    tmp_path: Path, images: list[Image], filters: dict[str, Any]
) -> None:
    sam = standard_sam()
    theirs = settings(written_by_transformers(sam, tmp_path / "sam"), **filters)
    ours = SamMaskGenerator(sam, SamConfig(points_per_side=3, **{**ALL, **filters}))
    for of_ours, of_theirs in zip(ours.many(images), load_mask_source(theirs, CPU).many(images), strict=True):
        assert len(of_theirs) == len(of_ours) > 0
        np.testing.assert_allclose(of_theirs.predicted_iou_M, of_ours.predicted_iou_M, atol=1e-4)
        np.testing.assert_allclose(of_theirs.stability_M, of_ours.stability_M, atol=1e-2)
        one, other = of_theirs.dense(), of_ours.dense()
        union_M = (one | other).sum(axis=(1, 2))
        assert ((one & other).sum(axis=(1, 2)) >= 0.99 * union_M).all()


def test_a_network_is_named_by_the_content_of_its_files_wherever_they_lie(
    tmp_path: Path, folder: Callable[[str], Path]
) -> None:
    config = settings(folder("sam2"))
    assert load_mask_source(config, CPU).identity == mask_source_identity(config)
    elsewhere = tiny_promptable.save("sam2", tmp_path / "sam2")
    assert mask_source_identity(settings(elsewhere)) == mask_source_identity(config)
    weights = load_file(elsewhere / "model.safetensors")
    weights["no_memory_embedding"] += 1
    save_file(weights, elsewhere / "model.safetensors", {"format": "pt"})
    assert mask_source_identity(settings(elsewhere)) != mask_source_identity(config)


def test_numbers_that_are_none_end_the_work(tmp_path: Path, images: list[Image]) -> None:
    bad = tiny_promptable.save("sam2", tmp_path / "bad")
    weights = load_file(bad / "model.safetensors")
    weights["mask_decoder.iou_prediction_head.proj_out.bias"][-1] = float("nan")
    save_file(weights, bad / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"mask network .*bad outputs NaN or infinity"):
        load_mask_source(settings(bad), CPU).many(images)


def test_bfloat16_is_for_the_image_alone(
    folder: Callable[[str], Path], loaded: Callable[[str], MaskSource], images: list[Image]
) -> None:
    source = load_mask_source(settings(folder("sam2"), precision="bfloat16"), CPU)
    assert isinstance(source, PromptableMasks)
    seen: list[torch.dtype] = []
    source.network.mask_decoder.register_forward_hook(lambda _m, _i, output: seen.append(output[0].dtype))
    exact = loaded("sam2").many(images[:1])
    assert not same(source.many(images[:1])[0], exact[0])
    assert set(seen) == {torch.float32}


def test_what_is_no_promptable_network_is_reported_with_those_that_are(tmp_path: Path) -> None:
    tiny = SegformerConfig(hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=8)
    SegformerForSemanticSegmentation(tiny).save_pretrained(tmp_path / "segformer")
    with pytest.raises(WeightsError, match=r"segformer cannot be loaded .*promptable network .*Sam2Model.*sam\.name"):
        load_mask_source(settings(tmp_path / "segformer"), CPU)
    with pytest.raises(WeightsError, match=r"sam\.name is a folder or a name on the Hugging Face hub"):
        load_mask_source(settings(tmp_path / "none"), CPU)


def test_a_folder_that_lacks_weights_or_the_processors_settings_is_reported(tmp_path: Path) -> None:
    lacking = tiny_promptable.save("sam", tmp_path / "lacking")
    weights = load_file(lacking / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weight tensor \(mask_decoder\.iou_token\.weight"):
        load_mask_source(settings(lacking), CPU)
    silent = tiny_promptable.save("sam", tmp_path / "silent")
    (silent / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"silent has no usable settings of its image processor"):
        load_mask_source(settings(silent), CPU)


def test_a_broken_config_is_reported_in_one_sentence(tmp_path: Path) -> None:
    broken = tiny_promptable.save("sam", tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "model_type": "sam99"}))
    with pytest.raises(WeightsError, match="broken cannot be loaded"):
        load_mask_source(settings(broken), CPU)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"crop_n_layers": 1}, r"sam\.crop_n_layers is 1; it must be 0 where sam\.kind is transformers"),
        ({"name": ""}, r"sam\.name is ''; it must be a hub name or folder"),
        ({"kind": "sam"}, r"sam\.name is 'some/network'; it must be empty unless sam\.kind is transformers"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(others: dict[str, Any], expected: str) -> None:
    together: dict[str, Any] = {"kind": "transformers", "name": "some/network", **others}
    with pytest.raises(RecipeError, match=expected):
        SamConfig(**together)
