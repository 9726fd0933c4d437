from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.classes import DENSEPASS_13
from pipeline.panorama.sphere import panorama_coordinates, perspective_rays
from pipeline.world import View, build_scene, render_panorama, render_perspective
from pipeline.world.scene import PARTS_PER_INSTANCE
from pipeline.world.seeds import DEMO_EVALUATION, DEMO_TRAIN, MODEL_TRAINING, MODEL_VALIDATION

SEEDS = range(8)
HEIGHT, WIDTH = 128, 256


@lru_cache(maxsize=len(SEEDS))
def panorama(seed: int) -> View:
    return render_panorama(build_scene(seed), HEIGHT, WIDTH)


def away_from_edges(labels_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    same_HW = np.ones(labels_HW.shape, np.bool_)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            same_HW &= np.roll(labels_HW, (down, across), axis=(0, 1)) == labels_HW
    same_HW[[0, -1]] = False
    return same_HW


def fingerprint(seed: int) -> str:
    view = render_panorama(build_scene(seed), 64, 128)
    return sha256(view.image_HW3.tobytes() + view.parts_HW.tobytes()).hexdigest()


@pytest.mark.slow
def test_a_seed_gives_the_same_picture_in_another_process() -> None:
    program = (
        "from hashlib import sha256; from pipeline.world import build_scene, render_panorama;"
        "v = render_panorama(build_scene(5), 64, 128);"
        "print(sha256(v.image_HW3.tobytes() + v.parts_HW.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint(5)


@pytest.mark.slow
def test_different_seeds_give_different_pictures() -> None:
    assert len({panorama(seed).image_HW3.tobytes() for seed in SEEDS}) == len(SEEDS)


def test_every_class_occurs_in_nearly_every_panorama() -> None:
    shares = np.stack([np.bincount(panorama(s).labels_HW.ravel(), minlength=13) for s in SEEDS]) / (HEIGHT * WIDTH)
    assert shares.shape == (len(SEEDS), len(DENSEPASS_13))
    assert ((shares > 0).mean(axis=0) >= 0.75).all()
    assert (shares[:, list(DENSEPASS_13.thin)].mean(axis=0) > 0.002).all()


@pytest.mark.parametrize("columns", [1, 100, -37, WIDTH])
def test_yaw_by_whole_columns_is_a_column_roll(columns: int) -> None:
    turned = render_panorama(build_scene(2), HEIGHT, WIDTH, yaw=columns * 360 / WIDTH)
    for name in ("image_HW3", "labels_HW", "instances_HW", "parts_HW", "depth_HW"):
        expected = np.roll(getattr(panorama(2), name), -columns, axis=1)
        np.testing.assert_array_equal(getattr(turned, name), expected)


def test_turning_the_rays_agrees_with_rolling_the_columns() -> None:
    turn = 50 * 360 / WIDTH + 0.00001  # not a whole column, so really rendered anew
    turned = render_panorama(build_scene(2), HEIGHT, WIDTH, yaw=turn)
    assert (turned.labels_HW == np.roll(panorama(2).labels_HW, -50, axis=1)).mean() > 0.999


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (180, 0, 0), (75, 25, 10), (-100, -40, -20)])
def test_a_pinhole_view_and_the_panorama_agree_about_a_ray(yaw: float, pitch: float, roll: float) -> None:
    scene = build_scene(3)
    view = render_perspective(scene, 64, 96, 90, yaw, pitch, roll)
    row, column = panorama_coordinates(perspective_rays(64, 96, 90, yaw, pitch, roll), HEIGHT, WIDTH)
    i, j = np.clip(np.rint(row), 0, HEIGHT - 1).astype(int), np.rint(column).astype(int) % WIDTH
    inner = away_from_edges(panorama(3).labels_HW)[i, j]
    assert inner.mean() > 0.5
    assert (view.labels_HW == panorama(3).labels_HW[i, j])[inner].mean() > 0.995


def test_the_seam_is_no_border() -> None:
    for seed in SEEDS:
        labels = panorama(seed).labels_HW
        changes = (labels != np.roll(labels, 1, axis=1)).mean(axis=0)
        assert changes[0] <= np.quantile(changes, 0.99) + 0.02


def test_parts_lie_inside_instances_and_instances_inside_classes() -> None:
    for seed in SEEDS:
        view = panorama(seed)
        assert view.instances_HW.min() > 0
        assert view.parts_HW.min() > 0
        np.testing.assert_array_equal(view.parts_HW // PARTS_PER_INSTANCE, view.instances_HW)
        pairs = np.unique(np.stack((view.instances_HW.ravel(), view.labels_HW.ravel().astype(np.int32))), axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1]


def test_sky_is_what_is_infinitely_far() -> None:
    for seed in SEEDS:
        view = panorama(seed)
        np.testing.assert_array_equal(np.isinf(view.depth_HW), view.labels_HW == DENSEPASS_13.names.index("sky"))
        assert view.depth_HW.min() > 0.05


def test_cars_persons_and_facades_have_several_parts() -> None:
    view = render_perspective(build_scene(8), 192, 256, 100)
    for name in ("building", "car", "person"):
        inside = view.labels_HW == DENSEPASS_13.names.index(name)
        assert len(np.unique(view.parts_HW[inside])) > len(np.unique(view.instances_HW[inside]))


def test_seed_ranges_are_disjoint() -> None:
    ranges = sorted((DEMO_TRAIN, DEMO_EVALUATION, MODEL_TRAINING, MODEL_VALIDATION), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in pairwise(ranges))
