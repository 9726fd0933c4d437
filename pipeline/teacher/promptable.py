"""Automatic masks by promptable networks of transformers: SAM, SAM-HQ, SAM 2, SAM 3 and EdgeTAM, by hub name or folder.

The rules are those of the stock generator, and the filters are our generator's: one point per prompt on a regular grid,
three masks per prompt; masks with a low predicted IoU or stability are dropped, then duplicates.
The image is embedded once. The code is written to be read rather than to be fast.

Legend: P points (x, y), K kept masks, H W image, S S the network's square, h w its masks' own resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForMaskGeneration
from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING_NAMES

from pipeline.arrays import ImageArray
from pipeline.errors import WeightsError, first_line
from pipeline.finite import require_finite
from pipeline.precision import chosen_precision
from pipeline.pretrained import find_network, load_complete, quiet
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.prompts import point_grids
from pipeline.teacher.generator.proposals import Proposals, concatenate, non_max_suppression
from pipeline.teacher.generator.regions import Thresholds, Upsampling, stretched_upsampling, upsampling
from pipeline.teacher.generator.small_regions import remove_small_regions
from pipeline.teacher.identity import SAM_NAME, identity_of_folder
from pipeline.teacher.masks import MaskSet

_FOREGROUND = 0.0
"""Logits above it are a mask's, in all of these networks."""


@dataclass(frozen=True, eq=False)
class _Prepared:
    """An image as a network sees it."""

    embeddings: dict[str, Any]
    """The image's embeddings, by the names of the network's arguments."""
    inside: tuple[int, int]
    """Rows and columns of the square that the image fills, padding excluded."""
    side: int | None
    """S where the image keeps its aspect ratio and is padded; None where it is stretched to the square."""


