"""Small painted things: one lamp of a signal is lit, plates have a back, cars a front, wheels a rim, heads hair."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.materials import Paint, paint_points
from pipeline.world.primitives import BACK, CAP_HIGH, FRONT, LEFT, RIGHT, SIDE, TOP
from pipeline.world.scene import Cutout, Kind, Material
from tests.world.materials.surfaces import grid, points_on

SIZE = 120


def on_front(material: Material, half: tuple[float, float, float], style: tuple[float, float, float, float],
             face: int = FRONT, cutout: Cutout = Cutout.NONE) -> Paint:  # fmt: skip
    """A face of a shape, row by row."""
    z = half[2] if face == BACK else -half[2]
    metric = grid(half[0], half[1], SIZE, z)
    return paint_points(material, points_on(material, metric, half, style, face=face, cutout=cutout))


@pytest.mark.parametrize(("lit", "channel"), [(0, 0), (2, 1)], ids=["red", "green"])
def test_one_lamp_of_a_signal_is_lit_and_each_is_a_part(lit: int, channel: int) -> None:
    paint = on_front(Material.LIGHT_HOUSING, (0.15, 0.336, 0.1), (3.0, float(lit), 0.1, 0.0))
    lamps = np.unique(paint.part_n)
    assert len(lamps) == 3 + 1  # and the housing
    rows = np.array([np.flatnonzero(paint.part_n == lamp).mean() for lamp in lamps[1:]])
    assert (np.diff(rows) > 0).all()  # from top to bottom
    brightest = [paint.colour_n3[paint.part_n == lamp].max() for lamp in lamps[1:]]
    assert int(np.argmax(brightest)) == lit and sum(value > 1 for value in brightest) == 1
    assert paint.colour_n3[paint.part_n == lamps[1 + lit]].mean(axis=0).argmax() == channel


def test_the_back_of_a_signal_has_no_lamps() -> None:
    paint = on_front(Material.LIGHT_HOUSING, (0.15, 0.336, 0.1), (3.0, 1.0, 0.1, 0.0), BACK)
    assert np.unique(paint.part_n).tolist() == [5]
    assert paint.colour_n3.max() <= 1


def test_a_sign_has_a_rim_and_a_glyph_and_a_back_of_grey_metal() -> None:
    half = (0.4, 0.4, 0.01)
    front = on_front(Material.SIGN, half, (1.0, 0, 0, 0), cutout=Cutout.DISC).colour_n3.reshape(SIZE, SIZE, 3)
    back = on_front(Material.SIGN, half, (1.0, 0, 0, 0), BACK, Cutout.DISC).colour_n3
    blue = front[..., 2] > front[..., 0]
    middle = SIZE // 2
    assert blue[middle, middle] and not blue[middle - 30, middle]  # the bar, and the ground above it
    assert blue[middle, 6] and blue[6, middle]  # the rim
    assert np.ptp(back) == 0


@pytest.mark.parametrize("kind", range(1, 6))
def test_glyphs_are_different_and_cover_a_part_of_the_plate(kind: int) -> None:
    def blue(style: float) -> np.ndarray:
        colour = on_front(Material.SIGN, (0.4, 0.4, 0.01), (style, 0, 0, 0)).colour_n3
        return (colour[:, 2] > colour[:, 0]).reshape(SIZE, SIZE)[16:-16, 16:-16]

    assert 0.02 < blue(kind).mean() < 0.7
    assert all((blue(kind) != blue(other)).any() for other in range(1, 6) if other != kind)


def test_a_car_has_white_lamps_in_front_red_ones_behind_and_none_at_its_sides() -> None:
    half, style = (0.9, 0.35, 2.0), (1.3, 0.32, 0.0, 0.0)
    plain = {5}
    front, back, side = (on_front(Material.CAR_BODY, half, style, face) for face in (BACK, FRONT, LEFT))
    lamps = [sorted(set(np.unique(paint.part_n)) - plain) for paint in (front, back)]
    assert len(lamps[0]) == len(lamps[1]) == 3 and not set(lamps[0]) & set(lamps[1])  # two lamps and a plate each
    assert set(np.unique(side.part_n)) == plain
    white, red = front.colour_n3[front.part_n == lamps[0][0]], back.colour_n3[back.part_n == lamps[1][0]]
    assert np.ptp(white) == 0 and white.min() > 0.9
    assert (red[:, 0] > 5 * red[:, 1]).all()


def test_wheel_arches_are_dark() -> None:
    z = np.array([1.3, 0.0])  # above the axle, and between the axles
    metric = np.stack((np.full(2, 0.9), np.full(2, 0.2), z), axis=1)
    colour = paint_points(
        Material.CAR_BODY, points_on(Material.CAR_BODY, metric, (0.9, 0.35, 2.0), (1.3, 0.32, 0, 0), face=RIGHT)
    ).colour_n3
    assert colour[0].max() < 0.3 * colour[1].max()


def test_a_cabin_has_glass_all_round_and_a_roof_without() -> None:
    half = (0.8, 0.3, 1.2)
    front, roof = (on_front(Material.CAR_CABIN, half, (0, 0, 0, 0), face) for face in (FRONT, TOP))
    assert 0.3 < (front.part_n != 5).mean() < 0.95
    assert (roof.part_n == 5).all()
    blue = front.colour_n3[:, 2] > front.colour_n3[:, 0]
    np.testing.assert_array_equal(blue, front.part_n != 5)


def test_a_wheel_has_a_rim_on_its_caps_and_a_tyre_around() -> None:
    x, z = np.meshgrid(np.linspace(-0.99, 0.99, 60), np.linspace(-0.99, 0.99, 60))
    metric = np.stack((x, np.full_like(x, -0.1), z), axis=-1).reshape(-1, 3)
    cap, mantle = (paint_points(Material.WHEEL, points_on(Material.WHEEL, metric, (1, 0.1, 1), kind=Kind.CYLINDER,
                   face=face)).colour_n3 for face in (CAP_HIGH, SIDE))  # fmt: skip
    away = np.hypot(metric[:, 0], metric[:, 2])
    rim = cap[:, 2] > cap[:, 0]
    assert rim[away < 0.2].all() and not rim[away > 0.7].any()
    assert 0.3 < rim[(away > 0.3) & (away < 0.5)].mean() < 0.8  # spokes
    assert (mantle[:, 0] > mantle[:, 2]).all()


def test_a_head_has_hair_on_top_and_behind_and_eyes_in_front() -> None:
    spots = {"top": (0, -0.9, 0.1), "behind": (0, 0, -0.9), "cheek": (0.3, 0.4, 0.8), "eye": (0.4, -0.1, 0.8)}
    points = points_on(Material.HEAD, list(spots.values()), kind=Kind.ELLIPSOID, face=0)
    colour = dict(zip(spots, paint_points(Material.HEAD, points).colour_n3, strict=True))
    for name in ("top", "behind"):
        assert colour[name][2] > colour[name][0]  # the second colour
    assert colour["cheek"][0] > 2 * colour["eye"][0] > 0


def test_cloth_has_stripes_along_or_across_if_it_has_any() -> None:
    def marked(kind: float) -> np.ndarray:
        colour = on_front(Material.CLOTH, (0.5, 0.5, 0.1), (kind, 0.1, 0, 0)).colour_n3
        return (colour[:, 2] > colour[:, 0]).reshape(SIZE, SIZE)

    assert not marked(0).any()
    upright, level = marked(1), marked(2)
    assert (upright == upright[:1]).all() and upright[0].mean() == pytest.approx(0.5, abs=0.1)
    assert (level == level[:, :1]).all() and level[:, 0].mean() == pytest.approx(0.5, abs=0.1)
