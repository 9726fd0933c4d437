"""Masks of one window as a struct of arrays: a box and the bitmap inside it, run lengths for the store.

Legend: M masks, h w window, T runs. Boxes are (y0, x0, y1, x1) in window pixels, ends exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bitmap = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskSet:
    """Class-agnostic masks K_i^m of one window, in the order of the generator."""

    boxes_M4: npt.NDArray[np.int32]
    """Tight boxes (y0, x0, y1, x1), ends exclusive; all zero for an empty mask."""
    bitmaps: tuple[Bitmap, ...]
    """Each mask inside its box."""
    predicted_iou_M: npt.NDArray[np.float32]
    """SAM's own estimate of each mask's IoU with the true outline, about 0 to 1."""
    stability_M: npt.NDArray[np.float32]
    """Stability score in [0, 1]: IoU of the mask at a raised threshold with that at a lowered one."""
    height: int
    """Window height, pixels."""
    width: int
    """Window width, pixels."""
    prompt_stability_M: npt.NDArray[np.float32] | None = None
    """IoU in [0, 1] of each mask with what is found when its prompt is moved a little; None where not measured."""
    prompts_M: npt.NDArray[np.int32] | None = None
    """Number of the prompt of each mask, where all masks of a prompt are kept; else None."""

    def __len__(self) -> int:
        return len(self.bitmaps)

    @classmethod
    def from_dense(
        cls,
        masks_Mhw: npt.ArrayLike,
        predicted_iou_M: npt.ArrayLike | None = None,
        stability_M: npt.ArrayLike | None = None,
    ) -> MaskSet:
        """From full-size bitmaps [M, h, w] of any type, non-zero inside the mask; scores that are not given are 1.

        Raises:
            ValueError: the bitmaps are not [M, h, w], or scores are not [M].
        """
        flags_Mhw = np.asarray(masks_Mhw, np.bool_)
        if flags_Mhw.ndim != 3:
            raise ValueError(f"masks have the shape {flags_Mhw.shape}; they must be [M, h, w], even if there are none")
        count, height, width = flags_Mhw.shape
        cut_out = [tight(mask) for mask in flags_Mhw]
        boxes = np.array([box for box, _ in cut_out], np.int32).reshape(count, 4)
        bitmaps = tuple(bitmap for _, bitmap in cut_out)
        return cls(boxes, bitmaps, _scores(predicted_iou_M, count), _scores(stability_M, count), height, width)

    def filter(self, keep_M: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> MaskSet:
        """The masks that a flag per mask, or a list of indices in the order wanted, selects."""
        indices = np.arange(len(self))[keep_M]
        return MaskSet(
            self.boxes_M4[indices],
            tuple(self.bitmaps[i] for i in indices),
            self.predicted_iou_M[indices],
            self.stability_M[indices],
            self.height,
            self.width,
            None if self.prompt_stability_M is None else self.prompt_stability_M[indices],
            None if self.prompts_M is None else self.prompts_M[indices],
        )

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels per mask, shape [M]."""
        return np.array([np.count_nonzero(bitmap) for bitmap in self.bitmaps], np.int64)

    def placed(self) -> Iterator[tuple[tuple[slice, slice], Bitmap]]:
        """(box as slices of the window, bitmap inside it) of every mask."""
        for (y0, x0, y1, x1), bitmap in zip(self.boxes_M4.tolist(), self.bitmaps, strict=True):
            yield (slice(y0, y1), slice(x0, x1)), bitmap

    def dense(self) -> npt.NDArray[np.bool_]:
        """Full-size bitmaps masks_Mhw."""
        masks_Mhw = np.zeros((len(self), self.height, self.width), np.bool_)
        for mask_hw, (box, bitmap) in zip(masks_Mhw, self.placed(), strict=True):
            mask_hw[box] = bitmap
        return masks_Mhw


def joined(first: MaskSet, second: MaskSet) -> MaskSet:
    """The masks of two sets of one window, one after the other, with their scores; nothing of their prompts."""
    return MaskSet(
        np.concatenate((first.boxes_M4, second.boxes_M4)),
        (*first.bitmaps, *second.bitmaps),
        np.concatenate((first.predicted_iou_M, second.predicted_iou_M)),
        np.concatenate((first.stability_M, second.stability_M)),
        first.height,
        first.width,
    )


def no_masks(height: int, width: int) -> MaskSet:
    """The empty set of a window of that size, pixels."""
    return MaskSet.from_dense(np.empty((0, height, width), np.bool_))


def tight(mask_hw: Bitmap) -> tuple[tuple[int, int, int, int], Bitmap]:
    """Box of a mask and a copy of the mask inside it; zeros and nothing for an empty one."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    if len(rows) == 0:
        return (0, 0, 0, 0), np.empty((0, 0), np.bool_)
    y0, x0, y1, x1 = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    return (y0, x0, y1, x1), mask_hw[y0:y1, x0:x1].copy()


def encode_runs(masks: MaskSet) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Run lengths of all masks, concatenated [T], and the number of runs of each mask [M].

    A mask is read row by row inside its box; runs alternate, background first (a first run of 0 starts in the mask).
    """
    runs = [_runs_of(bitmap.ravel()) for bitmap in masks.bitmaps]
    counts = np.array([len(r) for r in runs], np.uint32)
    return np.concatenate(runs) if runs else np.empty(0, np.uint32), counts


def decode_runs(
    runs: npt.NDArray[np.integer],
    run_counts: npt.NDArray[np.integer],
    boxes_M4: npt.NDArray[np.int32],
    predicted_iou_M: npt.NDArray[np.float32],
    stability_M: npt.NDArray[np.float32],
    height: int,
    width: int,
    prompt_stability_M: npt.NDArray[np.float32] | None = None,
    prompts_M: npt.NDArray[np.int32] | None = None,
) -> MaskSet:
    """The masks from the runs of `encode_runs`.

    Raises:
        ValueError: the runs of a mask do not fill its box.
    """
    parts: Sequence[npt.NDArray[np.integer]] = np.split(runs, np.cumsum(run_counts[:-1], dtype=np.int64))
    bitmaps = tuple(_bitmap_of(part, box) for part, box in zip(parts, boxes_M4, strict=False))
    return MaskSet(boxes_M4, bitmaps, predicted_iou_M, stability_M, height, width, prompt_stability_M, prompts_M)


def _runs_of(flat: Bitmap) -> npt.NDArray[np.uint32]:
    changes = np.flatnonzero(np.diff(flat)) + 1
    first = [0] if len(flat) and flat[0] else []
    return np.diff(np.concatenate((first, [0], changes, [len(flat)]))).astype(np.uint32)


def _bitmap_of(runs: npt.NDArray[np.integer], box: npt.NDArray[np.int32]) -> Bitmap:
    y0, x0, y1, x1 = box.tolist()
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if len(flat) != (y1 - y0) * (x1 - x0):
        raise ValueError(f"runs of {len(flat)} pixels cannot fill the box {(y0, x0, y1, x1)}")
    return flat.reshape(y1 - y0, x1 - x0)


def _scores(given: npt.ArrayLike | None, count: int) -> npt.NDArray[np.float32]:
    scores_M = np.ones(count, np.float32) if given is None else np.asarray(given, np.float32)
    if scores_M.shape != (count,):
        raise ValueError(f"scores have the shape {scores_M.shape}; {count} masks have one each")
    return scores_M
