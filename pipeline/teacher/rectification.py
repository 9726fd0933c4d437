"""Distortion-aware rectification (DAR): the assistant over the views of a panorama, their agreement, and the stitched
prediction S_TA^w (paper figure 2).

Paper: a loss, L_CC, trains the assistant for consistency of S_i and S_j on overlaps. We: offline, the views are blended
with raised-cosine weights, and their agreement is kept per pixel.

With many classes an array [C, H, W] is large (150 classes, 2048x1024: 1.26 GB). No more than three are held at
once: everything between them is computed in strips of rows.

Legend: C classes of the run, H W panorama, h w view, f g footprint of a view, K views, D feature channels, i j
feature cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from pipeline.accelerator import AdaptiveBatches
from pipeline.arrays import FloatArray, ImageArray
from pipeline.class_tables import merge_probabilities
from pipeline.classes import LabelSet
from pipeline.errors import WeightsError
from pipeline.finite import require_finite
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES, pixel_pitch
from pipeline.panorama.views import Stitcher, View
from pipeline.panorama.windows import add_to
from pipeline.teacher.assistant import Assistant, AssistantOutput, require_classes
from pipeline.teacher.blending import Blender, blend_shares
from pipeline.teacher.config import AssistantConfig

SEAM_SHARE = 1 / 16
"""Share of its width by which the whole panorama is padded with wrapped columns on either side where its prediction is
blended with the views'. Both predictions of the padded columns are blended, to avoid a seam."""
STRIP = 32
"""Rows that are processed at once to save memory."""
Features = dict[int, torch.Tensor]


@dataclass(frozen=True, eq=False)
class AssistantPrediction:
    """The assistant's prediction of one panorama, in the label set of the run."""

    assistant_CHW: FloatArray
    """S_TA^w, probabilities: those of the views, stitched, blended with the whole image's by `whole_weight`."""
    whole_CHW: FloatArray
    """Probabilities of the whole panorama in a single pass, the naive use of the assistant, for comparison."""
    agreement_HW: FloatArray
    """A = 1 - JSD(p_1..p_k) / log k over the k views that see the pixel, in [0, 1]; 1 where k = 1."""
    view_labels_Khw: tuple[npt.NDArray[np.uint8], ...]
    """S_i as labels: argmax per view, in the views' order."""
    features: dict[int, FloatArray]
    """Encoder features per level, stitched: [D, ceil(H / s), ceil(W / s)], s = 4, 8, 16, 32 for levels 1 to 4."""


class ViewPrediction(NamedTuple):
    """The assistant's prediction of one image of h x w pixels, which it saw resized to `seen` (height, width)."""

    probabilities_Chw: FloatArray
    features_Dij: Features
    seen: tuple[int, int]


