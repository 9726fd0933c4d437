"""The demo world: street scenes from a seed, rendered with exact class, instance and part labels.

Example:
    >>> view = render_panorama(build_scene(7), height=256, width=512)
    >>> view.labels_HW.shape
    (256, 512)
"""

from pipeline.world.layout import build_scene
from pipeline.world.render import render_panorama, render_perspective
from pipeline.world.scene import Scene, View

__all__ = ["Scene", "View", "build_scene", "render_panorama", "render_perspective"]