class PromptableMasks:
    """A promptable network of transformers as a `MaskSource`.

    Args:
        network: in evaluation mode, float32, without gradients, on its device.
        processor: the image processor beside it.
        config: settings of the generator; `precision` is that of the image's embedding.
        identity: see `MaskSource`.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, network: Any, processor: Any, config: SamConfig, identity: str) -> None:
        self.identity = identity
        self.network = network
        """Its image encoder, prompt encoder and mask decoder."""
        self.processor = processor
        """The image processor beside it."""
        self._config = config
        self._precision = chosen_precision(config.precision, network.device)
        (self._grid_P2,) = point_grids(config.points_per_side, 0, 1)
        self._turn = (
            Lock()
        )  # stage one calls it from several threads on a GPU, whose memory is planned for one image at a time

    @torch.no_grad()
    def many(self, images: Sequence[ImageArray]) -> list[MaskSet]:
        """See `MaskSource`; one image after the other."""
        with self._turn:
            return [self._masks(np.ascontiguousarray(image_HW3)) for image_HW3 in images]

    def _masks(self, image_HW3: ImageArray) -> MaskSet:
        height, width, _ = image_HW3.shape
        config, size = self._config, (height, width)
        prepared = self._prepare(image_HW3)
        points_P2 = self._grid_P2 * np.array([width, height])
        found = [self._propose(prepared, points_P2[start : start + config.points_per_batch], size)
                 for start in range(0, len(points_P2), config.points_per_batch)]  # fmt: skip
        proposals = concatenate(found)
        boxes_M4, scores_M = proposals.masks.boxes_M4, proposals.masks.predicted_iou_M
        chosen = proposals.filter(non_max_suppression(boxes_M4, scores_M, config.box_nms_thresh, self.network.device))
        if config.min_mask_region_area > 0:
            threshold = max(config.box_nms_thresh, config.crop_nms_thresh)
            chosen = remove_small_regions(chosen, config.min_mask_region_area, threshold)
        return chosen.masks

    def _prepare(self, image_HW3: ImageArray) -> _Prepared:
        device = self.network.device
        inputs = self.processor(images=[image_HW3], input_data_format="channels_last", return_tensors="pt")
        pixels = inputs["pixel_values"].to(device)
        with torch.autocast(device.type, self._precision, enabled=self._precision != torch.float32):
            answer = self.network.get_image_embeddings(pixels)
        # SAM-HQ also returns intermediate embeddings, which its decoder needs.
        names = ("image_embeddings", "intermediate_embeddings")
        answers = answer if isinstance(answer, tuple) else (answer,)
        embeddings = {name: _float32(each) for name, each in zip(names, answers, strict=False)}
        rows, columns = pixels.shape[-2:]
        if "reshaped_input_sizes" not in inputs:
            return _Prepared(embeddings, (rows, columns), None)
        inside_rows, inside_columns = (int(extent) for extent in inputs["reshaped_input_sizes"][0])
        return _Prepared(embeddings, (inside_rows, inside_columns), max(rows, columns))

    def _propose(self, prepared: _Prepared, points_P2: npt.NDArray[np.float64], size: tuple[int, int]) -> Proposals:
        """The good and stable masks of some points, in the image's frame."""
        logits_P3hw, predicted_iou_P3 = self._predict(prepared, points_P2, size)
        min_iou = self._config.pred_iou_thresh
        kept_P3 = predicted_iou_P3 > min_iou if min_iou > 0 else torch.ones_like(predicted_iou_P3, dtype=torch.bool)
        logits_Khw = logits_P3hw[kept_P3]
        thresholds = Thresholds(_FOREGROUND, self._config.stability_score_offset)
        upsampler = _upsampling(prepared, logits_P3hw.shape, size)
        measured = upsampler.measure(logits_Khw, thresholds, self._config.stability_score_thresh)
        bitmaps = upsampler.draw(measured.pixels, measured.boxes_M4, thresholds)
        kept_iou_M = predicted_iou_P3[kept_P3].numpy()[measured.indices_M]
        masks = MaskSet(measured.boxes_M4, bitmaps, kept_iou_M, measured.stability_M, *size)
        points_M2 = points_P2[kept_P3.nonzero()[:, 0].numpy()[measured.indices_M]]
        return Proposals(masks, points_M2, np.tile(np.array([0, 0, size[1], size[0]]), (len(masks), 1)))

    def _predict(
        self, prepared: _Prepared, points_P2: npt.NDArray[np.float64], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Mask logits [P, 3, h, w] and predicted IoU [P, 3], on the CPU."""
        to_square = np.array([prepared.inside[1] / size[1], prepared.inside[0] / size[0]])
        prompts_1P12 = torch.from_numpy(points_P2 * to_square).to(self.network.device)[None, :, None]
        answer = self.network(
            **prepared.embeddings,
            input_points=prompts_1P12,
            input_labels=torch.ones(prompts_1P12.shape[:-1], dtype=torch.int, device=prompts_1P12.device),
            multimask_output=True,
        )
        logits_P3hw, predicted_iou_P3 = answer.pred_masks[0].float().cpu(), answer.iou_scores[0].float().cpu()
        for numbers in (predicted_iou_P3, logits_P3hw):
            require_finite(numbers, f"the mask network {self._config.name}")
        return logits_P3hw, predicted_iou_P3


def load_promptable(config: SamConfig, device: torch.device) -> PromptableMasks:
    """The promptable network that `config.name` names, ready to use.

    Raises:
        WeightsError: there is no such network, it is not promptable by points, or lacks weights or the settings of
            its image processor.
    """
    folder = find_network(config.name, SAM_NAME)
    network = _network(folder, config.name).to(device)
    return PromptableMasks(
        network, _processor(folder, config.name), config, identity_of_folder(config.name, folder, "transformers")
    )


def _network(folder: Path, name: str) -> torch.nn.Module:
    known = ", ".join(sorted(set(MODEL_FOR_MASK_GENERATION_MAPPING_NAMES.values())))
    return load_complete(
        AutoModelForMaskGeneration,
        folder,
        name,
        SAM_NAME,
        f"a promptable network of transformers {transformers.__version__}: {known}",
        "a promptable network must be complete, with prompt encoder and mask decoder",
    )


def _processor(folder: Path, name: str) -> Any:
    try:
        with quiet():  # where a processor has two forms, PIL's is that of segment_anything
            return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    except Exception as error:  # loading raises errors of any class
        raise WeightsError(f"{name} has no usable settings of its image processor ({first_line(error)})",
                           "they are in preprocessor_config.json or processor_config.json",
                           "Download that file from the Hugging Face hub into the folder") from error  # fmt: skip


def _upsampling(prepared: _Prepared, logits_P3hw: torch.Size, size: tuple[int, int]) -> Upsampling:
    _, channels, rows, columns = logits_P3hw
    if prepared.side is None:
        return stretched_upsampling((rows, columns), size, channels)
    return upsampling((rows, columns), prepared.side, prepared.inside, size, channels)


def _float32(embedding: Any) -> Any:
    """Tensors, and lists of them, in float32."""
    return embedding.float() if isinstance(embedding, Tensor) else [_float32(each) for each in embedding]