def stitch_assistant(
    image_HW3: ImageArray,
    views: Sequence[View],
    assistant: Assistant,
    config: AssistantConfig,
    target: LabelSet,
    batch: int = 4,
    more_views: Sequence[View] = (),
    more_image_HW3: ImageArray | None = None,
    vertical_fov: float = FULL_SPHERE_DEGREES,
) -> AssistantPrediction:
    """Predict all views, `batch` at a time, and the whole panorama, and stitch the predictions.

    The stitched prediction is the weighted mean of three, by the weights in `config`: those of `views`, of `more_views`
    (where these see nothing, the others get their weight), and of the whole panorama. `Blender` has its options.

    Args:
        image_HW3: RGB, uint8; W a multiple of 32.
        views: covering the panorama (as those of `window_grid` do).
        assistant: predicts its own label set, which is merged into `target` after the softmax.
        config: scales, weights, and the feature levels to return; `kind`, `name`, `label_set` and `precision`, which
            identify the network, are ignored.
        target: the classes of the result.
        batch: views that are predicted at once.
        more_views: they need not cover the panorama. Features and labels are those of `views` alone.
        more_image_HW3: the panorama at another size, RGB, uint8, from which `more_views` are cut instead.
        vertical_fov: degrees that the rows of the panorama cover.

    Raises:
        ValueError: the image has another type or shape.
        WeightsError: the assistant returns other classes than those of its label set, maps of another size than
            `AssistantOutput` has, or NaN or infinity.
        RecipeError: the assistant's classes have no known merge into `target`.
        DeviceMemoryError: a GPU's memory is too small for one view.
    """
    if image_HW3.dtype != np.uint8 or image_HW3.shape[2:] != (3,):
        raise ValueError(f"the image is {image_HW3.dtype} {image_HW3.shape}; it must be RGB, uint8 [H, W, 3]")
    height, width = image_HW3.shape[:2]
    stitcher = Stitcher(height, width, len(target), views)
    agreement = Agreement(height, width, len(target))
    features = _FeatureStitcher(height, width, views)
    labels: list[npt.NDArray[np.uint8]] = []
    levels, scale = config.feature_levels, config.window_scale
    for view, prediction in predict_views(image_HW3, views, assistant, levels, scale, target, batch):
        projected_Cfg = view.project_linear(prediction.probabilities_Chw)
        stitcher.add(view, projected_Cfg)
        agreement.add(view, projected_Cfg)
        features.add(view, prediction)
        labels.append(prediction.probabilities_Chw.argmax(axis=0).astype(np.uint8))
    cosines_H = np.cos(pixel_pitch(height, vertical_fov))
    blender = Blender(stitcher.result(), cosines_H[:, None], config.confidence_power, config.latitude_power)
    of_whole: float | FloatArray = config.whole_weight
    if more_views and config.views_weight > 0:
        more = Stitcher(height, width, len(target), more_views, gaps=True)
        source_HW3 = image_HW3 if more_image_HW3 is None else more_image_HW3
        for view, prediction in predict_views(source_HW3, more_views, assistant, (), config.views_scale, target, batch):
            projected_Cfg = view.project_linear(prediction.probabilities_Chw)
            more.add(view, projected_Cfg)
            agreement.add(view, projected_Cfg)
        # Their share fades out towards their borders, so that no edge is visible there.
        of_views_HW, of_whole = blend_shares(config.whole_weight, config.views_weight, np.minimum(2 * more.total_HW, 1))
        blender.add(more.result(), of_views_HW, is_flat=False)
    agreement_HW = agreement.result()
    del agreement  # it holds as much memory as the stitched prediction
    if config.whole_weight > 0:  # the whole image provides context, the views detail
        blender.add(predict_over_seam(image_HW3, assistant, config.whole_scale, target), of_whole, is_flat=True)
    whole = next(_predict([image_HW3], assistant, (), config.whole_scale, target)).probabilities_Chw
    return AssistantPrediction(blender.blended_CN, whole, agreement_HW, tuple(labels), features.result())


def predict_over_seam(image_HW3: ImageArray, assistant: Assistant, scale: float, target: LabelSet) -> FloatArray:
    """Probabilities [C, H, W] of the whole panorama, padded over the seam, in a single pass.

    Args:
        image_HW3: RGB, uint8.
        assistant: as for `stitch_assistant`.
        scale: the panorama is resized by this factor for the assistant.
        target: the classes of the result.
    """
    margin = seam_margin(image_HW3.shape[1])
    wider_HW3 = np.pad(image_HW3, ((0, 0), (margin, margin), (0, 0)), mode="wrap")
    wider_CHX = next(_predict([wider_HW3], assistant, (), scale, target)).probabilities_Chw
    return blend_over_seam(wider_CHX, margin)


