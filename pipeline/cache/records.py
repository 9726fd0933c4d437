"""Stage one's results as named arrays, as each part of the store holds them, and back.

Legend: C classes, H W panorama, h w window, M masks of one window, N masks of all windows, T runs, D feature channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import FloatArray, LabelArray
from pipeline.cache import codec
from pipeline.classes import IGNORE
from pipeline.ensemble.compose import Fusion
from pipeline.panorama.views import View
from pipeline.teacher.masks import MaskSet, decode_runs, encode_runs
from pipeline.teacher.rectification import AssistantPrediction

Arrays = dict[str, npt.NDArray[Any]]
FUSED = ("assistant_probabilities", "agreement", "window_labels")
"""The arrays of `pack_assistant` that fusion reads."""


def pack_masks(masks_of_views: Sequence[MaskSet]) -> Arrays:
    """Masks of all views as run lengths: runs [T], run_counts [N], windows [N], boxes [N, 4], scores [N];
    prompt_stability [N] where it was measured, prompts [N] where all masks of a prompt are kept."""
    encoded = [encode_runs(masks) for masks in masks_of_views]
    measured = [masks.prompt_stability_M for masks in masks_of_views if masks.prompt_stability_M is not None]
    prompts = [masks.prompts_M for masks in masks_of_views if masks.prompts_M is not None]
    return {
        "runs": _join([runs for runs, _ in encoded], np.uint32),
        "run_counts": _join([counts for _, counts in encoded], np.uint32),
        "windows": np.repeat(np.arange(len(masks_of_views), dtype=np.int32), [len(masks) for masks in masks_of_views]),
        "boxes": _join([masks.boxes_M4 for masks in masks_of_views], np.int32).reshape(-1, 4),
        "predicted_iou": _join([masks.predicted_iou_M for masks in masks_of_views], np.float32),
        "stability": _join([masks.stability_M for masks in masks_of_views], np.float32),
        **({"prompt_stability": _join(measured, np.float32)} if measured else {}),
        **({"prompts": _join(prompts, np.int32)} if prompts else {}),
    }


def unpack_masks(arrays: Mapping[str, npt.NDArray[Any]], views: Sequence[View]) -> list[MaskSet]:
    """The masks of every view, from `pack_masks`."""
    run_counts = arrays["run_counts"].astype(np.int64)
    mask_ends = np.searchsorted(arrays["windows"], np.arange(len(views)), side="right")
    prompt_stability_N, prompts_N = arrays.get("prompt_stability"), arrays.get("prompts")
    run_ends = np.concatenate(([0], np.cumsum(run_counts)))[mask_ends]
    masks: list[MaskSet] = []
    for k, view in enumerate(views):
        of_view = slice(mask_ends[k - 1] if k else 0, mask_ends[k])
        runs = arrays["runs"][run_ends[k - 1] if k else 0 : run_ends[k]]
        masks.append(decode_runs(
            runs, arrays["run_counts"][of_view], arrays["boxes"][of_view], arrays["predicted_iou"][of_view],
            arrays["stability"][of_view], view.height, view.width,
            None if prompt_stability_N is None else prompt_stability_N[of_view],
            None if prompts_N is None else prompts_N[of_view],
        ))  # fmt: skip
    return masks


def pack_assistant(prediction: AssistantPrediction) -> Arrays:
    """Assistant output: assistant_probabilities and assistant_whole_probabilities [C, H, W], agreement [H, W],
    window_labels [K, h, w] (of the largest h and w; smaller windows are in the upper left corner, IGNORE beside them),
    features_<level> [D, ceil(H / s), ceil(W / s)] with features_<level>_scale [D].
    """
    arrays: Arrays = {
        "assistant_probabilities": codec.encode_probabilities(prediction.assistant_CHW),
        "assistant_whole_probabilities": codec.encode_probabilities(prediction.whole_CHW),
        "agreement": codec.encode_unit(prediction.agreement_HW),
        "window_labels": _stack_labels(prediction.view_labels_Khw),
    }
    for level, features in prediction.features.items():
        arrays[f"features_{level}"], arrays[f"features_{level}_scale"] = codec.encode_features(features)
    return arrays


def unpack_fused(
    arrays: Mapping[str, npt.NDArray[Any]], views: Sequence[View]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], tuple[npt.NDArray[np.uint8], ...]]:
    """assistant_CHW, agreement_HW and view_labels_Khw from the arrays of FUSED, within the codec's rounding."""
    both = zip(views, arrays["window_labels"], strict=True)
    return (
        codec.decode_probabilities(arrays["assistant_probabilities"]),
        codec.decode_unit(arrays["agreement"]),
        tuple(labels_hw[: view.height, : view.width] for view, labels_hw in both),
    )


def pack_blend(blend_CHW: FloatArray, agreement_HW: FloatArray, agreeing_HW: LabelArray) -> Arrays:
    """Several assistants together: assistant_probabilities [C, H, W], agreement [H, W] (of windows and views), and
    agreeing_assistants [H, W], how many give a pixel the class that their mean gives it."""
    return {
        "assistant_probabilities": codec.encode_probabilities(blend_CHW),
        "agreement": codec.encode_unit(agreement_HW),
        "agreeing_assistants": agreeing_HW,
    }


def _stack_labels(view_labels: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    height, width = (max(labels_hw.shape[axis] for labels_hw in view_labels) for axis in (0, 1))
    stacked_Khw = np.full((len(view_labels), height, width), IGNORE, np.uint8)
    for place_hw, labels_hw in zip(stacked_Khw, view_labels, strict=True):
        place_hw[: labels_hw.shape[0], : labels_hw.shape[1]] = labels_hw
    return stacked_Khw


def pack_ensemble(fusion: Fusion, boundary_HW: npt.NDArray[np.bool_], ignored_HW: npt.NDArray[np.bool_]) -> Arrays:
    """ensemble_labels, reliability, boundary, ignored [H, W] uint8; ensemble_probabilities [C, H, W]."""
    return {
        "ensemble_labels": fusion.labels_HW,
        "ensemble_probabilities": codec.encode_probabilities(fusion.ensemble_CHW),
        "reliability": fusion.reliable_HW.astype(np.uint8),
        "boundary": boundary_HW.astype(np.uint8),
        "ignored": ignored_HW.astype(np.uint8),
    }


def _join(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.asarray(part, kind) for part in parts]) if parts else np.empty(0, kind)
