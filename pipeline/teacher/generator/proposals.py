"""Masks with their prompts and crops as a struct of arrays; non-maximum suppression; the stock generator's records.

Legend: M masks, H W image. Boxes of a `MaskSet` are (y0, x0, y1, x1) with exclusive ends; SAM's are (x0, y0, x1, y1)
with inclusive ends for masks and exclusive ends for crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.utils.amg import coco_encode_rle
from torchvision.ops.boxes import batched_nms

from pipeline.arrays import ScalarT
from pipeline.errors import RecipeError
from pipeline.settings import require_choice
from pipeline.teacher.masks import MaskSet

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Proposals:
    """Masks of one image, in the order of the generator."""

    masks: MaskSet
    """The masks and their scores."""
    points_M2: npt.NDArray[np.float64]
    """The prompt (x, y) of each, image pixels."""
    crops_M4: npt.NDArray[np.int64]
    """The crop (x0, y0, x1, y1) that each was found in, ends exclusive."""

    def filter(self, keep_M: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> Proposals:
        """A selection; see `MaskSet.filter`."""
        return Proposals(self.masks.filter(keep_M), self.points_M2[keep_M], self.crops_M4[keep_M])


def concatenate(proposals: Sequence[Proposals]) -> Proposals:
    """All proposals of at least one crop or batch, one after the other."""
    masks = [own.masks for own in proposals]
    return Proposals(
        MaskSet(
            np.concatenate([m.boxes_M4 for m in masks]),
            tuple(bitmap for m in masks for bitmap in m.bitmaps),
            np.concatenate([m.predicted_iou_M for m in masks]),
            np.concatenate([m.stability_M for m in masks]),
            masks[0].height,
            masks[0].width,
            _joined([m.prompt_stability_M for m in masks]),
            _joined([m.prompts_M for m in masks]),
        ),
        np.concatenate([own.points_M2 for own in proposals]),
        np.concatenate([own.crops_M4 for own in proposals]),
    )


def _joined(parts: Sequence[npt.NDArray[ScalarT] | None]) -> npt.NDArray[ScalarT] | None:
    """Figures of all masks, if those of each part are known."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def inclusive_boxes(boxes_M4: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """SAM's boxes (x0, y0, x1, y1) with inclusive ends, from ours; that of an empty mask is a point."""
    y0, x0, y1, x1 = boxes_M4.astype(np.int64).T
    return np.stack([x0, y0, np.maximum(x1 - 1, x0), np.maximum(y1 - 1, y0)], axis=1)


def non_max_suppression(
    boxes_M4: npt.NDArray[np.int32], scores_M: npt.ArrayLike, threshold: float, device: torch.device = _CPU
) -> npt.NDArray[np.int64]:
    """Indices, best score first, of the boxes that overlap no better one by more than the threshold (IoU).

    torchvision's NMS with the stock generator's arguments, on the device where that runs it: ties break as there.

    Args:
        boxes_M4: those of a `MaskSet`.
        scores_M: higher is better.
        threshold: IoU, 0..1.
        device: where to compute.
    """
    boxes = torch.from_numpy(inclusive_boxes(boxes_M4)).to(device).float()
    scores = torch.from_numpy(np.asarray(scores_M, np.float32)).to(device)
    return batched_nms(boxes, scores, torch.zeros(len(boxes), device=device), iou_threshold=threshold).cpu().numpy()


def stock_records(proposals: Proposals, output_mode: str = "binary_mask") -> list[dict[str, Any]]:
    """The list of dicts that `SamAutomaticMaskGenerator.generate` returns.

    Args:
        proposals: of one image.
        output_mode: what a mask is, as there: binary_mask, a bool array [H, W]; uncompressed_rle, its size (H, W) and
            the lengths of its runs, column by column, background first; coco_rle, the same as pycocotools packs it.

    Raises:
        RecipeError: the mode is none of these, or pycocotools is not installed for coco_rle.
    """
    require_choice("output_mode", output_mode, ("binary_mask", "uncompressed_rle", "coco_rle"))
    if output_mode == "coco_rle" and find_spec("pycocotools") is None:
        raise RecipeError("output_mode is 'coco_rle'", "it needs pycocotools, which is not installed",
                          "Run `pip install pycocotools`, or use 'uncompressed_rle'")  # fmt: skip
    masks = proposals.masks
    return [
        {
            "segmentation": segmentation,
            "area": int(area),
            "bbox": _origin_and_size(box),
            "predicted_iou": float(predicted_iou),
            "point_coords": [point.tolist()],
            "stability_score": float(stability),
            "crop_box": _origin_and_size(crop),
        }
        for segmentation, area, box, predicted_iou, point, stability, crop in zip(
            _segmentations(masks, output_mode), masks.areas(), inclusive_boxes(masks.boxes_M4), masks.predicted_iou_M,
            proposals.points_M2, masks.stability_M, proposals.crops_M4, strict=True,
        )
    ]  # fmt: skip


def _segmentations(masks: MaskSet, output_mode: str) -> list[Any]:
    if output_mode == "binary_mask":
        return list(masks.dense())
    runs = [{"size": [masks.height, masks.width], "counts": counts} for counts in _runs_by_column(masks)]
    return [coco_encode_rle(own) for own in runs] if output_mode == "coco_rle" else runs


def _runs_by_column(masks: MaskSet) -> Iterator[list[int]]:
    """Lengths of runs of each mask, background first; only the columns that a mask touches are looked at."""
    for bitmap, (y0, x0, y1, x1) in zip(masks.bitmaps, masks.boxes_M4.tolist(), strict=True):
        columns_wH = np.zeros((x1 - x0, masks.height), np.bool_)
        columns_wH[:, y0:y1] = bitmap.T
        edges = x0 * masks.height + np.flatnonzero(np.diff(columns_wH.ravel(), prepend=False, append=False))
        counts = np.diff(edges, prepend=0, append=masks.height * masks.width).tolist()
        yield counts[:-1] if counts[-1] == 0 else counts


def _origin_and_size(box: npt.NDArray[np.int64]) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