def seam_margin(width: int) -> int:
    """SEAM_SHARE of a width, columns: a multiple of 32, the networks' coarsest cells, but at most half the width."""
    return min(32 * max(1, round(width * SEAM_SHARE / 32)), width // 2)


def blend_over_seam(wider_CHX: FloatArray, margin: int) -> FloatArray:
    """Probabilities [C, H, W] of a panorama from those with `margin` wrapped columns on either side.

    The 2 `margin` columns around the seam were predicted at both ends. At either end the outermost quarter of them,
    which is affected by the network's padding, has no weight; from there the weight rises. At the seam both predictions
    weigh the same, so that no seam is visible.

    Args:
        wider_CHX: probabilities of W + 2 `margin` columns; changed in place.
        margin: at most W / 2.
    """
    width = wider_CHX.shape[2] - 2 * margin
    place = (np.arange(2 * margin) + 0.5) / (2 * margin)
    rise = np.clip(2 * place - 0.5, 0, 1).astype(np.float32)
    left, right = wider_CHX[..., : 2 * margin], wider_CHX[..., width:]
    both = rise * left + (1 - rise) * right  # columns -margin to margin of the panorama
    whole_CHW = wider_CHX[..., margin:-margin]
    whole_CHW[..., :margin], whole_CHW[..., -margin:] = both[..., margin:], both[..., :margin]
    return whole_CHW


def predict_views(
    image_HW3: ImageArray,
    views: Sequence[View],
    assistant: Assistant,
    levels: tuple[int, ...],
    scale: float,
    target: LabelSet,
    batch: int = 4,
) -> Iterator[tuple[View, ViewPrediction]]:
    """Each of some views with the assistant's prediction, in their order.

    Args:
        image_HW3: RGB, uint8.
        views: of any sizes; neighbours in the list that are of one size share a batch.
        assistant: as for `stitch_assistant`.
        levels: feature levels to return.
        scale: views are resized by this factor for the assistant.
        target: the classes of the result.
        batch: views that are predicted at once.
    """
    batches = AdaptiveBatches("view", batch)
    for _, of_one_size in groupby(views, key=lambda view: (view.height, view.width)):
        own = list(of_one_size)

        def predict(chunk: slice, own: Sequence[View] = own) -> Iterator[ViewPrediction]:
            images = [view.cut_image(image_HW3) for view in own[chunk]]
            return _predict(images, assistant, levels, scale, target)

        yield from zip(own, chain.from_iterable(batches.map(len(own), predict)), strict=True)


def _predict(
    images: Sequence[ImageArray], assistant: Assistant, levels: tuple[int, ...], scale: float, target: LabelSet
) -> Iterator[ViewPrediction]:
    """Predictions of images of one size in one batch, resized by `scale` for the network.

    The network runs now; the probabilities of an image are resized to it when the iterator yields them.
    """
    seen_KHW3 = np.stack([resized(image, scale) for image in images])
    seen, size = _size(seen_KHW3[0]), _size(images[0])
    with torch.no_grad():
        output = assistant(seen_KHW3, levels)
    _require_maps(output, seen, levels, assistant)
    for numbers in (output.logits_KChw, *output.features.values()):
        require_finite(numbers, f"the assistant {assistant.identity}")
    return (
        ViewPrediction(
            _probabilities(logits_Chw, _stride(output, seen), seen, size, assistant.label_set, target),
            {level: output.features[level][k] for level in levels},
            seen,
        )
        for k, logits_Chw in enumerate(output.logits_KChw)
    )


def _require_maps(
    output: AssistantOutput, seen: tuple[int, int], levels: tuple[int, ...], assistant: Assistant
) -> None:
    """Refuse outputs whose sizes do not fit the image.

    Raises:
        WeightsError: as `stitch_assistant`.
    """
    what = f"the assistant {assistant.identity}"
    require_classes(output.logits_KChw.shape[1], assistant.label_set, what)
    maps = {f"features of level {level}": (output.features[level], 2 ** (level + 1)) for level in levels}
    for name, (map_KDhw, stride) in {"logits": (output.logits_KChw, _stride(output, seen)), **maps}.items():
        rows, columns = map_KDhw.shape[2:]
        fewest = [-(-side // stride) for side in seen]
        # Some networks with odd kernels have a cell more.
        if not all(0 <= cells - few <= 1 for cells, few in zip((rows, columns), fewest, strict=True)):
            raise WeightsError(f"{what} outputs {name} of {columns}x{rows} cells for an image of {seen[1]}x{seen[0]}",
                               f"at a stride of {stride} pixels they are {fewest[1]}x{fewest[0]}",
                               "Its outputs must have strides that are powers of two, features 4 to 32")  # fmt: skip


def _stride(output: AssistantOutput, seen: tuple[int, int]) -> int:
    return stride_of((output.logits_KChw.shape[2], output.logits_KChw.shape[3]), seen)


def stride_of(cells: tuple[int, int], seen: tuple[int, int]) -> int:
    """Pixels per cell of a network's output, a power of two.

    Args:
        cells: height and width of the output.
        seen: height and width of the image that the network saw.
    """
    return 2 ** round(math.log2(max(seen) / max(cells)))


@torch.no_grad()
def _probabilities(
    logits_Chw: torch.Tensor,
    stride: int,
    seen: tuple[int, int],
    size: tuple[int, int],
    source: LabelSet,
    target: LabelSet,
) -> FloatArray:
    """Softmax of an image's logits at `size` pixels, merged from the classes of `source` into those of `target`."""
    larger_Chw = _upsample(logits_Chw[None], stride, seen, size)[0]
    merged_Chw = np.empty((len(target), *size), np.float32)
    for top in range(0, size[0], STRIP):
        rows = slice(top, top + STRIP)
        merged_Chw[:, rows] = merge_probabilities(larger_Chw[:, rows].softmax(dim=0).cpu().numpy(), source, target)
    return merged_Chw


def _size(image_HW3: ImageArray) -> tuple[int, int]:
    return image_HW3.shape[0], image_HW3.shape[1]


def _upsample(logits_KChw: torch.Tensor, stride: int, seen: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Logits of an image of `seen` pixels, bilinearly at `size` pixels; the last cell may extend beyond the image."""
    # Slightly more than exact, as the output's size is rounded down.
    scales = [stride * out / into * (1 + 1e-6) for out, into in zip(size, seen, strict=True)]
    larger = functional.interpolate(logits_KChw, scale_factor=scales, mode="bilinear", align_corners=False)
    return larger[..., : size[0], : size[1]]


def resized(image_HW3: ImageArray, scale: float) -> ImageArray:
    """An image as the assistant sees it, resized by `scale`: bilinear, antialiased."""
    if scale == 1:
        return image_HW3
    height, width = (max(1, round(side * scale)) for side in image_HW3.shape[:2])
    return np.asarray(Image.fromarray(image_HW3).resize((width, height), Image.Resampling.BILINEAR))


class Agreement:
    """A = 1 - JSD(p_1..p_k) / log k in one pass: JSD = H(mean of p) - mean of H(p), all views weighted equally."""

    def __init__(self, height: int, width: int, classes: int) -> None:
        # The formula needs only the sums of p and H(p), and the number of views.
        self._sums_CHW = np.zeros((classes, height, width), np.float32)
        self._entropies_HW = np.zeros((height, width), np.float32)
        self._counts_HW = np.zeros((height, width), np.float32)

    def add(self, view: View, probabilities_Cfg: FloatArray) -> None:
        """Count in a view's probabilities on its footprint."""
        seen_fg = view.project_nearest(np.ones((view.height, view.width), np.float32))
        add_to(self._sums_CHW, view.footprint, probabilities_Cfg * seen_fg)
        add_to(self._entropies_HW, view.footprint, _entropy(probabilities_Cfg) * seen_fg)
        add_to(self._counts_HW, view.footprint, seen_fg)

    @property
    def counts_HW(self) -> FloatArray:
        """How many views see each pixel."""
        return self._counts_HW

    def result(self) -> FloatArray:
        """A per pixel; 1 where one view or none sees it."""
        views_HW: FloatArray = np.maximum(self._counts_HW, 1).astype(np.float32, copy=False)
        divergence_HW = _entropy(self._sums_CHW / views_HW) - self._entropies_HW / views_HW
        most_HW = np.log(np.maximum(self._counts_HW, 2))
        return np.where(self._counts_HW > 1, np.clip(1 - divergence_HW / most_HW, 0, 1), np.float32(1))


def _entropy(probabilities_CHW: FloatArray) -> FloatArray:
    """Shannon entropy over the first axis, nats; 0 log 0 = 0."""
    rows_HCW = probabilities_CHW.swapaxes(0, 1)
    return -np.stack([(row_CW * np.log(np.maximum(row_CW, 1e-30))).sum(axis=0) for row_CW in rows_HCW])


class _FeatureStitcher:
    """Blends the views' features per level on the panorama's grid of cells of s x s pixels.

    Features of windows lie on that grid unless a window was moved up to the last row or resized for the assistant;
    those, and features of perspective views, are resampled to it bilinearly.
    """

    def __init__(self, height: int, width: int, views: Sequence[View]) -> None:
        self._size = (height, width)
        self._views = views
        self._stitchers: dict[int, Stitcher] = {}

    def add(self, view: View, prediction: ViewPrediction) -> None:
        for level, feature_Dij in prediction.features_Dij.items():
            stride = 2 ** (level + 1)
            if level not in self._stitchers:
                self._stitchers[level] = Stitcher(*self._size, feature_Dij.shape[0], self._views, stride)
            on_grid = _resample(feature_Dij.float(), view, stride, prediction.seen)
            self._stitchers[level].add(view, on_grid.cpu().numpy())

    def result(self) -> dict[int, FloatArray]:
        return {level: stitcher.result() for level, stitcher in self._stitchers.items()}


def _resample(feature_Dij: torch.Tensor, view: View, stride: int, seen: tuple[int, int]) -> torch.Tensor:
    """Features of a view at the centres of the panorama's cells on its footprint: [D, rows, columns]."""
    cells = view.footprint.in_cells(stride)
    y, x = view.coordinates(
        _cell_centres(cells.row, cells.height, stride), _cell_centres(cells.column, cells.width, stride)
    )
    # grid_sample's unit: from -1 at the outer edge of the first feature to 1 at that of the last.
    y = y * (seen[0] / view.height / stride) * (2 / feature_Dij.shape[1]) - 1
    x = x * (seen[1] / view.width / stride) * (2 / feature_Dij.shape[2]) - 1
    grid_ij2 = torch.from_numpy(np.stack((x, y), axis=-1)).to(feature_Dij)
    sampled = functional.grid_sample(feature_Dij[None], grid_ij2[None], padding_mode="border", align_corners=False)
    return sampled[0]


def _cell_centres(first: int, cells: int, stride: int) -> npt.NDArray[np.float64]:
    """Positions of the centres of cells first .. first + cells, pixels from the panorama's edge."""
    return np.arange(first + 0.5, first + cells, dtype=np.float64) * stride
