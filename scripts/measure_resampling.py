"""Which filter should reduce pictures before a network sees them: Lanczos, box or bilinear (antialiased).

    python -m scripts.measure_resampling --scenes 12
    python -m scripts.measure_resampling --panoramas FOLDER --labels FOLDER --onnx FILE
    python -m scripts.measure_resampling --frames FOLDER --onnx FILE

The world is rendered at twice the demo's working size and reduced; the demo's assistant and its student's start see it
whole: mIoU and pixels right over 13 classes, scenes of MODEL_VALIDATION. Real panoramas are compared with labels
of the same names (Cityscapes train ids). Perspective frames are those of CamVid (images/ and labels/, 11 classes), of
which road, pavement, building, tree, sky and car count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE
from pipeline.evaluate.metrics import ConfusionMatrix, labels_at, resize_nearest
from pipeline.student.config import StudentConfig
from pipeline.student.model import start_student
from pipeline.teacher.assistant import Assistant, load_assistant
from pipeline.teacher.config import AssistantConfig
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.predictor import StudentPredictor

Bytes = npt.NDArray[np.uint8]
Example = tuple[Image.Image, Bytes, tuple[int, int]]
"""A picture, its labels, and the (width, height) that it is reduced to."""
Network = Callable[[Bytes], npt.NDArray[np.float32]]
"""RGB image -> class scores [C, h, w]."""

FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR}
WORKING_SIZE = (1024, 512)
SCENES = MODEL_VALIDATION[6_100:]
FRAME_SIZE = (240, 180)
CAMVID_TO_CITYSCAPES = {0: 10, 1: 2, 3: 0, 4: 1, 5: 8, 8: 13}


def rendered_scenes(count: int) -> Iterator[Example]:
    """Scenes rendered at twice the working size."""
    width, height = WORKING_SIZE
    for seed in SCENES[:count]:
        view = render_panorama(build_scene(seed), 2 * height, 2 * width)
        yield Image.fromarray(view.image_HW3), view.labels_HW, WORKING_SIZE


def labelled_pictures(
    images: Path, labels: Path, size: tuple[int, int], table: dict[int, int] | None = None
) -> Iterator[Example]:
    """Pictures and label pictures of the same names."""
    for path in sorted(labels.glob("*.png")):
        found = sorted(images.glob(f"{path.stem}.*"))
        if found:
            ids_HW = np.asarray(Image.open(path))
            if table is not None:
                to_train_ids = np.full(256, IGNORE, np.uint8)
                to_train_ids[list(table)] = list(table.values())
                ids_HW = to_train_ids[ids_HW]
            yield Image.open(found[0]).convert("RGB"), ids_HW, size


def assistant_network(assistant: Assistant) -> Network:
    """The assistant on one image."""
    return lambda image_HW3: assistant(image_HW3[None]).logits_KChw[0].float().cpu().numpy()


def measure(name: str, network: Network, classes: int, examples: list[Example]) -> None:
    """Print a row of the table per filter."""
    for label, resampling in FILTERS.items():
        matrix = ConfusionMatrix(classes)
        for picture, labels_HW, size in examples:
            scores = network(np.asarray(picture.resize(size, resampling)))
            matrix.add(resize_nearest(labels_HW, size[1], size[0]), labels_at(scores, size[1], size[0]))
        print(f"| {name} | {label} | {100 * matrix.miou:.2f} | {100 * matrix.accuracy:.2f} |", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=0, help="number of the world's scenes")
    for option in ("--panoramas", "--labels", "--frames", "--onnx"):
        parser.add_argument(option, type=Path)
    options = parser.parse_args()
    cpu = torch.device("cpu")
    print("| pictures and network | filter | mIoU, % | pixels, % |\n| --- | --- | ---: | ---: |")
    if options.scenes:
        examples = list(rendered_scenes(options.scenes))
        measure("world, demo assistant", assistant_network(load_assistant(AssistantConfig(), cpu)), 13, examples)
        student = start_student(StudentConfig("tiny", "demo"), DENSEPASS_13).model.eval()
        measure("world, student's start", StudentPredictor(student, DENSEPASS_13, "cpu"), 13, examples)
    if options.onnx:
        network = assistant_network(load_assistant(AssistantConfig("onnx", str(options.onnx)), cpu))
        if options.panoramas:
            examples = list(labelled_pictures(options.panoramas, options.labels, WORKING_SIZE))
            measure("panoramas, ONNX network", network, len(CITYSCAPES_19), examples)
        if options.frames:
            folders = options.frames / "images", options.frames / "labels"
            examples = list(labelled_pictures(*folders, FRAME_SIZE, CAMVID_TO_CITYSCAPES))
            measure("frames, ONNX network", network, len(CITYSCAPES_19), examples)


if __name__ == "__main__":
    main()
