"""Small panoramas in the place of the study's scenes."""

from __future__ import annotations

from scripts.evidence.scenes import Scenes
from tests.stages.small_run import write_panorama


def write_held_out(scenes: Scenes) -> None:
    """One panorama to measure on, with its labels, of each of two ranges."""
    for name, seed in (("A", 8), ("B", 9)):
        write_panorama(scenes.held_out / name / f"{seed}.png", seed, scenes.held_out_labels / name / f"{seed}.png")
