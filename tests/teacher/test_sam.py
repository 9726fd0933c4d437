"""SAM: loading, refusing, and the stock generator's masks."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from pipeline.errors import WeightsError
from pipeline.teacher import sam as sam_module
from pipeline.teacher.config import SamConfig
from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.identity import weights_digest
from pipeline.teacher.sam import SamMaskGenerator, load_mask_generator, load_sam

LOOSE = SamConfig(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def random_sam() -> Sam:
    torch.manual_seed(0)
    sam = build_demo_sam()
    for parameter in sam.mask_decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return sam


@pytest.fixture(scope="module", params=[(96, 96), (64, 112), (300, 200)], ids=str)
def window(request: pytest.FixtureRequest) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (*request.param, 3), dtype=np.uint8)


def test_masks_boxes_and_scores_are_those_of_the_stock_generator_in_its_order(
    random_sam: Sam, window: npt.NDArray[np.uint8]
) -> None:
    stock = SamAutomaticMaskGenerator(
        random_sam, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0
    ).generate(window)
    ours = SamMaskGenerator(random_sam, LOOSE)(window)
    assert len(ours) == len(stock) > 0
    np.testing.assert_array_equal(ours.dense(), np.stack([mask["segmentation"] for mask in stock]))
    np.testing.assert_allclose(ours.predicted_iou_M, [mask["predicted_iou"] for mask in stock], atol=1e-5)
    np.testing.assert_allclose(ours.stability_M, [mask["stability_score"] for mask in stock], atol=1e-6)


def test_a_window_without_masks_gives_an_empty_set(random_sam: Sam, window: npt.NDArray[np.uint8]) -> None:
    none = SamConfig(points_per_side=2, pred_iou_thresh=1.0, stability_score_thresh=1.0, stability_score_offset=50.0)
    masks = SamMaskGenerator(random_sam, none)(window)
    assert len(masks) == 0
    assert masks.dense().shape == (0, *window.shape[:2])


def test_weights_that_were_saved_are_the_weights_that_are_loaded(random_sam: Sam, tmp_path: Path) -> None:
    torch.save(random_sam.state_dict(), tmp_path / "sam.pth")
    loaded = load_sam(SamConfig(checkpoint=str(tmp_path / "sam.pth")), CPU)
    for name, value in random_sam.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)


@pytest.mark.slow
def test_weights_that_a_training_program_wrapped_are_unwrapped(random_sam: Sam, tmp_path: Path) -> None:
    state = random_sam.state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    config = SamConfig(checkpoint=str(tmp_path / "sam.pth"))
    for saved in ({"model": state, "epoch": 3}, {"state_dict": parallel, "optimizer": {}}, parallel):
        torch.save(saved, config.checkpoint)
        loaded = load_sam(config, CPU).state_dict()
        for name, value in state.items():
            torch.testing.assert_close(loaded[name], value)
        assert load_mask_generator(config, CPU).notes == ()


def test_weights_that_are_not_sams_are_ignored_with_a_note(random_sam: Sam, tmp_path: Path) -> None:
    """HQ-SAM's checkpoints are SAM's weights and some more."""
    state = random_sam.state_dict()
    more = {"mask_decoder.hf_token.weight": torch.zeros(1, 96), "mask_decoder.hf_mlp.layers.0.bias": torch.zeros(96)}
    config = SamConfig(checkpoint=str(tmp_path / "hq.pth"))
    torch.save(state | more, config.checkpoint)
    loaded = load_sam(config, CPU).state_dict()
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(loaded[name], value)
    (note,) = load_mask_generator(config, CPU).notes
    assert (
        "2 weight tensors of the checkpoint ignored, as SAM has no such weights: mask_decoder.hf_token.weight" in note
    )


def test_a_checkpoint_with_tuned_tokens_is_loaded_whole_and_told_from_the_original(
    random_sam: Sam, tmp_path: Path
) -> None:
    """ASAM's checkpoints differ from SAM's in the decoder's output tokens alone."""
    state, tokens = random_sam.state_dict(), ("mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight")
    tuned = state | {name: state[name] + 1 for name in tokens}
    configs = [SamConfig(checkpoint=str(tmp_path / name)) for name in ("sam.pth", "asam.pth")]
    for config, saved in zip(configs, (state, tuned), strict=True):
        torch.save(saved, config.checkpoint)
    loaded = load_sam(configs[1], CPU).state_dict()
    for name, value in state.items():
        torch.testing.assert_close(loaded[name], value + 1 if name in tokens else value)
    original, other = (load_mask_generator(config, CPU) for config in configs)
    assert original.identity != other.identity and other.notes == ()
    torch.save({name: value for name, value in tuned.items() if name != tokens[1]}, configs[1].checkpoint)
    with pytest.raises(WeightsError, match=r"lacks 1 of .*mask_decoder.mask_tokens.weight"):
        load_sam(configs[1], CPU)


