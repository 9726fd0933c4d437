"""What the demo SAM is trained on: augmented images with points and the nested masks around each point.

Legend: N points of an image, L levels (part, object, class region), H W image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scripts.demo_data import SIZE, Batch

SMALLEST = 24
"""Parts below this area are rarely asked for, pixels."""
POINTS = 8
"""Points per image and step."""
WHERE = np.array((0.8, 0.12, 0.08))
"""Shares of points at any pixel, in a random object, in a random part."""
RECOLOURED = 0.25
"""Share of the images that get other colours, sharpness and noise, for photographs; the others stay as rendered."""
ENLARGED = 0.2
"""Share of the images that are cut smaller and enlarged."""
Arrays = list[npt.NDArray[Any]]
IMAGE_AND_IDS = (cv2.INTER_LINEAR, cv2.INTER_NEAREST, cv2.INTER_NEAREST, cv2.INTER_NEAREST)


@dataclass(frozen=True)
class Example:
    """One augmented image with its points."""

    image_HW3: npt.NDArray[np.uint8]
    labels_HW: npt.NDArray[np.uint8]
    instances_HW: npt.NDArray[np.uint16]
    parts_HW: npt.NDArray[np.uint16]
    points_N2: npt.NDArray[np.float32]
    """(x, y) of pixel centres, in pixels of the image."""
    masks_NLHW: npt.NDArray[np.uint8]
    """Masks of all levels around each point; 0 or 1."""


def region_around(ids_HW: npt.NDArray[np.integer], row: int, column: int) -> npt.NDArray[np.uint8]:
    """The piece of an object that holds a pixel; gaps of up to 4 pixels (a pole in front) do not part it."""
    same_HW = (ids_HW == ids_HW[row, column]).astype(np.uint8)
    bridged_HW = cv2.dilate(same_HW, np.ones((5, 5), np.uint8))
    pieces_HW = cv2.connectedComponents(bridged_HW, connectivity=4)[1]
    return same_HW * (pieces_HW == pieces_HW[row, column]).astype(np.uint8)


def sample_point(
    instances_HW: npt.NDArray[np.uint16], parts_HW: npt.NDArray[np.uint16], rng: np.random.Generator
) -> tuple[int, int]:
    """A pixel: any, as the mask generator's grid asks, or of a random object or part, so that small ones count."""
    kind = rng.choice(3, p=WHERE)
    if kind == 0:
        return int(rng.integers(SIZE)), int(rng.integers(SIZE))
    ids_HW = instances_HW if kind == 1 else parts_HW
    ids, counts = np.unique(ids_HW, return_counts=True)
    rows, columns = np.nonzero(ids_HW == rng.choice(ids[counts >= min(SMALLEST, counts.max())]))
    pick = rng.integers(len(rows))
    return int(rows[pick]), int(columns[pick])


def make_example(batch: Batch, index: int, rng: np.random.Generator, augment: bool = True) -> Example:
    """Image `index`, mostly cut, mirrored or recoloured, and its points."""
    arrays: Arrays = [a[index] for a in (batch.images_NHW3, batch.labels_NHW, batch.instances_NHW, batch.parts_NHW)]
    if augment:
        arrays = _cut_and_mirror(arrays, rng)
        if rng.uniform() < RECOLOURED:
            arrays[0] = recolour(arrays[0], rng)
    image, labels, instances, parts = arrays
    points: list[tuple[float, float]] = []
    masks: list[npt.NDArray[np.uint8]] = []
    while len(points) < POINTS:
        row, column = sample_point(instances, parts, rng)
        levels = np.stack([region_around(ids, row, column) for ids in (parts, instances, labels)])
        if levels[0].sum() >= SMALLEST or rng.uniform() < 0.1:
            points.append((column + 0.5, row + 0.5))
            masks.append(levels)
    return Example(image, labels, instances, parts, np.array(points, np.float32), np.stack(masks))


def _cut_and_mirror(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Sometimes a smaller square, enlarged; half of the time the mirror image."""
    if rng.uniform() < ENLARGED:
        side = int(rng.integers(int(0.6 * SIZE), SIZE))
        top, left = rng.integers(SIZE - side, size=2)
        arrays = [
            cv2.resize(a[top : top + side, left : left + side], (SIZE, SIZE), interpolation=mode)
            for a, mode in zip(arrays, IMAGE_AND_IDS, strict=True)
        ]
    if rng.uniform() < 0.5:
        arrays = [np.ascontiguousarray(a[:, ::-1]) for a in arrays]
    return arrays


def recolour(image_HW3: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Strong changes of colour, sharpness and noise, so that what is learned carries over to photographs."""
    x = image_HW3.astype(np.float32) / 255
    mix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.08, (3, 3)).astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.3, 1.6) if rng.uniform() < 0.9 else 0.0)
    x = np.clip((x @ mix - 0.5) * np.float32(rng.uniform(0.6, 1.4)) + np.float32(0.5 + rng.normal(0, 0.1)), 0, 1)
    x = x ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.uniform() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.3))
    if rng.uniform() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.005, 0.05), x.shape).astype(np.float32)
    out = (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.uniform() < 0.2:
        encoded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])[1]
        out = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return out
