"""Folders as `goodsam predict` and `goodsam export` write them, small and made here, for tests of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import DENSEPASS_13
from pipeline.evaluate.metrics import class_shares
from pipeline.panorama.capture import Capture
from pipeline.panorama.sphere import solid_angles
from stages.label_files import label_path, write_labels
from stages.map_tables import write_map_tables
from stages.report.source import ReportSource
from stages.tables import PanoramaRow

HEIGHT, WIDTH = 128, 256
NAMES = ("plain", 'a "quoted" <b>&amp; 100%', "Straße #1/café?x=1")
TEAL = (0, 128, 128)
ROAD, SKY = 0, 10


def labels_of(number: int) -> LabelArray:
    """Sky above road; the picture 0 is all road."""
    labels_HW = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    labels_HW[: 8 * number] = SKY
    return labels_HW


def teal() -> ImageArray:
    return np.full((HEIGHT, WIDTH, 3), TEAL, np.uint8)


def make_maps(
    folder: Path,
    names: Sequence[str] = NAMES,
    *,
    positions: Mapping[int, tuple[float, float]] | None = None,
    exported: bool = False,
    labels: bool = True,
    vertical_fov: float | None = None,
) -> Path:
    """Write tables and label maps; `exported` adds what only an export has."""
    rows: dict[str, PanoramaRow] = {}
    for number, name in enumerate(names):
        labels_HW = labels_of(number)
        if labels:
            write_labels(label_path(folder, name), labels_HW, DENSEPASS_13, {})
        if exported:
            save(folder / "reliability" / f"{name}.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
            save(folder / "confidence" / f"{name}.png", np.full((HEIGHT, WIDTH), 204, np.uint8))
            save(folder / "masks" / f"{name}.png", np.full((HEIGHT, WIDTH), number, np.uint16))
        shares = class_shares(labels_HW, len(DENSEPASS_13), solid_angles(HEIGHT, WIDTH, 180.0)).tolist()
        latitude, longitude = (positions or {}).get(number, (None, None))
        capture = Capture(latitude, longitude)
        rows[name] = PanoramaRow(f"{name}.png", capture, 1.0, tuple(shares), 0.25, 0.1 * number, vertical_fov)
    write_map_tables(folder, rows, DENSEPASS_13)
    return folder


def with_all_layers(source: ReportSource, folder: Path) -> ReportSource:
    """The source with every layer that a run can have; of the classes each says another one."""
    added: dict[str, Path] = {}
    for number, layer in enumerate(("assistant", "student", "truth", "unknown")):
        added[layer] = folder / "more" / f"{layer}.png"
        save(added[layer], np.full((HEIGHT, WIDTH), 1 + number, np.uint16 if layer == "unknown" else np.uint8))
    panoramas = tuple(replace(panorama, maps={**panorama.maps, **added}) for panorama in source.panoramas)
    return replace(source, panoramas=panoramas, layer_names={"labels": "ensemble"})


def make_pictures(folder: Path, names: Sequence[str] = NAMES, picture: ImageArray | None = None) -> Path:
    for name in names:
        save(folder / f"{name}.png", teal() if picture is None else picture)
    return folder


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
