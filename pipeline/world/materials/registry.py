"""Which function paints which material."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.world.materials import masonry, small
from pipeline.world.materials.base import Paint, Points
from pipeline.world.materials.facade import facade
from pipeline.world.scene import Material

_PAINTERS: dict[Material, Callable[[Points], Paint]] = {
    Material.PLAIN: masonry.plain,
    Material.FACADE: facade,
    Material.ROOF: masonry.roof,
    Material.MASONRY: masonry.masonry,
    Material.PLANKS: masonry.planks,
    Material.METAL: masonry.metal,
    Material.LIGHT_HOUSING: small.light_housing,
    Material.SIGN: small.sign,
    Material.FOLIAGE: masonry.foliage,
    Material.BARK: masonry.bark,
    Material.CLOTH: small.cloth,
    Material.CAR_BODY: small.car_body,
    Material.CAR_CABIN: small.car_cabin,
    Material.WHEEL: small.wheel,
    Material.HEAD: small.head,
}


def paint_points(material: Material, points: Points) -> Paint:
    """Colours and part codes of points of one material."""
    return _PAINTERS[material](points)
