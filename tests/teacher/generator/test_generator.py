"""The generator's masks, boxes, scores and order are those of `SamAutomaticMaskGenerator`."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, build_sam_vit_b
from segment_anything.modeling import Sam
from torch import Tensor, nn

from pipeline.errors import InputError, RecipeError
from pipeline.panorama.windows import cut, window_grid
from pipeline.recipe import Recipe, load_recipe
from pipeline.teacher.config import SamConfig
from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.generator import small_regions
from pipeline.teacher.generator.decoder import StockDecoder
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.generator.interpolation import Resize
from pipeline.teacher.generator.proposals import stock_records
from pipeline.teacher.generator.small_regions import CleanedMask, clean_mask
from pipeline.teacher.sam import SamMaskGenerator, load_sam
from pipeline.world import build_scene, render_panorama
from tests.real_data import REAL_DATA, ROOT

PANORAMAS = sorted((REAL_DATA / "panoramas").glob("*.jpg"))
FRAMES = sorted((REAL_DATA / "camvid" / "val" / "images").glob("*.jpg"))
LOOSE: dict[str, Any] = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.2,
    "stability_score_thresh": 0.3,
    "box_nms_thresh": 0.9,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "no filter": {**LOOSE, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    "small chunks": {**LOOSE, "points_per_batch": 5},
    "crops": {**LOOSE, "points_per_side": 3, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
    "small regions": {**LOOSE, "min_mask_region_area": 50},
    "own points": {**LOOSE, "points_per_side": None, "point_grids": [np.array([[0.31, 0.6], [0.5, 0.5], [0.9, 0.1]])]},
}

Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def sam() -> Sam:
    return load_sam(SamConfig(), torch.device("cpu"))


class _PatchesOnly(nn.Module):
    """An encoder of another kind; HQ-SAM's, for one, gives a pair."""

    def __init__(self, sam: Sam, gives_pair: bool) -> None:
        super().__init__()
        self.img_size, self._gives_pair = sam.image_encoder.img_size, gives_pair
        self.embed = nn.Conv2d(3, sam.prompt_encoder.embed_dim, 16, 16)

    def forward(self, x: Tensor) -> Any:
        return (self.embed(x), [x]) if self._gives_pair else self.embed(x)


def with_encoder(sam: Sam, encoder: nn.Module) -> Sam:
    other = copy.deepcopy(sam)
    other.image_encoder = cast(Any, encoder)
    return other


@pytest.fixture(scope="module")
def quick_sam(sam: Sam) -> Sam:
    """With an encoder that costs next to nothing, for what does not depend on it."""
    torch.manual_seed(3)
    return with_encoder(sam, _PatchesOnly(sam, gives_pair=False))


@pytest.fixture(scope="module", params=[(256, 256), (120, 250), (300, 97)], ids=str)
def window(request: pytest.FixtureRequest) -> Picture:
    """A window of a real panorama."""
    if not PANORAMAS:
        pytest.skip(f"no panoramas in {REAL_DATA}: identity on real panoramas is not checked")
    height, width = request.param
    with Image.open(PANORAMAS[height % len(PANORAMAS)]) as image:
        pixels = np.asarray(image.convert("RGB"))
    y, x = (pixels.shape[0] - height) // 2, pixels.shape[1] // 3
    return pixels[y : y + height, x : x + width]


@pytest.fixture(scope="module")
def street() -> Picture:
    """A coarse picture with edges, for what needs no real panorama."""
    rng = np.random.default_rng(3)
    return np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def demo() -> Recipe:
    """The recipe of the demo: its windows, its SAM."""
    return load_recipe(ROOT / "stages" / "recipes" / "demo.toml")


@pytest.fixture(scope="module")
def demo_windows(demo: Recipe) -> list[Picture]:
    """Two windows across the horizon of a panorama of the demo world."""
    height, width = demo.panorama.height, demo.panorama.width
    pixels = render_panorama(build_scene(4), height, width).image_HW3
    grid = window_grid(height, width, demo.windows)
    return [cut(pixels, grid[number]) for number in (9, 14)]


def plain(sam: Sam, settings: dict[str, Any], batched: bool = False) -> AutomaticMaskGenerator:
    """Ours around SAM's own encoder and decoder: all roundings are the stock's."""
    generator = AutomaticMaskGenerator(sam, **settings, batched=batched)
    generator.encoder = sam.image_encoder  # type: ignore[assignment]
    generator.decoder = StockDecoder(sam, settings.get("points_per_batch", 64), "the test wants SAM's own roundings")
    return generator


