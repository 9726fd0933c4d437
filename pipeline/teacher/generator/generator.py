"""Automatic masks: SAM is asked at every point of a grid; what is good, stable and no duplicate stays.

The front door of the package. Parameters, masks, order and scores are those of `SamAutomaticMaskGenerator`; the way
there is another one: poor masks are dropped before anything is upsampled, the others are upsampled where they are, and
a mask is a box and a bitmap throughout.

Legend: P points of a chunk, K kept masks, M masks, H W image, S side of the encoder's square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from pipeline.errors import InputError
from pipeline.settings import require
from pipeline.teacher.generator import prompts
from pipeline.teacher.generator.crops import Crop, image_crops, is_cut
from pipeline.teacher.generator.decoder import Decoded, fold_decoder
from pipeline.teacher.generator.encoder import fast_encoder
from pipeline.teacher.generator.proposals import Proposals, inclusive_boxes, joined, survivors
from pipeline.teacher.generator.regions import Thresholds, upsampling
from pipeline.teacher.generator.small_regions import load_opencv, mend
from pipeline.teacher.masks import MaskSet

Image = npt.NDArray[np.uint8]

_ODD_KERNEL = "torch rounds bilinear interpolation in another order on this machine"


class AutomaticMaskGenerator:
    """Masks of whole images; the settings are those of the stock generator, by the same names.

    Args:
        sam: the model; its weights are read now.
        points_per_side: prompts per side of a regular grid; None where `point_grids` are given.
        points_per_batch: prompts between two collections of masks; memory depends on it, results do not.
        pred_iou_thresh: masks must have a higher predicted IoU; 0 keeps all.
        stability_score_thresh: masks must be at least this stable; 0 keeps all.
        stability_score_offset: shift of the logit threshold for the stability score.
        box_nms_thresh: IoU of boxes from which the one with the lower predicted IoU is a duplicate.
        crop_n_layers: how often the image is halved into crops that are asked too.
        crop_nms_thresh: the same IoU between crops; the mask of the smaller crop stays.
        crop_overlap_ratio: overlap of the first layer's crops, of the image's shorter side.
        crop_n_points_downscale_factor: by this the points per side shrink from layer to layer.
        point_grids: points [P, 2] (x, y) in [0, 1] per layer, instead of regular grids.
        min_mask_region_area: holes and islands of fewer pixels go; 0 leaves them; needs OpenCV.
        precision: float32, or bfloat16 for what is as large as the image.

    Raises:
        RecipeError: the points are given twice or not at all, or OpenCV is needed and missing.
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
    ) -> None:
        if min_mask_region_area > 0:
            load_opencv()
        self._sam = sam
        self._encoder = fast_encoder(sam.image_encoder, precision)
        self._decoder = fold_decoder(sam, precision)
        self._resize = ResizeLongestSide(sam.image_encoder.img_size)
        self._grids = _grids(points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor)
        self._points_per_batch = points_per_batch
        self._least_iou = pred_iou_thresh if pred_iou_thresh > 0 else None
        self._least_stability = stability_score_thresh
        self._thresholds = Thresholds(sam.mask_threshold, stability_score_offset)
        self._box_nms_thresh = box_nms_thresh
        self._crop_n_layers = crop_n_layers
        self._crop_nms_thresh = crop_nms_thresh
        self._crop_overlap_ratio = crop_overlap_ratio
        self._min_region = min_mask_region_area
        self._has_plain_upsampling = False

    @property
    def plain_because(self) -> dict[str, str]:
        """What works the plain, slower way up to now, and why; results are the same. Nothing for SAM's own models."""
        reasons = {
            "SAM's image encoder": self._encoder.plain_because,
            "SAM's mask decoder": self._decoder.plain_because,
            "the upsampling of masks": _ODD_KERNEL if self._has_plain_upsampling else None,
        }
        return {part: reason for part, reason in reasons.items() if reason is not None}

    def generate(self, image_HW3: Image) -> MaskSet:
        """Masks of an RGB image, uint8; none is a MaskSet of length 0.

        Raises:
            InputError: the image has another type or shape, or is too small for the crops.
        """
        return self.propose(image_HW3).masks

    @torch.no_grad()
    def propose(self, image_HW3: Image) -> Proposals:
        """The same with the point and the crop of each mask, for `proposals.stock_records`."""
        _check(image_HW3)
        height, width = image_HW3.shape[:2]
        crops = image_crops(height, width, self._crop_n_layers, self._crop_overlap_ratio)
        found = joined([self._in_crop(image_HW3, crop) for crop in crops])
        if len(crops) > 1:
            found = found.filter(survivors(inclusive_boxes(found.masks), _smallness(found), self._crop_nms_thresh))
        return self._without_small_regions(found) if self._min_region > 0 else found

    def _in_crop(self, image_HW3: Image, crop: Crop) -> Proposals:
        """Masks found in a crop without duplicates, in the frame of the image."""
        height, width = crop.size
        embedding_1Chw = self._embed(image_HW3[crop.y0 : crop.y1, crop.x0 : crop.x1])
        prepared = self._decoder.prepare(embedding_1Chw)
        points_P2 = self._grids[crop.layer] * np.array([width, height])
        asked_P2 = torch.as_tensor(self._resize.apply_coords(points_P2, crop.size), device=embedding_1Chw.device)
        chunks: list[Proposals] = []
        for start in range(0, len(points_P2), self._points_per_batch):
            chunk = slice(start, start + self._points_per_batch)
            decoded = self._decoder.decode(prepared, asked_P2[chunk], self._least_iou)
            chunks.append(self._collect(decoded, points_P2[chunk], crop, image_HW3.shape[:2]))
        found = joined(chunks)
        return found.filter(survivors(inclusive_boxes(found.masks), found.masks.predicted_iou_M, self._box_nms_thresh))

    def _embed(self, crop_hw3: Image) -> Tensor:
        """Embedding [1, C, h, w] of an image, resized and padded to the encoder's square."""
        rgb = crop_hw3 if self._sam.image_format == "RGB" else crop_hw3[..., ::-1]
        resized = torch.as_tensor(self._resize.apply_image(rgb), device=self._sam.device)
        return self._encoder(self._sam.preprocess(resized.permute(2, 0, 1).contiguous()[None]))

    def _collect(self, decoded: Decoded, points_P2: prompts.Points, crop: Crop, image: tuple[int, int]) -> Proposals:
        """The stable masks of a chunk that their crop does not cut."""
        inside = self._resize.get_preprocess_shape(*crop.size, self._resize.target_length)
        logits_Khw = decoded.logits_Khw.cpu()
        way = upsampling(tuple(logits_Khw.shape[1:]), self._resize.target_length, inside, crop.size,
                         decoded.kept_P3.shape[1])  # fmt: skip
        self._has_plain_upsampling |= not way.is_exact
        regions = list(way.regions(logits_Khw, self._thresholds, self._least_stability))
        chosen = [region.number for region in regions]
        masks = MaskSet(
            np.array([region.box for region in regions], np.int32).reshape(-1, 4),
            tuple(region.bitmap for region in regions),
            decoded.predicted_iou_P3[decoded.kept_P3].cpu().numpy()[chosen],
            np.array([region.stability for region in regions], np.float32),
            *image,
        )
        prompt_K = decoded.kept_P3.nonzero()[:, 0].cpu().numpy()
        found = Proposals(masks, points_P2[prompt_K[chosen]], np.tile(np.array(crop[:4]), (len(regions), 1)))
        return _in_image(found.filter(~is_cut(inclusive_boxes(masks), crop, *image)), crop)

    def _without_small_regions(self, found: Proposals) -> Proposals:
        """Mended masks without the duplicates that mending made; masks that were sound stay before mended ones."""
        masks = found.masks
        mended = [
            mend((y0, x0, y1, x1), bitmap, (masks.height, masks.width), self._min_region)
            for (y0, x0, y1, x1), bitmap in zip(masks.boxes_M4.tolist(), masks.bitmaps, strict=True)
        ]
        boxes_M4 = np.array([mask.box for mask in mended], np.int32).reshape(-1, 4)
        changed_M = np.array([mask.changed for mask in mended], np.bool_)
        masks = replace(masks, boxes_M4=boxes_M4, bitmaps=tuple(mask.bitmap for mask in mended))
        threshold = max(self._box_nms_thresh, self._crop_nms_thresh)
        keep = survivors(inclusive_boxes(masks), ~changed_M, threshold)
        # As in stock, an empty mask is compared as a box at the image's origin, but keeps that of its crop.
        masks = replace(masks, boxes_M4=np.where(changed_M[:, None], boxes_M4, found.masks.boxes_M4))
        return replace(found, masks=masks).filter(keep)


