"""A world of coloured blocks, small enough to learn in seconds: what the tests of stage two feed the student with."""

from __future__ import annotations

import numpy as np

from pipeline.cache.codec import encode_probabilities
from pipeline.class_tables import colour_table
from pipeline.classes import LabelSet
from pipeline.student.sample import PanoramaSample

HEIGHT, WIDTH, CHANNELS = 32, 64, 6
CLASS_FEATURES = np.random.default_rng(0).normal(size=(CHANNELS, 3)).astype(np.float16)
TOY = LabelSet("toy", ("sky", "wall", "grass"), ((90, 160, 240), (200, 60, 40), (40, 180, 60)), thin=())


def toy_labels(seed: int) -> np.ndarray:
    """Class ids [H, W]: 8x8 blocks."""
    blocks = np.random.default_rng(seed).integers(0, len(TOY), (HEIGHT // 8, WIDTH // 8))
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def toy_sample(seed: int, levels: tuple[int, ...] = (1, 4)) -> PanoramaSample:
    """Blocks in their class's colour, targets that are right, one ignored row, features of the given levels."""
    rng, labels_HW = np.random.default_rng(seed), toy_labels(seed)
    noise = rng.integers(-20, 20, (HEIGHT, WIDTH, 3))
    probabilities_CHW = 0.05 + 0.85 * (labels_HW == np.arange(len(TOY))[:, None, None])
    ignored_HW = np.zeros((HEIGHT, WIDTH), np.bool_)
    ignored_HW[-1] = True
    return PanoramaSample(
        image_HW3=np.clip(colour_table(TOY)[labels_HW] + noise, 0, 255).astype(np.uint8),
        assistant_CHW=encode_probabilities(probabilities_CHW),
        ensemble_CHW=encode_probabilities(probabilities_CHW),
        reliable_HW=rng.random((HEIGHT, WIDTH)) < 0.7,
        boundary_HW=labels_HW != np.roll(labels_HW, 1, axis=1),
        ignored_HW=ignored_HW,
        features={
            level: CLASS_FEATURES[:, labels_HW[stride // 2 :: stride, stride // 2 :: stride]]
            for level, stride in zip((1, 2, 3, 4), (4, 8, 16, 32), strict=True)
            if level in levels
        },
    )


def read_toy(panorama_id: str) -> PanoramaSample:
    """The sample whose seed is its id."""
    return toy_sample(int(panorama_id))
