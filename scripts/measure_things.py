"""Whether SAM, prompted with the things that the assistant proposes, cuts them out better than the assistant.

    python -m scripts.measure_things [--scenes development] [--set sam.model=vit_b sam.checkpoint=FILE]

A thing is a connected piece of a thin class, or of the car, in the assistant's blend. SAM sees a square around it,
twice its size, and gets two points inside it (and its box, with `--box`); of the three masks, the one that overlaps
the piece most takes its place in the ensemble where their intersection over union is at least `--agree`. What the
mask leaves out of the piece gets the assistant's second choice. Scenes and cache are those of
`scripts.measure_fusion`.

Legend: H W panorama, s side of the square, P points.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from segment_anything import SamPredictor

from pipeline.arrays import BoolArray, FloatArray, ImageArray, LabelArray
from pipeline.classes import LabelSet
from pipeline.evaluate.metrics import best_class
from pipeline.teacher.sam import load_sam
from pipeline.teacher.vote import fuse
from scripts.measure_fusion import FOLDER, SCENES, Scores, inputs, row, scenes_run, score, table
from stages.events import silent
from stages.reading import RunReader
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache

SMALLEST, LARGEST = 30, 300
"""Area, pixels, from which a piece is prompted, and the side of its box, pixels, up to which it is."""
AROUND = 2.0
"""Side of the square that SAM sees, in sides of the piece's box."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A piece of one class, in a square of the panorama around it."""

    class_id: int
    rows_s: npt.NDArray[np.intp]
    """Rows of the square; those beyond the poles repeat the last."""
    columns_s: npt.NDArray[np.intp]
    """Columns of the square; they wrap."""
    piece_ss: BoolArray
    """Where the piece is in the square."""

    @property
    def square(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Index of the square in a map of the panorama."""
        return self.rows_s[:, None], self.columns_s


def things(labels_HW: LabelArray, classes: tuple[int, ...]) -> Iterator[Thing]:
    """The pieces of some classes, the largest first, so that small ones are not painted over."""
    height, width = labels_HW.shape
    found: list[tuple[int, Thing]] = []
    for class_id in classes:
        count, numbers_HW, boxes, _ = cv2.connectedComponentsWithStats((labels_HW == class_id).astype(np.uint8))
        for number, (x, y, w, h, area) in zip(range(1, count), boxes[1:].tolist(), strict=True):
            if area < SMALLEST or max(w, h) > LARGEST:
                continue
            side = max(32, round(AROUND * max(w, h)))
            rows_s = np.clip(np.arange(side) + round(y + h / 2 - side / 2), 0, height - 1)
            columns_s = (np.arange(side) + round(x + w / 2 - side / 2)) % width
            own_ss = numbers_HW[rows_s[:, None], columns_s] == number
            found.append((area, Thing(class_id, rows_s, columns_s, own_ss)))
    yield from (thing for _, thing in sorted(found, key=lambda one: -one[0]))


def points(piece_ss: BoolArray) -> npt.NDArray[np.floating]:
    """Two points (x, y) [2, 2] in a piece: the innermost pixel, and the one farthest from it among the inner ones."""
    depth_ss = cv2.distanceTransform(np.pad(piece_ss, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    innermost = np.array(np.unravel_index(depth_ss.argmax(), depth_ss.shape))
    inner_P2 = np.argwhere(depth_ss >= depth_ss.max() / 2)
    farthest = inner_P2[((inner_P2 - innermost) ** 2).sum(axis=1).argmax()]
    return np.stack([innermost, farthest])[:, ::-1] + 0.5


def best_mask(
    predictor: SamPredictor, image_ss3: ImageArray, piece_ss: BoolArray, with_box: bool
) -> tuple[BoolArray, float]:
    """(the mask that overlaps the piece most, their intersection over union)."""
    side, size = len(piece_ss), predictor.model.image_encoder.img_size
    predictor.set_image(cv2.resize(image_ss3, (size, size), interpolation=cv2.INTER_LINEAR))
    scale = size / side
    y, x = np.nonzero(piece_ss)
    box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) * scale if with_box else None
    masks, *_ = predictor.predict(points(piece_ss) * scale, np.ones(2), box=box)
    values = np.asarray(masks, np.float32)
    masks_ss = [cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) > 0.5 for mask in values]
    overlaps = [float((m & piece_ss).sum() / (m | piece_ss).sum()) for m in masks_ss]
    best = int(np.argmax(overlaps))
    return masks_ss[best], overlaps[best]


def replace_thing(labels_HW: LabelArray, assistant_CHW: FloatArray, thing: Thing, mask_ss: BoolArray) -> None:
    """Paint a thing's mask, in place, and give what it leaves out of the piece the assistant's second choice."""
    square = thing.square
    others_Css = assistant_CHW[:, *square]
    others_Css[thing.class_id] = -1
    left_out_ss = thing.piece_ss & ~mask_ss & (labels_HW[square] == thing.class_id)
    changed_ss = np.where(left_out_ss, others_Css.argmax(axis=0).astype(np.uint8), labels_HW[square])
    labels_HW[square] = np.where(mask_ss, np.uint8(thing.class_id), changed_ss)


def prompted_classes(label_set: LabelSet) -> tuple[int, ...]:
    """Thin classes, and cars."""
    return tuple(sorted({*label_set.thin, *(i for i, name in enumerate(label_set.names) if name == "car")}))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", choices=SCENES, default="development")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe, key=value")
    parser.add_argument("--box", action="store_true", help="prompt with the piece's box, too")
    parser.add_argument("--agree", type=float, default=0.6)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run = scenes_run(options.scenes, options.out, tuple(options.set))
    teacher_cache(run, silent, device="cpu")
    panoramas = learning_panoramas(run.recipe)
    reader = RunReader.open(run, panoramas)
    predictor = SamPredictor(load_sam(run.recipe.sam, torch.device("cpu")))
    blend, before, after = Scores(), Scores(), Scores()
    asked = taken = 0
    for panorama, (known, truth_HW) in zip(panoramas, inputs(run), strict=True):
        image_HW3, labels_HW = reader.image(panorama.id), best_class(known.assistant_CHW)[0]
        fusion = fuse(known.assistant_CHW, known.agreement_HW, known.ignored_HW, known.views, known.masks,
                      known.label_set, known.config)  # fmt: skip
        prompted_HW = fusion.labels_HW.copy()
        for thing in things(labels_HW, prompted_classes(known.label_set)):
            mask_ss, overlap = best_mask(predictor, image_HW3[thing.square], thing.piece_ss, options.box)
            asked += 1
            if overlap >= options.agree:
                taken += 1
                replace_thing(prompted_HW, known.assistant_CHW, thing, mask_ss)
        everything_HW = np.ones(truth_HW.shape, np.bool_)
        score(blend, truth_HW, labels_HW, everything_HW, len(known.label_set))
        score(before, truth_HW, fusion.labels_HW, fusion.reliable_HW, len(known.label_set))
        score(after, truth_HW, prompted_HW, fusion.reliable_HW, len(known.label_set))
    names = {"the recipe's ensemble": before, f"things prompted ({taken} of {asked} masks taken)": after}
    print(table([row(name, own, before, blend, run.recipe.classes) for name, own in names.items()]))


if __name__ == "__main__":
    main()
