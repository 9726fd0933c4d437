"""Automatic masks: SAM is asked at every point of a grid; what is good, stable and no duplicate stays.

The front door of the package. Parameters, masks, order and scores are those of `SamAutomaticMaskGenerator`; the way
there is another one: poor masks are dropped before anything is upsampled, the others are upsampled where they are, and
a mask is a box and a bitmap throughout.

Legend: P points of a chunk, K kept masks, M masks, H W image, S side of the encoder's square.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from pipeline.accelerator import Pieces, too_little
from pipeline.errors import InputError
from pipeline.finite import require_finite
from pipeline.settings import require, require_choice
from pipeline.teacher.generator import prompts
from pipeline.teacher.generator.batched_regions import BatchedUpsampling, Sizes
from pipeline.teacher.generator.candidates import Candidates, all_of
from pipeline.teacher.generator.crops import Crop, image_crops, is_cut
from pipeline.teacher.generator.decoder import Decoded, fold_decoder
from pipeline.teacher.generator.encoder import BIAS_NUMBERS, fast_encoder
from pipeline.teacher.generator.memory import Capacity, capacity
from pipeline.teacher.generator.proposals import Proposals, inclusive_boxes, joined, survivors
from pipeline.teacher.generator.regions import Measuring, Thresholds, upsampling
from pipeline.teacher.generator.small_regions import without_small_regions
from pipeline.teacher.masks import MaskSet

Image = npt.NDArray[np.uint8]

_SAM = "SAM"
"""The network, for messages."""
_ODD_KERNEL = "torch rounds bilinear interpolation in no order that is known"


class AutomaticMaskGenerator:
    """Masks of whole images; the settings are those of the stock generator, by the same names.

    On an accelerator images are embedded in batches, prompts and masks worked on in large chunks, and threads that ask
    for masks at the same time take turns on it.

    Args:
        sam: the model, on its device; its weights are read now.
        points_per_side: prompts per side of a regular grid; None where `point_grids` are given.
        points_per_batch: on a CPU, prompts between two collections of masks; memory depends on it, results do not.
        pred_iou_thresh: masks must have a higher predicted IoU; 0 keeps all.
        stability_score_thresh: masks must be at least this stable; 0 keeps all.
        stability_score_offset: shift of the logit threshold for the stability score.
        box_nms_thresh: IoU of boxes from which the one with the lower predicted IoU is a duplicate.
        crop_n_layers: how often the image is halved into crops that are asked too.
        crop_nms_thresh: the same IoU between crops; the mask of the smaller crop stays.
        crop_overlap_ratio: overlap of the first layer's crops, of the image's shorter side.
        crop_n_points_downscale_factor: by this the points per side shrink from layer to layer.
        point_grids: points [P, 2] (x, y) in [0, 1] per layer, instead of regular grids.
        min_mask_region_area: holes and islands of fewer pixels go; 0 leaves them.
        precision: float32, or bfloat16 for what is as large as the image; networks that are not SAM's own ignore it.
        memory_gib: GiB of an accelerator that may be used beside the weights; 0 for half of what is free now.
        batched: whether to work as on an accelerator; None for what suits the device.

    Raises:
        RecipeError: the points are given twice or not at all, none go into a batch, layers of crops are negative, or
            the precision is another one.
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
    ) -> None:
        require(points_per_batch > 0, "sam.points_per_batch", points_per_batch, "a positive number")
        require(crop_n_layers >= 0, "sam.crop_n_layers", crop_n_layers, "zero or a positive number")
        require_choice("sam.precision", precision, (torch.float32, torch.bfloat16))
        self._sam = sam
        self._precision = precision
        self._resize = ResizeLongestSide(sam.image_encoder.img_size)
        self._grids = _grids(points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor)
        self._least_iou = pred_iou_thresh if pred_iou_thresh > 0 else None
        self._least_stability = stability_score_thresh
        self._thresholds = Thresholds(sam.mask_threshold, stability_score_offset)
        self._box_nms_thresh = box_nms_thresh
        self._crop_n_layers = crop_n_layers
        self._crop_nms_thresh = crop_nms_thresh
        self._crop_overlap_ratio = crop_overlap_ratio
        self._min_region = min_mask_region_area
        self._is_batched = sam.device.type != "cpu" if batched is None else batched
        room = Capacity(1, BIAS_NUMBERS, points_per_batch, 0)
        if self._is_batched:
            room = capacity(sam, precision, memory_gib, max(len(grid) for grid in self._grids))
        self._windows = Pieces("window", room.windows)
        self._prompts = Pieces("prompt", room.prompts)
        self._pixels = Pieces("mask", room.pixels)
        self._encoder = fast_encoder(sam.image_encoder, precision, room.bias_numbers)
        self._decoder = fold_decoder(sam, precision)
        self._turn = threading.Lock() if self._is_batched else nullcontext()
        self._has_plain_upsampling = False

    @property
    def plain_because(self) -> dict[str, str]:
        """What works the plain, slower way up to now, and why; results are the same. Nothing for SAM's own models."""
        precision = str(self._precision).removeprefix("torch.")
        unused = "" if self._precision == torch.float32 else f"; {precision} is not used there"
        networks = {
            "SAM's image encoder": self._encoder.plain_because,
            "SAM's mask decoder": self._decoder.plain_because,
        }
        reasons = {part: reason + unused for part, reason in networks.items() if reason is not None}
        return reasons | ({"the upsampling of masks": _ODD_KERNEL} if self._has_plain_upsampling else {})

    @property
    def shrunk(self) -> tuple[str, ...]:
        """What the device's memory holds fewer of at once than was estimated up to now; results are the same."""
        parts = {"windows": self._windows, "prompts": self._prompts, "masks": self._pixels}
        return tuple(name for name, pieces in parts.items() if pieces.is_shrunk)

    def generate(self, image_HW3: Image) -> MaskSet:
        """Masks of an RGB image, uint8; none is a MaskSet of length 0.

        Raises:
            InputError: the image has another type or shape, is too thin, or is too small for the crops.
            DeviceMemoryError: the device's memory is too small for one window, prompt or mask.
            TypeError: an image encoder that is not SAM's returns no tensor.
        """
        return self.propose(image_HW3).masks

    def generate_many(self, images: Sequence[Image]) -> list[MaskSet]:
        """The same for each of several images of any sizes, which an accelerator embeds in batches."""
        return [found.masks for found in self.propose_many(images)]

    def propose(self, image_HW3: Image) -> Proposals:
        """As `generate`, with the point and the crop of each mask, for `proposals.stock_records`."""
        return self.propose_many([image_HW3])[0]

    def propose_many(self, images: Sequence[Image]) -> list[Proposals]:
        """As `generate_many`, with the point and the crop of each mask."""
        for image_HW3 in images:
            _check(image_HW3)
        try:
            return self._propose(images)
        except torch.OutOfMemoryError as error:  # in what is not done in pieces: it is small
            raise too_little("window") from error

    @torch.no_grad()
    def _propose(self, images: Sequence[Image]) -> list[Proposals]:
        crops = [self._crops(image_HW3) for image_HW3 in images]
        views = [image[crop.y0 : crop.y1, crop.x0 : crop.x1] for image, own in zip(images, crops, strict=True)
                 for crop in own]  # fmt: skip
        embeddings = self._embeddings(views)
        return [self._in_image(embeddings, own) for own in crops]

    def _crops(self, image_HW3: Image) -> list[Crop]:
        height, width = image_HW3.shape[:2]
        crops = image_crops(height, width, self._crop_n_layers, self._crop_overlap_ratio)
        for crop in crops:
            if 0 in self._inside(crop):
                raise InputError(f"a window or crop of {crop.x1 - crop.x0}x{crop.y1 - crop.y0} pixels",
                                 "its shorter side needs half a pixel when the longer one is scaled to SAM's "
                                 f"{self._resize.target_length}", "Choose windows that are less narrow")  # fmt: skip
        return crops

    def _inside(self, crop: Crop) -> tuple[int, int]:
        """Height and width of a crop in the encoder's square."""
        return self._resize.get_preprocess_shape(*crop.size, self._resize.target_length)

    def _in_image(self, embeddings: Iterator[Tensor], crops: Sequence[Crop]) -> Proposals:
        """Masks of an image; its crops, of which the first is the image itself, take the next embeddings."""
        found = joined([self._in_crop(embedding, crop, crops[0].size)
                        for crop, embedding in zip(crops, embeddings, strict=False)])  # fmt: skip
        if len(crops) > 1:
            boxes_M4 = inclusive_boxes(found.masks.boxes_M4)
            found = found.filter(survivors(boxes_M4, _smallness(found), self._crop_nms_thresh, self._sam.device))
        if self._min_region == 0:
            return found
        return without_small_regions(found, self._min_region, max(self._box_nms_thresh, self._crop_nms_thresh))

    def _embeddings(self, views: Sequence[Image]) -> Iterator[Tensor]:
        """Embeddings [1, C, h, w] of crops, one after the other, made as they are asked for."""
        for batch in self._windows.of(len(views), lambda some: self._embed(views[some])):
            yield from batch.split(1)

    def _embed(self, views: Sequence[Image]) -> Tensor:
        """Embeddings [B, C, h, w] of crops, each resized and padded to the encoder's square."""
        is_rgb = self._sam.image_format == "RGB"
        resized = [self._resize.apply_image(view if is_rgb else view[..., ::-1]) for view in views]
        with self._turn:
            return self._encoder(torch.cat([self._preprocessed(image) for image in resized]))

    def _preprocessed(self, resized_hw3: Image) -> Tensor:
        pixels = torch.as_tensor(resized_hw3, device=self._sam.device)
        return self._sam.preprocess(pixels.permute(2, 0, 1).contiguous()[None])

    def _in_crop(self, embedding_1Chw: Tensor, crop: Crop, image: tuple[int, int]) -> Proposals:
        """Masks found in a crop without duplicates, in the frame of the image."""
        height, width = crop.size
        points_P2 = self._grids[crop.layer] * np.array([width, height])
        asked_P2 = torch.as_tensor(self._resize.apply_coords(points_P2, crop.size), device=embedding_1Chw.device)
        with self._turn:
            prepared = self._decoder.prepare(embedding_1Chw)

            def ask(some: slice) -> tuple[slice, Decoded]:
                return some, self._decoder.decode(prepared, asked_P2[some], self._least_iou)

            answers = self._prompts.of(len(points_P2), ask)
            chunks = [self._collect(decoded, points_P2[some], crop, image) for some, decoded in answers]
            found = all_of(chunks)
            boxes_M4 = inclusive_boxes(found.boxes_M4)
            chosen = survivors(boxes_M4, found.predicted_iou_M, self._box_nms_thresh, self._sam.device)
            return self._drawn(found.filter(chosen), crop, image)

    def _collect(self, decoded: Decoded, points_P2: prompts.Points, crop: Crop, image: tuple[int, int]) -> Candidates:
        """The stable masks of a chunk that their crop does not cut."""
        require_finite(decoded.predicted_iou_P3, _SAM)
        require_finite(decoded.logits_Khw, _SAM)
        way = self._way(decoded, crop)
        measured = way.measure(decoded.logits_Khw, self._thresholds, self._least_stability)
        prompt_K = decoded.kept_P3.nonzero()[:, 0].numpy()
        found = Candidates(
            measured.boxes_M4,
            decoded.predicted_iou_P3[decoded.kept_P3].numpy()[measured.numbers_M],
            measured.stability_M,
            points_P2[prompt_K[measured.numbers_M]],
            measured.pixels,
            way,
        )
        return found.filter(np.flatnonzero(~is_cut(inclusive_boxes(found.boxes_M4), crop, *image)))

    def _way(self, decoded: Decoded, crop: Crop) -> Measuring:
        """From logits to masks of a crop, as suits the device."""
        side, (low_height, low_width) = self._resize.target_length, decoded.logits_Khw.shape[1:]
        sizes = Sizes((low_height, low_width), side, self._inside(crop), crop.size, decoded.kept_P3.shape[1])
        if self._is_batched:
            return BatchedUpsampling(sizes, self._pixels)
        way = upsampling(*sizes)
        self._has_plain_upsampling |= not way.is_exact
        return way

    def _drawn(self, found: Candidates, crop: Crop, image: tuple[int, int]) -> Proposals:
        """With bitmaps, boxes and points as those of the image."""
        bitmaps = found.way.draw(found.pixels, found.boxes_M4, self._thresholds)
        boxes_M4 = found.boxes_M4 + np.array([crop.y0, crop.x0, crop.y0, crop.x0], np.int32)
        masks = MaskSet(boxes_M4, bitmaps, found.predicted_iou_M, found.stability_M, *image)
        points_M2 = found.points_M2 + np.array([crop.x0, crop.y0])
        return Proposals(masks, points_M2, np.tile(np.array(crop[:4]), (len(masks), 1)))


def _grids(
    points_per_side: int | None, own: Sequence[npt.ArrayLike] | None, layers: int, downscale: int
) -> tuple[prompts.Points, ...]:
    require((points_per_side is None) != (own is None), "points_per_side", points_per_side,
            "a number, or None where point_grids are given")  # fmt: skip
    if own is not None:
        return prompts.checked_grids(own, layers)
    return prompts.point_grids(points_per_side or 0, layers, downscale)


def _check(image_HW3: Image) -> None:
    if not isinstance(image_HW3, np.ndarray):
        found = f"an image of {type(image_HW3).__name__}"
    elif image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.size == 0:
        found = f"an image of {image_HW3.dtype} and shape {image_HW3.shape}"
    else:
        return
    raise InputError(found, "SAM takes RGB as a numpy array, uint8 [H, W, 3]", "Convert it first")


def _smallness(found: Proposals) -> npt.NDArray[np.float32]:
    """Between crops, the mask of the smaller crop is the better one."""
    x0, y0, x1, y1 = found.crops_M4.T
    return (1 / torch.from_numpy((x1 - x0) * (y1 - y0))).numpy()