def assert_same_records(
    ours: list[dict[str, Any]], stock: list[dict[str, Any]], flips: int = 0, scores: float = 0.0
) -> None:
    """Equal but for `flips` pixels in all masks together, and a difference of scores.

    Stability is the number of pixels above a raised threshold by that above a lowered one, which is no smaller than the
    mask: as many pixels that flip there change it by at most `flips` / area.
    """
    assert len(ours) == len(stock)
    flipped = 0
    for mine, theirs in zip(ours, stock, strict=True):
        flipped += np.count_nonzero(mine["segmentation"] != theirs["segmentation"])
        for key in ("bbox", "point_coords", "crop_box"):
            assert mine[key] == theirs[key]
        assert abs(mine["area"] - theirs["area"]) <= flips
        np.testing.assert_allclose(mine["predicted_iou"], theirs["predicted_iou"], atol=scores, rtol=0)
        of_pixels = flips / max(1, theirs["area"])
        np.testing.assert_allclose(mine["stability_score"], theirs["stability_score"], atol=scores + of_pixels, rtol=0)
    assert flipped <= flips


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_with_sams_own_networks_everything_is_bit_identical(
    sam: Sam, window: Picture, settings: dict[str, Any]
) -> None:
    stock = SamAutomaticMaskGenerator(sam, **settings).generate(window)
    for batched in (False, True):
        assert_same_records(stock_records(plain(sam, settings, batched).propose(window)), stock)


def test_with_the_faster_networks_masks_differ_by_a_pixel_at_most(sam: Sam, window: Picture) -> None:
    """Their logits differ in the seventh digit, so that now and then a pixel exactly at the threshold flips."""
    stock = SamAutomaticMaskGenerator(sam, **LOOSE).generate(window)
    for batched in (False, True):
        ours = AutomaticMaskGenerator(sam, **LOOSE, batched=batched).propose(window)
        assert_same_records(stock_records(ours), stock, flips=1, scores=1e-5)


@pytest.mark.slow
def test_the_demos_masks_are_the_stock_generators(sam: Sam, demo: Recipe, demo_windows: list[Picture]) -> None:
    """Order and boxes equal, scores to 1e-5; of all pixels of a window one may lie just at the threshold and flip."""
    settings, found = demo.sam.generator_settings(), 0
    for window in demo_windows:
        stock = SamAutomaticMaskGenerator(sam, **settings).generate(window)
        ours = AutomaticMaskGenerator(sam, **settings).propose(window)
        assert_same_records(stock_records(ours), stock, flips=1, scores=1e-5)
        assert len(SamMaskGenerator(sam, demo.sam)(window)) == len(stock)
        found += len(stock)
    assert found > 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, (256, 256)], ids=["own shape", "window"])
def test_masks_of_a_photograph_are_the_stock_generators(sam: Sam, demo: Recipe, size: tuple[int, int] | None) -> None:
    if not FRAMES:
        pytest.skip(f"no camvid in {REAL_DATA}: identity on photographs is not checked")
    with Image.open(FRAMES[0]) as image:
        pixels = np.asarray((image.resize(size) if size else image).convert("RGB"))
    stock = SamAutomaticMaskGenerator(sam, **demo.sam.generator_settings()).generate(pixels)
    ours = AutomaticMaskGenerator(sam, **demo.sam.generator_settings()).propose(pixels)
    assert len(stock) > 0
    assert_same_records(stock_records(ours), stock, flips=1, scores=1e-5)


