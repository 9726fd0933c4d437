"""Measures the demo's assistant and the demo student's start on scenes that no training has seen.

    python -m scripts.demo_data --kind views --split validation --count 180 --out data/assistant/validation
    python -m scripts.evaluate_demo_assistant assistant --panoramas 16 --pictures data/assistant/pictures

mIoU over the 13 classes of DensePASS, from one confusion matrix over all pixels: on perspective views, on panoramas
(512x1024) shown whole, as they are and enlarged as the demo's student sees them, and on windows of them (256x256, half
overlapping rows and columns, each window for itself), enlarged by several factors before the network sees them. Seeds
come from MODEL_VALIDATION.

Legend: C classes, H W panorama, h w view or window, K views.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from pipeline.class_tables import colour_table
from pipeline.classes import DENSEPASS_13
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import cut, window_grid
from pipeline.teacher.assistant import Assistant
from pipeline.teacher.assistant_transformers import load_transformers
from pipeline.world import View, build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from scripts.demo_data import shard_paths
from scripts.train_demo_assistant import DEMO, PLANS

HEIGHT, WINDOW = 512, 256
WHOLE_SCALES = (1.0, 1.5)
"""Enlargements of whole panoramas; the second is the demo student's."""
PANORAMA_SCENES = MODEL_VALIDATION[5_000:]
"""Apart from the scenes of the perspective views."""
Bytes = npt.NDArray[np.uint8]


def summary(matrix: ConfusionMatrix) -> dict[str, float]:
    """mIoU, pixel accuracy and the classes' IoU, in per cent; nan for a class that does not occur."""
    values = {"mIoU": matrix.miou, "accuracy": matrix.accuracy}
    values.update(zip(DENSEPASS_13.names, matrix.per_class_iou.tolist(), strict=True))
    return {name: round(100 * value, 1) for name, value in values.items()}


def predict(assistant: Assistant, images_KHW3: Bytes, scale: float = 1.0) -> Bytes:
    """Labels [K, H, W] of images that the network sees enlarged by `scale`."""
    size = images_KHW3.shape[1:3]
    if scale != 1:
        tensor = torch.from_numpy(images_KHW3).permute(0, 3, 1, 2).float()
        larger = functional.interpolate(tensor, scale_factor=scale, mode="bilinear", align_corners=False)
        images_KHW3 = larger.round().byte().permute(0, 2, 3, 1).numpy()
    logits = assistant(images_KHW3).logits_KChw
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1).byte().numpy()


def views_matrix(assistant: Assistant, folder: Path) -> ConfusionMatrix:
    """Perspective views from shards."""
    matrix = ConfusionMatrix(len(DENSEPASS_13))
    for path in shard_paths(folder):
        with np.load(path) as shard:
            images, labels = shard["images_NHW3"], shard["labels_NHW"]
        for first in range(0, len(images), 8):
            matrix.add(labels[first : first + 8], predict(assistant, images[first : first + 8]))
    return matrix


def panoramas(count: int) -> Iterator[View]:
    """Validation panoramas."""
    for seed in PANORAMA_SCENES[:count]:
        yield render_panorama(build_scene(seed), HEIGHT, 2 * HEIGHT)


def windows_of(values_HW: Bytes) -> Bytes:
    """All windows [K, h, w, ...] of a panorama; columns wrap."""
    windows = window_grid(HEIGHT, 2 * HEIGHT, WindowConfig(WINDOW, WINDOW, WINDOW // 2, WINDOW // 2))
    return np.stack([cut(values_HW, window) for window in windows])


def windows_labels(assistant: Assistant, view: View, scale: float) -> Bytes:
    """Labels of all windows of a panorama, a few windows at a time."""
    images = windows_of(view.image_HW3)
    return np.concatenate([predict(assistant, images[k : k + 4], scale) for k in range(0, len(images), 4)])


def evaluate(name: str, views: Path, count: int, scales: list[float], pictures: Path | None) -> dict[str, object]:
    """All scores of one network."""
    assistant = load_transformers(str(DEMO / name), DENSEPASS_13, torch.device("cpu"))
    whole, windows = (
        {scale: ConfusionMatrix(len(DENSEPASS_13)) for scale in enlargements} for enlargements in (WHOLE_SCALES, scales)
    )
    for number, view in enumerate(panoramas(count)):
        labels = [predict(assistant, view.image_HW3[None], scale)[0] for scale in WHOLE_SCALES]
        for matrix, labels_HW in zip(whole.values(), labels, strict=True):
            matrix.add(view.labels_HW, labels_HW)
        for scale, matrix in windows.items():
            matrix.add(windows_of(view.labels_HW), windows_labels(assistant, view, scale))
        if pictures:
            save_picture(pictures / f"{name}_{number}.png", view, labels[0])
    return {
        "views": summary(views_matrix(assistant, views)),
        **{f"whole panorama x{scale:g}": summary(matrix) for scale, matrix in whole.items()},
        **{f"windows x{scale:g}": summary(matrix) for scale, matrix in windows.items()},
    }


def save_picture(path: Path, view: View, labels_HW: Bytes) -> None:
    """Image, truth and prediction, one below the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    palette = colour_table(DENSEPASS_13)
    Image.fromarray(np.concatenate((view.image_HW3, palette[view.labels_HW], palette[labels_HW]))).save(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PLANS, help="which network of pipeline/demo")
    parser.add_argument("--views", type=Path, default=Path("data/assistant/validation"), help="shards of views")
    parser.add_argument("--panoramas", type=int, default=16, help="how many")
    parser.add_argument("--scales", type=float, nargs="*", default=[1.0, 1.5, 2.0], help="enlargements of windows")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the whole-panorama labels")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scores = evaluate(options.name, options.views, options.panoramas, options.scales, options.pictures)
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
