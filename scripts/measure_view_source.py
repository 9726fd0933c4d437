"""What it brings to cut perspective views from the picture's own pixels instead of the working size.

    python -m scripts.measure_view_source [--scenes 8]

Scenes of the world, which no network has seen, are rendered at 2048x1024. The demo's assistant sees 16 perspective
views of each, cut from the picture or from a copy that was reduced to the demo's working width of 1024, and no more.
Scored at 2048x1024, where thin things are a few pixels wide.

Legend: C classes, H W panorama at the working size.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.arrays import FloatArray
from pipeline.classes import DENSEPASS_13
from pipeline.evaluate.metrics import ConfusionMatrix, labels_at
from pipeline.panorama.config import ViewsConfig
from pipeline.panorama.images import resize_wrapping
from pipeline.panorama.perspective import PerspectiveView, perspective_views
from pipeline.panorama.views import Stitcher
from pipeline.teacher.assistant import Assistant, load_assistant
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.rectification import predict_views
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION

SCENES = MODEL_VALIDATION[6300:]
WIDTH, WORKING_WIDTH = 2048, 1024
SIZES = (320, 640)
"""Height and width of the views, pixels."""


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scores = measure(SCENES[: options.scenes])
    print("| views | cut from | mIoU, % | thin classes, % |\n| --- | --- | ---: | ---: |")
    for (size, width), matrix in scores.items():
        of_thin = np.nanmean([matrix.per_class_iou[index] for index in DENSEPASS_13.thin])
        print(f"| {size}x{size} | {width}x{width // 2} | {100 * matrix.miou:.1f} | {100 * of_thin:.1f} |")


def measure(seeds: range) -> dict[tuple[int, int], ConfusionMatrix]:
    """Scores over the scenes, by the size of the views and the width of the picture that they are cut from."""
    assistant = load_assistant(AssistantConfig(label_set=DENSEPASS_13.name), torch.device("cpu"))
    scores: dict[tuple[int, int], ConfusionMatrix] = {}
    for seed in seeds:
        scene = render_panorama(build_scene(seed), WIDTH // 2, WIDTH)
        reduced = resize_wrapping(Image.fromarray(scene.image_HW3), WORKING_WIDTH, WORKING_WIDTH // 2)
        for size in SIZES:
            for image_HW3 in (np.array(reduced), scene.image_HW3):
                seen_CHW = stitched(image_HW3, views_of(size), assistant)
                matrix = scores.setdefault((size, image_HW3.shape[1]), ConfusionMatrix(len(DENSEPASS_13)))
                matrix.add(scene.labels_HW, labels_at(seen_CHW, *scene.labels_HW.shape))
    return scores


def views_of(size: int) -> tuple[PerspectiveView, ...]:
    """16 views of 90 degrees that cover the sphere."""
    config = ViewsConfig(level=6, down=5, up=3, nadir=1, zenith=1, fov=90, tilt=45, size=size)
    return perspective_views(WORKING_WIDTH // 2, WORKING_WIDTH, 180.0, config)


def stitched(image_HW3: npt.NDArray[np.uint8], views: tuple[PerspectiveView, ...], assistant: Assistant) -> FloatArray:
    """The assistant's probabilities [C, H, W] from views that are cut from an image of any size."""
    stitcher = Stitcher(WORKING_WIDTH // 2, WORKING_WIDTH, len(DENSEPASS_13), views, gaps=True)
    for view, prediction in predict_views(image_HW3, views, assistant, (), 1.0, DENSEPASS_13, 4):
        stitcher.add(view, view.project_linear(prediction.probabilities_Chw))
    return stitcher.result()


if __name__ == "__main__":
    main()