def _grids(
    points_per_side: int | None, own: Sequence[npt.ArrayLike] | None, layers: int, downscale: int
) -> tuple[prompts.Points, ...]:
    require((points_per_side is None) != (own is None), "points_per_side", points_per_side,
            "a number, or None where point_grids are given")  # fmt: skip
    if own is not None:
        return prompts.checked_grids(own, layers)
    return prompts.point_grids(points_per_side or 0, layers, downscale)


def _check(image_HW3: Image) -> None:
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.size == 0:
        raise InputError(f"an image of {image_HW3.dtype} and shape {image_HW3.shape}",
                         "SAM takes RGB as uint8 [H, W, 3]", "Convert it first")  # fmt: skip


def _in_image(found: Proposals, crop: Crop) -> Proposals:
    """Boxes and points of a crop as those of the image."""
    boxes_M4 = found.masks.boxes_M4 + np.array([crop.y0, crop.x0, crop.y0, crop.x0], np.int32)
    points_M2 = found.points_M2 + np.array([crop.x0, crop.y0])
    return replace(found, masks=replace(found.masks, boxes_M4=boxes_M4), points_M2=points_M2)


def _smallness(found: Proposals) -> npt.NDArray[np.float32]:
    """Between crops, the mask of the smaller crop is the better one."""
    x0, y0, x1, y1 = found.crops_M4.T
    return (1 / torch.from_numpy((x1 - x0) * (y1 - y0))).numpy()
