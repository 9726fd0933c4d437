"""Masks with their prompts and crops as a struct of arrays; non-maximum suppression; the stock generator's records.

Legend: M masks, H W image. Boxes of a `MaskSet` are (y0, x0, y1, x1) with exclusive ends; SAM's are (x0, y0, x1, y1)
with inclusive ends for masks and exclusive ends for crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops.boxes import batched_nms

from pipeline.arrays import ScalarT
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


def stock_records(proposals: Proposals) -> list[dict[str, Any]]:
    """The list of dicts that `SamAutomaticMaskGenerator.generate` returns for one image by default: masks are bool
    arrays [H, W]."""
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
            masks.dense(), masks.areas(), inclusive_boxes(masks.boxes_M4), masks.predicted_iou_M,
            proposals.points_M2, masks.stability_M, proposals.crops_M4, strict=True,
        )
    ]  # fmt: skip


def _origin_and_size(box: npt.NDArray[np.int64]) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