@pytest.mark.slow
def test_with_the_sizes_of_vit_b_the_faster_networks_masks_are_the_stock_generators(
    street: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights make noise, which has many pixels near a threshold. Of 40 seeds of the decoder this is one whose
    kept masks stay ten times further from all thresholds than the roundings of both sides differ."""
    torch.manual_seed(0)
    vit_b = build_sam_vit_b()
    for name, parameter in vit_b.image_encoder.named_parameters():
        if "pos" in name:  # SAM's positions start at zero, which would hide them
            nn.init.normal_(parameter, std=0.1)
    torch.manual_seed(14)
    for parameter in vit_b.mask_decoder.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.06)
    changed: list[bool] = []

    def watched(*arguments: Any) -> CleanedMask:
        changed.append((found := clean_mask(*arguments)).changed)
        return found

    monkeypatch.setattr(small_regions, "clean_mask", watched)
    settings: dict[str, Any] = {
        "points_per_side": 2,
        "pred_iou_thresh": 0.1,
        "stability_score_thresh": 0.3,
        "stability_score_offset": 0.1,
        "box_nms_thresh": 1.0,
        "min_mask_region_area": 12,
    }
    window = street[:40, :56]
    stock = SamAutomaticMaskGenerator(vit_b, **settings).generate(window)
    ours = AutomaticMaskGenerator(vit_b, **settings)
    assert_same_records(stock_records(ours.propose(window)), stock, scores=1e-5)
    assert not ours.fallback_reasons.keys() & {"SAM's image encoder", "SAM's mask decoder"}
    assert 4 <= len(stock) < 12  # of four points
    assert all(0.05 < record["area"] / window[..., 0].size < 0.95 for record in stock)
    assert any(changed)


def test_empty_masks_of_crops_keep_their_places_when_small_regions_go(quick_sam: Sam) -> None:
    blind = copy.copy(quick_sam)
    blind.mask_threshold = 1e6
    settings: dict[str, Any] = {
        **SETTINGS["no filter"],
        "points_per_side": 1,
        "crop_n_layers": 1,
        "min_mask_region_area": 5,
    }
    grey = np.full((40, 40, 3), 128, np.uint8)
    stock = SamAutomaticMaskGenerator(blind, **settings).generate(grey)
    assert any(record["area"] == 0 and record["bbox"][0] > 0 for record in stock)
    for batched in (False, True):
        assert_same_records(stock_records(plain(blind, settings, batched).propose(grey)), stock)


def test_fallbacks_are_reported_with_their_reasons(sam: Sam) -> None:
    assert AutomaticMaskGenerator(sam, 2).fallback_reasons == {}
    hooked = copy.deepcopy(sam)
    hooked.mask_decoder.register_forward_hook(lambda *_: None)
    hooked.image_encoder.blocks[0].register_forward_hook(lambda *_: None)
    for precision, expected in ((torch.float32, "own"), (torch.bfloat16, "own; bfloat16 is not used there")):
        reasons = AutomaticMaskGenerator(hooked, 2, precision=precision).fallback_reasons
        assert reasons.keys() == {"SAM's image encoder", "SAM's mask decoder"}
        assert all("hooks" in reason and reason.endswith(expected) for reason in reasons.values())


def test_upsampling_by_torch_is_reported_once_it_is_needed(
    sam: Sam, street: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Resize, "agrees_with_torch", lambda _: False)
    generator = AutomaticMaskGenerator(sam, 2)
    assert generator.fallback_reasons == {}
    generator.generate(street[:, :99])  # of a size that no other test has: a kernel is tried once per size
    assert generator.fallback_reasons.keys() == {"the upsampling of masks"}


class _LowRank(nn.Module):
    """A linear layer as LoRA wraps it: no `in_features`, no `weight`."""

    def __init__(self, inside: nn.Linear) -> None:
        super().__init__()
        self.inside, self.down = inside, nn.Linear(inside.in_features, 4)
        self.up = nn.Linear(4, inside.out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x) + self.up(self.down(x))


def test_an_encoder_tuned_by_lora_is_walked_as_sams_own(sam: Sam, street: Picture) -> None:
    torch.manual_seed(2)
    tuned = copy.deepcopy(sam)
    for block in cast(list[Any], list(tuned.image_encoder.blocks)):
        block.attn.qkv = _LowRank(block.attn.qkv)
    stock, untuned = (SamAutomaticMaskGenerator(each, **LOOSE).generate(street) for each in (tuned, sam))
    assert len(stock) > 0
    assert [record["area"] for record in stock] != [record["area"] for record in untuned]
    for batched in (False, True):
        ours = AutomaticMaskGenerator(tuned, **LOOSE, batched=batched)
        assert "SAM's image encoder" not in ours.fallback_reasons
        assert_same_records(stock_records(ours.propose(street)), stock, flips=1, scores=1e-5)


@pytest.mark.parametrize("batched", [False, True], ids=["one by one", "batched"])
def test_another_encoder_is_called_as_it_is_and_must_give_a_tensor(sam: Sam, street: Picture, batched: bool) -> None:
    torch.manual_seed(3)
    settings: dict[str, Any] = SETTINGS["no filter"]
    other = with_encoder(sam, _PatchesOnly(sam, gives_pair=False))
    ours = AutomaticMaskGenerator(other, **settings, batched=batched)
    stock = SamAutomaticMaskGenerator(other, **settings).generate(street)
    assert len(stock) > 0
    assert "_PatchesOnly is not" in ours.fallback_reasons["SAM's image encoder"]
    assert_same_records(stock_records(ours.propose(street)), stock, flips=1, scores=1e-5)
    pair = AutomaticMaskGenerator(with_encoder(sam, _PatchesOnly(sam, gives_pair=True)), 2, batched=batched)
    with pytest.raises(TypeError, match="_PatchesOnly returned a tuple, not a tensor: wrap it"):
        pair.generate(street)


def test_masks_that_touch_everything_and_bgr_models_are_as_in_stock(street: Picture) -> None:
    torch.manual_seed(1)
    noisy = build_demo_sam()
    for parameter in noisy.mask_decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    noisy.image_format = "BGR"
    stock = SamAutomaticMaskGenerator(noisy, **SETTINGS["no filter"]).generate(street)
    assert len(stock) > 0
    for batched in (False, True):
        assert_same_records(stock_records(plain(noisy, SETTINGS["no filter"], batched).propose(street)), stock)


def test_nothing_good_enough_is_an_empty_set_with_and_without_crops(quick_sam: Sam, street: Picture) -> None:
    for layers, batched in ((0, False), (1, False), (0, True), (1, True)):
        generator = AutomaticMaskGenerator(quick_sam, 2, pred_iou_thresh=1.5, crop_n_layers=layers, batched=batched)
        proposals = generator.propose(street)
        assert len(proposals.masks) == 0
        assert proposals.masks.dense().shape == (0, 128, 128)
        assert stock_records(proposals) == []


def test_a_flat_grey_image_goes_through(sam: Sam) -> None:
    grey = np.full((40, 40, 3), 128, np.uint8)
    stock = SamAutomaticMaskGenerator(sam, **SETTINGS["no filter"]).generate(grey)
    for batched in (False, True):
        assert_same_records(stock_records(plain(sam, SETTINGS["no filter"], batched).propose(grey)), stock)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        Image.new("RGB", (4, 4)),
    ],
    ids=["no channels", "four channels", "float", "empty", "Pillow"],
)
def test_what_is_no_image_is_reported_in_one_sentence(sam: Sam, image: Any) -> None:
    with pytest.raises(InputError, match="uint8"):
        AutomaticMaskGenerator(sam, 2).generate(image)


@pytest.mark.parametrize(
    ("size", "layers", "expected"), [((1, 600), 0, "600x1"), ((600, 1), 0, "1x600"), ((3, 1500), 1, "750x1")], ids=str
)
def test_windows_and_crops_too_thin_for_the_encoder_are_refused_before_any_work(
    sam: Sam, size: tuple[int, int], layers: int, expected: str
) -> None:
    """The demo's encoder sees 256 pixels: of 600x1 nothing is left, of 500x1 a row."""
    generator = AutomaticMaskGenerator(sam, 1, crop_n_layers=layers, crop_overlap_ratio=0)
    assert generator.generate(np.zeros((1 + layers, 500, 3), np.uint8)).width == 500
    generator.encoder = None  # type: ignore[assignment]
    with pytest.raises(InputError, match=rf"{expected} pixels; its shorter side .* SAM's 256 pixels\. Choose"):
        generator.generate_many([np.zeros((64, 64, 3), np.uint8), np.zeros((*size, 3), np.uint8)])


def test_points_go_in_batches_of_one_at_least(sam: Sam) -> None:
    for count, batched in ((0, False), (-1, True)):
        with pytest.raises(RecipeError, match="points_per_batch is"):
            AutomaticMaskGenerator(sam, 2, points_per_batch=count, batched=batched)


@pytest.mark.parametrize("setting", [{"points_per_side": 0}, {"crop_n_layers": -1}, {"precision": "bfloat16"}], ids=str)
def test_settings_without_a_meaning_are_refused_by_name(sam: Sam, setting: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"{next(iter(setting))} is"):
        AutomaticMaskGenerator(sam, **setting)


def test_points_are_given_once(sam: Sam) -> None:
    with pytest.raises(RecipeError, match="points_per_side"):
        AutomaticMaskGenerator(sam, points_per_side=None)
    with pytest.raises(RecipeError, match="points_per_side"):
        AutomaticMaskGenerator(sam, point_grids=[np.full((1, 2), 0.5)])
