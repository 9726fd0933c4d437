"""The scenes of the study: those that students learn from, and three ranges to measure on that nothing has seen.

<out>/scenes/learning/{panoramas,labels}/<seed>.png     the demo's own scenes; labels are for the ceiling alone
<out>/scenes/more/{panoramas,labels}/<seed>.png         these and further ones, for rows that learn from more
<out>/scenes/held-out/{panoramas,labels}/<range>/<seed>.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.world.seeds import DEMO_TRAIN, MODEL_VALIDATION
from stages.runner import run_tasks
from stages.world import SceneTask, render_scene

RANGES = {"A": MODEL_VALIDATION[7000:7008], "B": MODEL_VALIDATION[7100:7108], "C": MODEL_VALIDATION[7200:7208]}
"""Disjoint seeds of the scenes that are measured on; no network and no setting was chosen on them."""
LEARNING = DEMO_TRAIN[:96]
"""Seeds of the scenes to learn from, of which rows take the first ones, most as many as the study has."""


@dataclass(frozen=True)
class Scenes:
    """Folders of rendered scenes."""

    folder: Path
    """Has `learning` and `held-out`."""
    learning: int
    """Number of scenes to learn from."""
    per_range: int
    """Number of scenes of each range."""

    @property
    def panoramas(self) -> Path:
        """Panoramas to learn from."""
        return self.folder / "learning" / "panoramas"

    @property
    def labels(self) -> Path:
        """Their true labels, which only the ceiling and the label efficiency open."""
        return self.folder / "learning" / "labels"

    @property
    def held_out(self) -> Path:
        """Panoramas to measure on, a folder for each range."""
        return self.folder / "held-out" / "panoramas"

    @property
    def held_out_labels(self) -> Path:
        """Their true labels."""
        return self.folder / "held-out" / "labels"

    def to_learn_from(self, count: int) -> tuple[Path, list[str]]:
        """A folder and the names of its panoramas that are the first to learn from, this many (at most 96)."""
        folder = self.panoramas if count <= self.learning else self.folder / "more" / "panoramas"
        return folder, [_file(seed) for seed in LEARNING[:count]]

    def render_to_learn_from(self, count: int, workers: int) -> None:
        """Render what is missing of `to_learn_from`."""
        folder, names = self.to_learn_from(count)
        tasks = [SceneTask(seed, folder / name, folder.parent / "labels" / name)
                 for seed, name in zip(LEARNING, names, strict=False)]  # fmt: skip
        _render(tasks, workers)

    def render(self, workers: int) -> None:
        """Render what is missing of the panoramas that every row learns from and is measured on."""
        self.render_to_learn_from(self.learning, workers)
        tasks = [
            SceneTask(seed, self.held_out / name / _file(seed), self.held_out_labels / name / _file(seed))
            for name, seeds in RANGES.items()
            for seed in seeds[: self.per_range]
        ]
        _render(tasks, workers)


def range_of(panorama_id: str) -> str:
    """The range of a held-out panorama, by its id (`evaluation/<range>/<seed>`)."""
    return panorama_id.split("/")[1]


def _render(tasks: list[SceneTask], workers: int) -> None:
    for _ in run_tasks(render_scene, [task for task in tasks if not task.image.exists()], workers):
        pass


def _file(seed: int) -> str:
    return f"{seed:06d}.png"
