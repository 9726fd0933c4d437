"""Several images at once: the masks of each, in their order, in whatever batches memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor

from pipeline.accelerator import AdaptiveBatches
from pipeline.errors import DeviceMemoryError, InputError
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator import batched_regions
from pipeline.teacher.generator.batched_regions import Sizes, upsample
from pipeline.teacher.generator.decoder import DecodedMasks
from pipeline.teacher.generator.embeddings import KeptEmbeddings
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.generator.prompts import FurtherPrompts
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.sam import SamMaskGenerator, load_sam
from tests.fake_cuda import FakeCuda

Picture = npt.NDArray[np.uint8]
LOOSE: dict[str, Any] = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.2,
    "stability_score_thresh": 0.3,
    "box_nms_thresh": 0.9,
}
CROPS: dict[str, Any] = {**LOOSE, "points_per_side": 2, "crop_n_layers": 1}
SHAPES = ((128, 128), (64, 160), (128, 128), (200, 90), (256, 256))


@pytest.fixture(scope="module")
def sam() -> Sam:
    return load_sam(SamConfig(), torch.device("cpu"))


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Coarse pictures of several shapes."""
    rng = np.random.default_rng(5)
    coarse = [rng.integers(0, 255, (-(-height // 16), -(-width // 16), 3)) for height, width in SHAPES]
    return [
        np.kron(own, np.ones((16, 16, 1))).astype(np.uint8)[:height, :width]
        for own, (height, width) in zip(coarse, SHAPES, strict=True)
    ]


def assert_same_masks(ours: list[MaskSet], others: list[MaskSet], scores: float = 0.0) -> None:
    """Equal masks and boxes in the same order; scores to a difference."""
    assert [len(own) for own in ours] == [len(other) for other in others]
    assert sum(len(own) for own in ours) > 0
    for own, other in zip(ours, others, strict=True):
        np.testing.assert_array_equal(own.boxes_M4, other.boxes_M4)
        np.testing.assert_array_equal(own.dense(), other.dense())
        np.testing.assert_allclose(own.predicted_iou_M, other.predicted_iou_M, rtol=0, atol=scores)
        np.testing.assert_allclose(own.stability_M, other.stability_M, rtol=0, atol=scores)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [LOOSE, CROPS], ids=["windows", "crops"])
@pytest.mark.parametrize("batched", [False, True], ids=["one by one", "batched"])
def test_the_masks_of_many_are_those_of_each(
    sam: Sam, pictures: list[Picture], settings: dict[str, Any], batched: bool
) -> None:
    generator = AutomaticMaskGenerator(sam, **settings, batched=batched)
    alone = [generator.generate(picture) for picture in pictures]
    assert_same_masks(generator.generate_many(pictures), alone)
    assert generator.generate_many([]) == []


@pytest.mark.slow
def test_small_regions_go_from_many_too(sam: Sam, pictures: list[Picture]) -> None:
    settings: dict[str, Any] = {**LOOSE, "min_mask_region_area": 40}
    one_by_one, batched = (AutomaticMaskGenerator(sam, **settings, batched=batched) for batched in (False, True))
    found = batched.generate_many(pictures)
    assert_same_masks(found, [one_by_one.generate(picture) for picture in pictures], scores=1e-5)
    raw = AutomaticMaskGenerator(sam, **LOOSE).generate_many(pictures)
    assert [own.areas().tolist() for own in found] != [own.areas().tolist() for own in raw]


def test_one_bad_image_is_refused_before_any_work(sam: Sam, pictures: list[Picture]) -> None:
    generator = AutomaticMaskGenerator(sam, **LOOSE)
    generator.encoder = None  # type: ignore[assignment]
    with pytest.raises(InputError, match="uint8"):
        generator.generate_many([*pictures, np.zeros((4, 4, 3))])  # type: ignore[list-item]


@pytest.mark.slow
def test_windows_prompts_and_masks_go_in_batches_that_follow_the_memory(sam: Sam, pictures: list[Picture]) -> None:
    """The demo's encoder has 256 x 256 pixels: all five windows at once, or one."""
    sizes: dict[float, list[tuple[str, int]]] = {}
    results: list[list[MaskSet]] = []
    for gib in (4.0, 1e-4):
        generator = AutomaticMaskGenerator(sam, **LOOSE, memory_gib=gib, batched=True)
        sizes[gib] = watch(generator)
        results.append(generator.generate_many(pictures))
        assert generator.shrunk == ()
    assert sizes[4.0] == [("windows", 5), *[("prompts", 16)] * 5]
    assert sizes[1e-4] == [entry for _ in pictures for entry in (("windows", 1), *[("prompts", 1)] * 16)]
    assert_same_masks(*results, scores=1e-5)


@pytest.mark.slow
def test_what_does_not_fit_is_done_in_halves_with_equal_masks_and_reported_once(
    sam: Sam, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = forced(SamMaskGenerator(sam, SamConfig(**LOOSE)), sam)
    expected = generator.many(pictures)
    assert generator.notes == ()
    small_memory(generator.generator, monkeypatch, windows=2, prompts=5, masks=3)
    for _ in range(2):
        assert_same_masks(generator.many(pictures), expected, scores=1e-5)
    assert len(generator.notes) == 3
    for unit, note in zip(("windows", "prompts", "masks"), generator.notes, strict=True):
        assert f"fewer {unit}" in note
        assert "sam.memory_gib" in note


@pytest.mark.parametrize("unit", ["window", "prompt", "mask"])
def test_a_gpu_that_is_too_small_for_one_is_reported_in_one_sentence(
    sam: Sam, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    generator = AutomaticMaskGenerator(sam, **LOOSE, batched=True)
    room = {"windows": 99, "prompts": 99, "masks": 999} | {f"{unit}s": 0}
    small_memory(generator, monkeypatch, **room)
    with pytest.raises(DeviceMemoryError, match=f"one {unit} does not fit"):
        generator.generate_many(pictures)


def test_memory_that_is_short_elsewhere_is_reported_in_one_sentence_too(sam: Sam, pictures: list[Picture]) -> None:
    generator = AutomaticMaskGenerator(sam, **LOOSE, batched=True)
    generator.decoder.prepare = lambda _: no_memory()  # type: ignore[method-assign]
    with pytest.raises(DeviceMemoryError, match="--device cpu"):
        generator.generate_many(pictures)


@pytest.mark.slow
def test_on_a_gpu_a_chunk_of_prompts_is_waited_for_five_times_and_the_encoder_never(
    sam: Sam, pictures: list[Picture]
) -> None:
    """For predicted IoUs, whether logits are numbers, where masks are, boxes and stability, and to send what stays."""
    pictures = pictures[:2]
    keeping_all: dict[str, Any] = {**LOOSE, "pred_iou_thresh": 0.0}
    expected = AutomaticMaskGenerator(sam, **keeping_all, batched=True).generate_many(pictures)
    waits: list[int] = []
    with FakeCuda() as gpu:
        generator = AutomaticMaskGenerator(load_sam(SamConfig(), torch.device("cuda")), **keeping_all)
        for prompts in (16, 16, 4):  # at first parts are tried too
            generator.prompt_batches = AdaptiveBatches("prompt", prompts)
            gpu.waits.clear()
            assert_same_masks(generator.generate_many(pictures), expected, scores=1e-5)
            waits.append(len(gpu.waits))
    assert waits[2] - waits[1] == 5 * (4 - 1) * len(pictures)
    assert not any(wait.startswith("encoder.py") for wait in gpu.waits)


def asked_of(picture: Picture) -> FurtherPrompts:
    """Two things and a point in a picture."""
    height, width = picture.shape[:2]
    boxes_B4 = np.array([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.9]]) * [width, height, width, height]
    inside_B22 = np.array([[[0.2, 0.2], [0.4, 0.5]], [[0.5, 0.4], [0.8, 0.8]]]) * [width, height]
    return FurtherPrompts(boxes_B4, inside_B22, np.array([[0.7, 0.2]]) * [width, height])


def answered(generator: AutomaticMaskGenerator, pictures: list[Picture]) -> list[MaskSet]:
    """Answers to further prompts from embeddings that were kept of the first look."""
    kept = KeptEmbeddings()
    generator.generate_many(pictures, kept)
    assert all(place in kept for place in range(len(pictures)))
    return generator.answer_many(pictures, [asked_of(picture) for picture in pictures], kept)


@pytest.mark.slow
def test_on_a_gpu_further_prompts_are_answered_from_the_embeddings_of_the_first_look(
    sam: Sam, pictures: list[Picture]
) -> None:
    keeping_all: dict[str, Any] = {**LOOSE, "pred_iou_thresh": 0.0}
    expected = answered(AutomaticMaskGenerator(sam, **keeping_all, batched=True), pictures)
    assert sum(map(len, expected)) > 0
    with FakeCuda():
        generator = AutomaticMaskGenerator(load_sam(SamConfig(), torch.device("cuda")), **keeping_all)
        assert_same_masks(answered(generator, pictures), expected, scores=1e-5)


@pytest.mark.gpu
def test_a_gpu_answers_further_prompts_as_a_cpu(sam: Sam, pictures: list[Picture]) -> None:
    keeping_all: dict[str, Any] = {**LOOSE, "pred_iou_thresh": 0.0}
    ours = answered(AutomaticMaskGenerator(load_sam(SamConfig(), torch.device("cuda")), **keeping_all), pictures)
    for own, other in zip(ours, answered(AutomaticMaskGenerator(sam, **keeping_all), pictures), strict=True):
        assert abs(len(own) - len(other)) <= 1, "a score at a threshold may fall to either side"


@pytest.mark.gpu
def test_on_a_gpu_the_masks_are_those_of_the_stock_generator_there(pictures: list[Picture]) -> None:
    """Without TF32 in convolutions, which the stock decoder has and ours has not."""
    sam = load_sam(SamConfig(), torch.device("cuda"))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        stock = SamAutomaticMaskGenerator(sam, **LOOSE)
        ours = AutomaticMaskGenerator(sam, **LOOSE).generate_many(pictures)
        for picture, own in zip(pictures, ours, strict=True):
            records = stock.generate(picture)
            assert len(own) == len(records)
            theirs = np.array([record["segmentation"] for record in records], bool).reshape(own.dense().shape)
            assert np.count_nonzero(own.dense() != theirs) <= 2
            np.testing.assert_allclose(own.stability_M, [r["stability_score"] for r in records], rtol=0, atol=1e-4)
            np.testing.assert_allclose(own.predicted_iou_M, [r["predicted_iou"] for r in records], rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_on_a_gpu_memory_stays_within_the_setting(pictures: list[Picture]) -> None:
    sam = load_sam(SamConfig(), torch.device("cuda"))
    generator = AutomaticMaskGenerator(sam, **LOOSE, memory_gib=0.25)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    generator.generate_many(pictures * 4)
    assert torch.cuda.max_memory_allocated() - before < 0.25 * 2**30
    assert generator.shrunk == ()


def forced(generator: SamMaskGenerator, sam: Sam) -> SamMaskGenerator:
    """The batched upsampler on the CPU."""
    generator.generator = AutomaticMaskGenerator(sam, **LOOSE, batched=True)
    return generator


def watch(generator: AutomaticMaskGenerator) -> list[tuple[str, int]]:
    """Sizes of batches and chunks, as they come."""
    sizes: list[tuple[str, int]] = []
    embed, decode = generator.encoder, generator.decoder.decode

    def encoder(images: Tensor) -> Tensor:
        sizes.append(("windows", len(images)))
        return embed(images)

    def decoder(prepared: Any, points: Tensor, threshold: float | None) -> DecodedMasks:
        sizes.append(("prompts", len(points)))
        return decode(prepared, points, threshold)

    generator.encoder = encoder  # type: ignore[assignment]
    generator.decoder.decode = decoder  # type: ignore[method-assign]
    return sizes


def small_memory(
    generator: AutomaticMaskGenerator, monkeypatch: pytest.MonkeyPatch, *, windows: int, prompts: int, masks: int
) -> None:
    """A device whose memory holds so many at once."""
    generator.encoder = Limited(generator.encoder, lambda images: len(images) <= windows)  # type: ignore[assignment]
    decode = Limited(generator.decoder.decode, lambda _prepared, points, _threshold: len(points) <= prompts)
    generator.decoder.decode = decode  # type: ignore[method-assign]

    def holds(logits_Khw: Tensor, sizes: Sizes) -> bool:
        return len(logits_Khw) <= masks

    monkeypatch.setattr(batched_regions, "upsample", Limited(upsample, holds))


class Limited:
    """A function of which memory does not hold every call."""

    fallback_reason = None

    def __init__(self, work: Callable[..., Any], fits: Callable[..., bool]) -> None:
        self._work, self._fits = work, fits

    def __call__(self, *arguments: Any) -> Any:
        return self._work(*arguments) if self._fits(*arguments) else no_memory()


def no_memory() -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
