"""The other hot spots, each beside what others use for it: votes, confusion matrices, perspective views.

Legend: M masks, H W window or image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import IGNORE
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.sampling import PerspectiveSampler
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.vote import vote
from scripts.bench.figure import CPU_SECONDS, Figure, skipped, time_interleaved
from scripts.bench.setup import Setup

Labels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
CLASSES = 19
VOTES, COUNTS, CONFUSION, PERSPECTIVE = (
    "class votes",
    "class votes, counts only",
    "confusion matrix",
    "perspective view",
)
NAMES = (VOTES, COUNTS, CONFUSION, PERSPECTIVE)


def array_figures(setup: Setup) -> Iterator[Figure]:
    """The figures that are wanted."""
    makers: dict[str, Callable[[Setup], Figure]] = {
        VOTES: _votes,
        COUNTS: _counts,
        CONFUSION: _confusion,
        PERSPECTIVE: _perspective,
    }
    for name, make in makers.items():
        if name in setup.wanted:
            figure = make(setup)
            yield replace(figure, note=f"{figure.note}; {CPU_SECONDS}") if figure.ratio else figure


def _votes(setup: Setup) -> Figure:
    """As earlier projects on SAM's masks vote: distinct labels under the mask, then the most frequent one."""
    labels, ignored, masks_MHW = _window()
    masks = MaskSet.from_dense(masks_MHW)

    def loop() -> list[int]:
        seen, valid = torch.from_numpy(labels).long(), torch.from_numpy(~ignored)
        winners: list[int] = []
        for mask_HW in masks_MHW:
            under = seen[torch.from_numpy(mask_HW) & valid]
            if len(torch.unique(under)) == 0:
                winners.append(0)
                continue
            winners.append(int(torch.bincount(under).argmax()))
        return winners

    timings = time_interleaved({"loop": loop, "ours": lambda: vote(labels, ignored, masks, CLASSES)}, setup.many)
    same = timings["loop"].result == timings["ours"].result.winners_M.tolist()
    note = f"{len(masks)} masks at {labels.shape[0]}x{labels.shape[1]}, {masks_MHW.mean():.1%} of the window each"
    peer = "a loop over full-size masks: unique, then bincount (torch)"
    return Figure(VOTES, peer, timings["loop"].seconds, timings["ours"].seconds, 40, same, note)


def _counts(setup: Setup) -> Figure:
    """The leanest loop over full-size masks, which nobody is known to use: what boxes alone are worth."""
    labels, ignored, masks_MHW = _window()
    masks = MaskSet.from_dense(masks_MHW)

    def loop() -> list[int]:
        counts = [np.bincount(labels[mask_HW & ~ignored], minlength=CLASSES) for mask_HW in masks_MHW]
        return [int(own.argmax()) for own in counts]

    timings = time_interleaved({"loop": loop, "ours": lambda: vote(labels, ignored, masks, CLASSES)}, setup.many)
    same = timings["loop"].result == timings["ours"].result.winners_M.tolist()
    peer = "a loop over full-size masks: bincount (numpy)"
    return Figure(COUNTS, peer, timings["loop"].seconds, timings["ours"].seconds, None, same, "for information")


def _confusion(setup: Setup) -> Figure:
    peer = "torchmetrics' MulticlassConfusionMatrix"
    if find_spec("torchmetrics") is None:
        return skipped(CONFUSION, peer, "torchmetrics is not installed", 25)
    from torchmetrics.classification import MulticlassConfusionMatrix

    truth, predictions = _maps(512, 1024)
    theirs = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
    truth_long, predictions_long = torch.from_numpy(truth).long(), torch.from_numpy(predictions).long()

    def count() -> npt.NDArray[np.int64]:
        matrix = ConfusionMatrix(CLASSES)
        matrix.add(truth, predictions)
        return matrix.matrix

    def their_count() -> npt.NDArray[np.int64]:
        theirs.reset()
        theirs.update(predictions_long, truth_long)
        return theirs.compute().numpy()

    timings = time_interleaved({"theirs": their_count, "ours": count}, setup.many)
    same = np.array_equal(timings["theirs"].result, timings["ours"].result)
    return Figure(CONFUSION, peer, timings["theirs"].seconds, timings["ours"].seconds, 25, same, "512x1024, 19 classes")


def _perspective(setup: Setup) -> Figure:
    peer = "py360convert's e2p"
    if find_spec("py360convert") is None:
        return skipped(PERSPECTIVE, peer, "py360convert is not installed", 3)
    import cv2
    import py360convert

    cv2.setNumThreads(1)

    image = np.random.default_rng(0).integers(0, 256, (1024, 2048, 3), dtype=np.uint8)
    view = PerspectiveSampler(512, 512, 90.0, 30.0, 10.0, 0.0, 1024, 2048)
    timings = time_interleaved({
        "theirs": lambda: py360convert.e2p(image, (90, 90), 30, 10, (512, 512)),
        "ours": lambda: view.image(image),
    }, setup.many)  # fmt: skip
    note = "512x512 out of 1024x2048; theirs lies up to half a pixel off (the tests measure both against the truth)"
    return Figure(PERSPECTIVE, peer, timings["theirs"].seconds, timings["ours"].seconds, 3, note=note)


def _window(masks: int = 120, side: int = 1024) -> tuple[Labels, Bools, Bools]:
    """Labels, an ignored band, and round masks of any place and size."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, CLASSES, (64, 64)), np.ones((side // 64, side // 64), int)).astype(np.uint8)
    rows, columns = np.ogrid[:side, :side]
    places, radii = rng.integers(0, side, (masks, 2)), rng.uniform(0.015, 0.155, masks) * side
    masks_MHW = np.stack([
        (rows - y) ** 2 + (columns - x) ** 2 < radius**2 for (y, x), radius in zip(places, radii, strict=True)
    ])  # fmt: skip
    ignored = np.zeros((side, side), np.bool_)
    ignored[int(0.9 * side) :] = True
    return labels, ignored, masks_MHW


def _maps(height: int, width: int) -> tuple[Labels, Labels]:
    """Truth in blocks with an ignored band, and predictions of which four in five are right."""
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, CLASSES, (height // 16, width // 16)), np.ones((16, 16), int)).astype(np.uint8)
    wrong = rng.integers(0, CLASSES, truth.shape).astype(np.uint8)
    predictions = np.where(rng.random(truth.shape) < 0.8, truth, wrong)
    truth[: height // 25] = IGNORE
    return truth, predictions
