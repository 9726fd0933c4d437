"""The plan of a street while it is being furnished: where the streets are and what ground is taken."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.world.scene import CrossStreet


@dataclass
class Plan:
    """Streets, and circles of ground that objects have taken. Side -1 is x < 0, +1 is x > 0; metres."""

    half_width: float
    crosses: tuple[CrossStreet, ...]
    sidewalks: tuple[float, float]
    verges: tuple[float, float]
    zebras: tuple[float, ...]
    kerb: float
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def sidewalk(self, side: int) -> float:
        """Width of the sidewalk of a side."""
        return self.sidewalks[side > 0]

    def front(self, side: int) -> float:
        """|x| where the lots of a side begin."""
        return self.half_width + self.sidewalk(side)

    def crosses_on(self, side: int) -> list[CrossStreet]:
        """Cross streets that leave towards a side, by z."""
        return sorted((c for c in self.crosses if c.side in (0, side)), key=lambda c: c.at)

    def block_edges(self, side: int) -> list[float]:
        """z where blocks of that side stop and start again, in pairs."""
        reach = self.sidewalk(side)
        return [c.at + end * (c.half_width + reach) for c in self.crosses_on(side) for end in (-1, 1)]

    def in_junction(self, z: float, margin: float) -> bool:
        """Whether a z of the main street lies in or near a crossing."""
        return any(abs(z - c.at) < c.half_width + margin for c in self.crosses)

    def on_zebra(self, z: float, margin: float) -> bool:
        """Whether a z of the main street lies on a zebra crossing."""
        return any(abs(z - at) < margin for at in self.zebras)

    def is_free(self, x: float, z: float, radius: float) -> bool:
        """Whether a circle of ground is still free."""
        return all((x - a) ** 2 + (z - b) ** 2 >= (radius + r) ** 2 for a, b, r in self.taken)

    def reserve(self, x: float, z: float, radius: float) -> None:
        """Takes a circle of ground."""
        self.taken.append((x, z, radius))

    def claim(self, x: float, z: float, radius: float) -> bool:
        """Takes a circle of ground if it is free."""
        free = self.is_free(x, z, radius)
        if free:
            self.reserve(x, z, radius)
        return free
