"""The table of objects that no class describes: where they are, how large, and what the assistant takes them for."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classes import LabelSet
from pipeline.panorama.sphere import angles_from_rays, panorama_rays, solid_angles
from pipeline.teacher.unknown import UnknownObjects
from stages.files import write_whole

TABLE = "unknown_objects.csv"
_COLUMNS = ("object", "yaw", "pitch", "solid_angle_sr", "predicted_iou", "entropy", "first_class", "first_probability",
            "second_class", "second_probability")  # fmt: skip


def unknown_rows(found: UnknownObjects, labels: LabelSet, vertical_fov: float) -> list[dict[str, Any]]:
    """A row per object, as values for JSON: its number in the map, the direction of its middle (degrees from the middle
    of the level panorama), its solid angle (steradians), SAM's predicted IoU, the entropy of the assistant's
    probabilities in [0, 1], and the two most probable classes.

    Args:
        found: of one panorama, at the working size.
        labels: names of the classes.
        vertical_fov: degrees around the horizon that the panorama covers.
    """
    height, width = found.numbers_HW.shape
    weights_H, rays_HW3 = solid_angles(height, width, vertical_fov), panorama_rays(height, width, vertical_fov)
    rows: list[dict[str, Any]] = []
    for number, (predicted_iou, entropy, probabilities_C) in enumerate(
        zip(found.predicted_iou_N, found.entropy_N, found.probabilities_NC, strict=True), start=1
    ):
        y, x = np.nonzero(found.numbers_HW == number)
        yaw, pitch = angles_from_rays((rays_HW3[y, x] * weights_H[y, None]).sum(axis=0))
        first, second = np.argsort(-probabilities_C, kind="stable")[:2]
        values = (number, float(np.degrees(yaw)), float(np.degrees(pitch)), float(weights_H[y].sum()),
                  float(predicted_iou), float(entropy), labels.names[first], float(probabilities_C[first]),
                  labels.names[second], float(probabilities_C[second]))  # fmt: skip
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    return rows


def write_unknown_table(out: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the objects of all panoramas, the largest first.

    Args:
        out: folder of the table.
        rows: those of `unknown_rows`, by the panorama's name.

    Raises:
        CacheError: the file cannot be written.
    """
    flat = [(name, row) for name, own in rows.items() for row in own]
    flat.sort(key=lambda named: -named[1]["solid_angle_sr"])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["panorama", *_COLUMNS])
    writer.writerows([name, *(_text(row[column]) for column in _COLUMNS)] for name, row in flat)
    write_whole(out / TABLE, table.getvalue())


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
