"""The controls of an evaluation, from what a run's store holds.

Legend: H W panorama at the working size, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pipeline.arrays import ImageArray, LabelArray
from pipeline.evaluate.controls import FusionInput, oracle, sam_only, with_masks
from pipeline.teacher import superpixels
from stages.reading import RunReader
from stages.rungs import TeacherArrays
from stages.views import sam_views


class RunControls:
    """Computes the controls that a recipe names, panorama by panorama."""

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader

    @cached_property
    def skipped(self) -> dict[str, str]:
        """Why, by name, for the controls that cannot be computed here."""
        if "superpixels" in self._reader.recipe.evaluation.controls and not superpixels.is_available():
            return {"superpixels": f"{superpixels.PACKAGE} is not installed (run `pip install {superpixels.PACKAGE}`)"}
        return {}

    @property
    def names(self) -> Sequence[str]:
        """Those that are computed."""
        return [name for name in self._reader.recipe.evaluation.controls if name not in self.skipped]

    def __call__(
        self, panorama_id: str, image_HW3: ImageArray, teacher: TeacherArrays, truth_HW: LabelArray
    ) -> dict[str, LabelArray]:
        """Labels [H, W] by name of the control, IGNORE where it covers nothing.

        Args:
            panorama_id: of the panorama.
            image_HW3: the panorama.
            teacher: what stage one knows of it.
            truth_HW: its true labels, at the working size.

        Raises:
            CacheError: its masks are not in the cache, or damaged.
        """
        if not self.names:
            return {}
        recipe = self._reader.recipe
        known = FusionInput(teacher.assistant_CHW, teacher.agreement_HW, teacher.ignored_HW, sam_views(recipe),
                            self._reader.masks(panorama_id), recipe.classes, recipe.fusion)  # fmt: skip
        return {name: self._control(name, known, image_HW3, truth_HW) for name in self.names}

    def _control(self, name: str, known: FusionInput, image_HW3: ImageArray, truth_HW: LabelArray) -> LabelArray:
        if name == "sam_only":
            return sam_only(known)
        if name == "oracle":
            return oracle(known, truth_HW)
        return with_masks(known, superpixels.Superpixels().many([view.cut_image(image_HW3) for view in known.views]))