@pytest.mark.parametrize(
    ("name", "is_noted"), [("asam_vit_h.pth", True), ("ASAM-VIT_B.pth", False), ("vit_h_to_vit_b.pth", False),
                           ("vit_huge.pth", False), ("sam.pth", False)]
)  # fmt: skip
def test_a_checkpoint_whose_name_and_shapes_disagree_is_noted(
    random_sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_noted: bool
) -> None:
    monkeypatch.setitem(sam_module.sam_model_registry, "vit_b", build_demo_sam)
    torch.save(random_sam.state_dict(), tmp_path / name)
    notes = load_mask_generator(SamConfig(model="vit_b", checkpoint=str(tmp_path / name)), CPU).notes
    expected = f"{name} holds the weights of vit_b, according to their shapes, though its name says vit_h"
    assert notes == ((expected,) if is_noted else ())


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read"), (b"", "not a checkpoint"), (b"<html>404</html>", "not a checkpoint")],
    ids=["missing", "empty", "a web page"],
)
def test_a_file_that_is_no_checkpoint_is_reported_in_one_sentence(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "sam_vit_b.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=expected):
        load_sam(SamConfig(model="vit_b", checkpoint=str(path)), CPU)


def test_weights_of_another_model_are_named(random_sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam_module.sam_model_registry, "vit_h", build_demo_sam)
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"weights of vit_b; the recipe asks for weights of vit_h"):
        load_sam(SamConfig(model="vit_h", checkpoint=str(tmp_path / "b.pth")), CPU)
    torch.save(random_sam.state_dict(), tmp_path / "demo.pth")
    monkeypatch.setitem(sam_module.sam_model_registry, "vit_b", lambda: torch.nn.Linear(1, 1))
    with pytest.raises(WeightsError, match=r"weights of demo; the recipe asks for weights of vit_b"):
        load_sam(SamConfig(model="vit_b", checkpoint=str(tmp_path / "demo.pth")), CPU)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no weights"):
        load_sam(SamConfig(model="vit_h", checkpoint=str(tmp_path / "list.pth")), CPU)


def _without(state: dict[str, Any], part: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.startswith(part)}


def test_of_weights_that_do_not_suffice_the_first_is_named(random_sam: Sam, tmp_path: Path) -> None:
    """Other encoders have SAM's decoder; other windows have other positions."""
    state = random_sam.state_dict()
    without_encoder = {"image_encoder.stem.weight": torch.zeros(3)} | _without(state, "image_encoder.")
    lacking = len(state) - len(without_encoder) + 1
    resized = state | {"image_encoder.pos_embed": torch.zeros(1, 9, 9, 160)}
    for saved, expected in (
        (without_encoder, rf"lacks {lacking} of the {len(state)} weight tensors of demo \(image_encoder.pos_embed"),
        (_without(state, "mask_decoder.iou_token"), r"lacks 1 of .*mask_decoder.iou_token.weight\);"),
        ({"backbone.weight": torch.zeros(1)}, rf"lacks {len(state)} of the {len(state)} weight tensors"),
        ({}, rf"lacks {len(state)} of the {len(state)} weight tensors"),
        (resized, r"image_encoder.pos_embed of shape \[1, 9, 9, 160\]; demo has \[1, 16, 16, 160\]"),
    ):
        torch.save(saved, tmp_path / "x.pth")
        with pytest.raises(WeightsError, match=expected):
            load_sam(SamConfig(checkpoint=str(tmp_path / "x.pth")), CPU)


class _Code:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_code_in_a_checkpoint_is_not_run(random_sam: Sam, tmp_path: Path) -> None:
    config = SamConfig(checkpoint=str(tmp_path / "sam.pth"))
    for extra in (_Code(tmp_path / "run"), argparse.Namespace(epochs=3)):
        torch.save({"model": random_sam.state_dict(), "args": extra}, config.checkpoint)
        with pytest.raises(WeightsError, match=r"more than tensors.*without running code.*save only its state dict"):
            load_sam(config, CPU)
    assert not (tmp_path / "run").exists()


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    config = SamConfig(checkpoint=str(path))
    path.write_bytes(b"one")
    first = weights_digest(config)
    path.write_bytes(b"three")
    assert weights_digest(config) != first


def test_missing_weights_are_fetched_to_where_the_recipe_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "my weights"
    with pytest.raises(
        WeightsError, match=f"`goodsam fetch-weights vit_l --out '{re.escape(str(folder))}'` downloads it"
    ):
        weights_digest(SamConfig(model="vit_l", checkpoint=str(folder / "none.pth")))
