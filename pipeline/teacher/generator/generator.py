"""Automatic masks: SAM is prompted at every point of a grid; good, stable masks stay, duplicates are dropped.

The entry point of the package. Parameters, masks, order and scores are those of `SamAutomaticMaskGenerator`, but less
is computed: poor masks are dropped before anything is upsampled, the others are upsampled only where they can be
foreground, and a mask is a box and a bitmap throughout.

Legend: P points of a chunk, K kept masks, M masks, H W image, S side of the encoder's square.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from pipeline.accelerator import AdaptiveBatches, out_of_memory
from pipeline.arrays import ImageArray
from pipeline.errors import InputError
from pipeline.finite import require_finite
from pipeline.settings import require, require_choice
from pipeline.teacher.generator import prompts
from pipeline.teacher.generator.batched_regions import BatchedUpsampling, Sizes
from pipeline.teacher.generator.crops import Crop, image_crops, is_cut
from pipeline.teacher.generator.decoder import DecodedMasks, PreparedImage, fastest_decoder
from pipeline.teacher.generator.embeddings import KeptEmbeddings
from pipeline.teacher.generator.encoder import MAX_BIAS_NUMBERS, FastEncoder
from pipeline.teacher.generator.memory import Capacity, capacity
from pipeline.teacher.generator.proposals import Proposals, concatenate, inclusive_boxes, non_max_suppression
from pipeline.teacher.generator.regions import (
    MaskUpsampler,
    MeasuredMasks,
    Thresholds,
    concatenate_measured,
    upsampling,
)
from pipeline.teacher.generator.second_look import prompt_stability, refined
from pipeline.teacher.generator.small_regions import remove_small_regions
from pipeline.teacher.masks import MaskSet, no_masks

_SAM = "SAM"
"""The network, for messages."""
_UNKNOWN_KERNEL = "torch rounds bilinear interpolation in an unknown order"


class _Found(NamedTuple):
    """Good masks of some prompts."""

    masks: MaskSet
    """In the frame of the image."""
    prompts_M: npt.NDArray[np.int64]
    """Which of the prompts each answers."""
    logits_Mhw: Tensor | None
    """Their low-resolution logits, where they are needed again."""


class AutomaticMaskGenerator:
    """Masks of whole images; the settings are those of the stock generator, by the same names.

    On an accelerator, images are embedded in batches, prompts and masks are processed in large chunks, and threads that
    ask for masks at the same time take turns.

    Args:
        sam: the model, on its device; its weights are read now, later changes are not seen.
        points_per_side: prompts per side of a regular grid; None where `point_grids` are given.
        points_per_batch: prompts decoded at once on a CPU; memory depends on it, results do not.
        pred_iou_thresh: masks must have a higher predicted IoU; 0 keeps all.
        stability_score_thresh: masks must be at least this stable; 0 keeps all.
        stability_score_offset: shift of the logit threshold for the stability score.
        box_nms_thresh: of two masks whose boxes have a higher IoU, the one with the lower predicted IoU is dropped.
        crop_n_layers: layers of crops on which SAM runs again: layer i has 2^i by 2^i crops.
        crop_nms_thresh: as `box_nms_thresh`, between crops; the mask of the smaller crop stays.
        crop_overlap_ratio: overlap of the first layer's crops, as a share of the image's shorter side.
        crop_n_points_downscale_factor: from layer to layer the points per side are divided by it.
        point_grids: points [P, 2] (x, y) in [0, 1] per layer, instead of regular grids.
        min_mask_region_area: holes and islands of fewer pixels are removed; 0 leaves them.
        precision: float32, or bfloat16 for what is as large as the image; networks that are not SAM's own ignore it.
        memory_gib: GiB of an accelerator that may be used beside the weights; 0 for half of what is free now.
        batched: whether to work in large batches; None: on accelerators only.
        refine: how often every mask is decoded again with itself as mask prompt.
        keep_levels: keep all good masks of a prompt, and those that resemble others; without crops.
        jitter: share of the image's longer side by which prompts are moved to measure the masks' stability; 0 does not.

    Raises:
        RecipeError: both or neither of `points_per_side` and `point_grids` are given, or a setting is out of range.
    """

    def __init__(
        self,
        sam: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[npt.ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        precision: torch.dtype = torch.float32,
        memory_gib: float = 0.0,
        batched: bool | None = None,
        refine: int = 0,
        jitter: float = 0.0,
        keep_levels: bool = False,
    ) -> None:
        require(points_per_batch > 0, "sam.points_per_batch", points_per_batch, "a positive number")
        require(crop_n_layers >= 0, "sam.crop_n_layers", crop_n_layers, "zero or a positive number")
        require_choice("sam.precision", precision, (torch.float32, torch.bfloat16))
        self._sam = sam
        self.precision = precision
        """Of what is as large as the image: float32 or bfloat16."""
        self._resize = ResizeLongestSide(sam.image_encoder.img_size)
        self._grids = _grids(points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor)
        self._min_iou = pred_iou_thresh if pred_iou_thresh > 0 else None
        self._min_stability = stability_score_thresh
        self._thresholds = Thresholds(sam.mask_threshold, stability_score_offset)
        self._box_nms_thresh = box_nms_thresh
        self._crop_n_layers = crop_n_layers
        self._crop_nms_thresh = crop_nms_thresh
        self._crop_overlap_ratio = crop_overlap_ratio
        self._min_region = min_mask_region_area
        self._refine, self._jitter, self._keep_levels = refine, jitter, keep_levels
        self._is_batched = sam.device.type != "cpu" if batched is None else batched
        limits = Capacity(1, MAX_BIAS_NUMBERS, points_per_batch, 0)
        if self._is_batched:
            limits = capacity(sam, precision, memory_gib, max(len(grid) for grid in self._grids))
        self._windows = AdaptiveBatches("window", limits.windows)
        self._pixels = AdaptiveBatches("mask", limits.pixels)
        self.prompt_batches = AdaptiveBatches("prompt", limits.prompts)
        """How many prompts are decoded at once."""
        self.encoder = FastEncoder(sam.image_encoder, precision, limits.bias_numbers)
        """Images [B, 3, S, S] -> embeddings [B, C, h, w]."""
        self.decoder = fastest_decoder(sam, precision)
        """Embedding and prompts -> mask logits."""
        self._turn = threading.Lock() if self._is_batched else nullcontext()
        self._has_plain_upsampling = False

    @property
    def fallback_reasons(self) -> dict[str, str]:
        """Which parts have used a slower standard implementation so far, and why; results are the same.

        Empty for SAM's own models.
        """
        precision = str(self.precision).removeprefix("torch.")
        unused = "" if self.precision == torch.float32 else f"; {precision} is not used there"
        networks = {
            "SAM's image encoder": self.encoder.fallback_reason,
            "SAM's mask decoder": self.decoder.fallback_reason,
        }
        reasons = {part: reason + unused for part, reason in networks.items() if reason is not None}
        return reasons | ({"the upsampling of masks": _UNKNOWN_KERNEL} if self._has_plain_upsampling else {})

    @property
    def shrunk(self) -> tuple[str, ...]:
        """Of what the device's memory has so far held fewer at once than was estimated; results are the same."""
        batches = {"windows": self._windows, "prompts": self.prompt_batches, "masks": self._pixels}
        return tuple(name for name, own in batches.items() if own.is_shrunk)

    def generate(self, image_HW3: ImageArray) -> MaskSet:
        """Masks of an RGB image, uint8 [H, W, 3]; the set may be empty.

        Raises:
            InputError: the image has another type or shape, is too thin, or is too small for the crops.
            DeviceMemoryError: the device's memory is too small for one window, prompt or mask.
            TypeError: an image encoder that is not SAM's returns no tensor.
        """
        return self.propose(image_HW3).masks

    def generate_many(self, images: Sequence[ImageArray], kept: KeptEmbeddings | None = None) -> list[MaskSet]:
        """Masks of each of several images of any sizes, which an accelerator embeds in batches.

        Args:
            images: RGB, uint8.
            kept: gets the embeddings of the images, for `answer_many`.
        """
        return [found.masks for found in self.propose_many(images, kept)]

    def propose(self, image_HW3: ImageArray) -> Proposals:
        """As `generate`, with the point and the crop of each mask, for `proposals.stock_records`."""
        return self.propose_many([image_HW3])[0]

    @torch.no_grad()
    def propose_many(self, images: Sequence[ImageArray], kept: KeptEmbeddings | None = None) -> list[Proposals]:
        """As `generate_many`, with the point and the crop of each mask."""
        for image_HW3 in images:
            _require_rgb(image_HW3)
        crops = [self._crops(image_HW3) for image_HW3 in images]
        views = [image[crop.y0 : crop.y1, crop.x0 : crop.x1] for image, own in zip(images, crops, strict=True)
                 for crop in own]  # fmt: skip
        embeddings = self._embeddings(views)
        if kept is not None:
            embeddings = _keeping(embeddings, [len(own) for own in crops], kept)
        try:
            return [self._propose_in_image(embeddings, own) for own in crops]
        except torch.OutOfMemoryError as error:  # in what is too small to be split into batches
            raise out_of_memory("window") from error

    @torch.no_grad()
    def answer_many(
        self,
        images: Sequence[ImageArray],
        further: Sequence[prompts.FurtherPrompts],
        kept: KeptEmbeddings | None = None,
    ) -> list[MaskSet]:
        """Masks of each of several images for prompts that are not of the grid, by the grid's rules; not in crops.

        Duplicates are dropped among the things of an image, and among its single points.

        Args:
            images: RGB, uint8, of any sizes.
            further: the prompts of each; images without any are not looked at.
            kept: has embeddings of the same images, which are taken from it; others are computed.

        Raises:
            InputError: as `generate`.
            DeviceMemoryError: likewise.
        """
        for image_HW3 in images:
            _require_rgb(image_HW3)
        kept = kept or KeptEmbeddings()
        asked = [k for k, own in enumerate(further) if len(own)]
        embeddings = self._embeddings([images[k] for k in asked if k not in kept])
        found: dict[int, MaskSet] = {}
        for k in asked:
            embedding_1Chw = kept.take(k, self._sam.device) if k in kept else next(embeddings)
            found[k] = self._answer(embedding_1Chw, further[k], images[k])
        return [found[k] if k in found else no_masks(*image.shape[:2]) for k, image in enumerate(images)]

    def _answer(self, embedding_1Chw: Tensor, further: prompts.FurtherPrompts, image_HW3: ImageArray) -> MaskSet:
        """Masks of an image for its further prompts."""
        height, width = image_HW3.shape[:2]
        (whole,) = image_crops(height, width, 0, 0)
        found: list[Proposals] = []
        if len(further.boxes_B4):
            found.append(self._propose_things(further, embedding_1Chw, whole, whole.size))
        if len(further.points_P2):
            found.append(self._propose_at(further.points_P2, embedding_1Chw, whole, whole.size))
        all_found = concatenate(found)
        if self._min_region:
            all_found = remove_small_regions(all_found, self._min_region, self._box_nms_thresh)
        return all_found.masks

    def _crops(self, image_HW3: ImageArray) -> list[Crop]:
        height, width = image_HW3.shape[:2]
        crops = image_crops(height, width, self._crop_n_layers, self._crop_overlap_ratio)
        for crop in crops:
            if 0 in self._inside(crop):
                raise InputError(f"a window or crop is {crop.x1 - crop.x0}x{crop.y1 - crop.y0} pixels",
                                 "its shorter side must not vanish when the longer one is scaled to SAM's "
                                 f"{self._resize.target_length} pixels", "Choose wider or higher windows")  # fmt: skip
        return crops

    def _inside(self, crop: Crop) -> tuple[int, int]:
        """Height and width of a crop in the encoder's square."""
        return self._resize.get_preprocess_shape(*crop.size, self._resize.target_length)

    def _propose_in_image(self, embeddings: Iterator[Tensor], crops: Sequence[Crop]) -> Proposals:
        """Masks of an image, from one embedding per crop; the first crop is the image itself."""
        found = concatenate([self._propose_in_crop(embedding, crop, crops[0].size)
                        for crop, embedding in zip(crops, embeddings, strict=False)])  # fmt: skip
        if len(crops) > 1:
            best = non_max_suppression(
                found.masks.boxes_M4, _crop_scores(found), self._crop_nms_thresh, self._sam.device
            )
            found = found.filter(best)
        if self._min_region == 0:
            return found
        return remove_small_regions(found, self._min_region, max(self._box_nms_thresh, self._crop_nms_thresh))

    def _embeddings(self, views: Sequence[ImageArray]) -> Iterator[Tensor]:
        """Embeddings [1, C, h, w] of crops, one after the other, computed when they are needed."""
        for batch in self._windows.map(len(views), lambda chunk: self.embed(views[chunk])):
            yield from batch.split(1)

    def embed(self, views: Sequence[ImageArray]) -> Tensor:
        """Embeddings [B, C, h, w] of RGB images, each resized and padded to the encoder's square."""
        is_rgb = self._sam.image_format == "RGB"
        resized = [self._resize.apply_image(view if is_rgb else view[..., ::-1]) for view in views]
        with self._turn:
            return self.encoder(torch.cat([self._preprocessed(image) for image in resized]))

    def _preprocessed(self, resized_hw3: ImageArray) -> Tensor:
        pixels = torch.as_tensor(resized_hw3, device=self._sam.device)
        return self._sam.preprocess(pixels.permute(2, 0, 1).contiguous()[None])

    def _propose_in_crop(self, embedding_1Chw: Tensor, crop: Crop, image: tuple[int, int]) -> Proposals:
        """Masks found in a crop without duplicates, in the frame of the image."""
        height, width = crop.size
        return self._propose_at(self._grids[crop.layer] * np.array([width, height]), embedding_1Chw, crop, image)

    def _propose_at(
        self, points_P2: prompts.Points, embedding_1Chw: Tensor, crop: Crop, image: tuple[int, int]
    ) -> Proposals:
        """Masks found at points (x, y) of a crop, pixels, without duplicates, in the frame of the image."""
        prompts_P2 = torch.as_tensor(self._resize.apply_coords(points_P2, crop.size), device=embedding_1Chw.device)
        with self._turn:
            prepared = self.decoder.prepare(embedding_1Chw)

            def decode(chunk: slice) -> DecodedMasks:
                decoded = self.decoder.decode(prepared, prompts_P2[chunk], self._min_iou)
                if self._refine:
                    points_B2, times = prompts_P2[chunk], self._refine
                    decoded = refined(self._sam, embedding_1Chw, points_B2, decoded, times, self._min_iou)
                return decoded

            found = self._find(len(points_P2), decode, crop, image)
            points_M2 = points_P2[found.prompts_M]
            stability_M = self._prompt_stability(prepared, points_M2, found.logits_Mhw, crop)
        masks = replace(found.masks, prompt_stability_M=stability_M)
        if self._keep_levels:
            prompts_M = np.unique(points_M2, axis=0, return_inverse=True)[1]
            masks = replace(masks, prompts_M=prompts_M.ravel().astype(np.int32))
        return _proposals(masks, points_M2, crop)

    def _propose_things(
        self, further: prompts.FurtherPrompts, embedding_1Chw: Tensor, crop: Crop, image: tuple[int, int]
    ) -> Proposals:
        """Masks of the things among further prompts, without duplicates."""
        device = embedding_1Chw.device
        boxes_B4 = self._resize.apply_boxes(further.boxes_B4, crop.size)
        scaled_B4 = torch.as_tensor(boxes_B4, dtype=torch.float32, device=device)
        inside_B22 = torch.as_tensor(self._resize.apply_coords(further.inside_B22, crop.size), device=device).float()

        with self._turn:
            prepared = self.decoder.prepare(embedding_1Chw)

            def decode(chunk: slice) -> DecodedMasks:
                return self.decoder.decode_things(prepared, scaled_B4[chunk], inside_B22[chunk], self._min_iou)

            found = self._find(len(further.boxes_B4), decode, crop, image)
        return _proposals(found.masks, further.inside_B22[found.prompts_M, 0], crop)

    def _find(self, count: int, decode: Callable[[slice], DecodedMasks], crop: Crop, image: tuple[int, int]) -> _Found:
        """The masks of a crop's prompts that are good and stable, without duplicates, in the frame of the image.

        Args:
            count: number of prompts.
            decode: gives the masks of some of them.
            crop: where in the image.
            image: its height and width.
        """
        measured: list[tuple[MaskUpsampler, MeasuredMasks]] = []
        predicted_iou, of_prompts = list[npt.NDArray[np.float32]](), list[npt.NDArray[np.int64]]()  # of the kept masks
        logits = list[Tensor]()  # likewise, where they are needed again
        for first, decoded in self.prompt_batches.map(count, lambda chunk: (chunk.start, decode(chunk))):
            measured.append(self._measure(decoded, crop, image))
            predicted_iou.append(decoded.predicted_iou_P3[decoded.kept_P3].numpy())
            of_prompts.append(first + decoded.kept_P3.nonzero()[:, 0].numpy())
            if self._jitter:
                logits.append(decoded.logits_Khw)
        found = concatenate_measured([masks for _, masks in measured], [len(kept) for kept in of_prompts])
        predicted_iou_K, prompts_K = np.concatenate(predicted_iou), np.concatenate(of_prompts)
        if not self._keep_levels:
            best = non_max_suppression(
                found.boxes_M4, predicted_iou_K[found.indices_M], self._box_nms_thresh, self._sam.device
            )
            found = found.filter(best)
        upsampler = measured[0][0]  # those of all chunks are equal
        bitmaps = upsampler.draw(found.pixels, found.boxes_M4, self._thresholds)
        boxes_M4 = found.boxes_M4 + np.array([crop.y0, crop.x0, crop.y0, crop.x0], np.int32)
        masks = MaskSet(boxes_M4, bitmaps, predicted_iou_K[found.indices_M], found.stability_M, *image)
        chosen = torch.from_numpy(found.indices_M)
        logits_Mhw = torch.cat(logits)[chosen.to(logits[0].device)] if logits else None
        return _Found(masks, prompts_K[found.indices_M], logits_Mhw)

    def _prompt_stability(
        self,
        prepared: PreparedImage,
        points_M2: prompts.Points,
        logits_Mhw: Tensor | None,
        crop: Crop,
    ) -> npt.NDArray[np.float32] | None:
        """What stays of masks when their points (x, y) are moved; None where it is not asked for."""
        if logits_Mhw is None:
            return None
        scaled_M2 = self._resize.apply_coords(points_M2, crop.size)
        prompts_M2 = torch.as_tensor(scaled_M2, device=logits_Mhw.device)
        distance = self._jitter * self._resize.target_length  # the longer side fills the square
        height, width = self._inside(crop)
        rows, columns = (-(-side * low // self._resize.target_length)
                         for side, low in zip((height, width), logits_Mhw.shape[1:], strict=True))  # fmt: skip
        found_M = prompt_stability(
            self.decoder, prepared, prompts_M2, logits_Mhw, distance, self._thresholds.mask, (rows, columns)
        )
        return found_M.numpy().astype(np.float32)

    def _measure(
        self, decoded: DecodedMasks, crop: Crop, image: tuple[int, int]
    ) -> tuple[MaskUpsampler, MeasuredMasks]:
        """The stable masks of a chunk that the crop does not cut, and what can draw them."""
        require_finite(decoded.predicted_iou_P3, _SAM)
        require_finite(decoded.logits_Khw, _SAM)
        upsampler = self._upsampler(decoded, crop)
        found = upsampler.measure(decoded.logits_Khw, self._thresholds, self._min_stability)
        whole = np.flatnonzero(~is_cut(inclusive_boxes(found.boxes_M4), crop, *image))
        return upsampler, found.filter(whole)

    def _upsampler(self, decoded: DecodedMasks, crop: Crop) -> MaskUpsampler:
        """The upsampler for a crop's masks that suits the device."""
        side, (low_height, low_width) = self._resize.target_length, decoded.logits_Khw.shape[1:]
        sizes = Sizes((low_height, low_width), side, self._inside(crop), crop.size, decoded.kept_P3.shape[1])
        if self._is_batched:
            return BatchedUpsampling(sizes, self._pixels)
        upsampler = upsampling(*sizes)
        self._has_plain_upsampling |= not upsampler.is_exact
        return upsampler


def _keeping(embeddings: Iterator[Tensor], crops: Sequence[int], kept: KeptEmbeddings) -> Iterator[Tensor]:
    """The embeddings of images and their crops, so many of each; those of the images, which come first, are kept."""
    for place, count in enumerate(crops):
        for crop, embedding_1Chw in enumerate(islice(embeddings, count)):
            if crop == 0:
                kept.keep(place, embedding_1Chw)
            yield embedding_1Chw


def _proposals(masks: MaskSet, points_M2: prompts.Points, crop: Crop) -> Proposals:
    """Masks with their points (x, y), given in the crop's frame."""
    return Proposals(masks, points_M2 + np.array([crop.x0, crop.y0]), np.tile(np.array(crop[:4]), (len(masks), 1)))


def _grids(
    points_per_side: int | None, own: Sequence[npt.ArrayLike] | None, layers: int, downscale: int
) -> tuple[prompts.Points, ...]:
    require((points_per_side is None) != (own is None), "points_per_side", points_per_side,
            "a number, or None where point_grids are given")  # fmt: skip
    if own is not None:
        return prompts.checked_grids(own, layers)
    return prompts.point_grids(points_per_side or 0, layers, downscale)


def _require_rgb(image_HW3: ImageArray) -> None:
    if not isinstance(image_HW3, np.ndarray):
        found = f"an image of {type(image_HW3).__name__}"
    elif image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.size == 0:
        found = f"an image of {image_HW3.dtype} and shape {image_HW3.shape}"
    else:
        return
    raise InputError(found, "SAM takes RGB as a numpy array, uint8 [H, W, 3]", "Convert it first")


def _crop_scores(found: Proposals) -> npt.NDArray[np.float32]:
    """Scores by which the mask of the smaller crop is the better one."""
    x0, y0, x1, y1 = found.crops_M4.T
    return (1 / torch.from_numpy((x1 - x0) * (y1 - y0))).numpy()
