"""Which settings of fusion measure better, each on the same masks and predictions of labelled scenes.

    python -m scripts.measure_fusion [--scenes development] [--set fusion.theta=0.6 ...] [--only NAME ...]

The scenes of the world are none that a network or another choice has seen: 12 to develop on, and 24 others, which only
the table in scripts/measured/fusion.md is measured on. Stage one of the demo's recipe sees them once (`--set` changes
the recipe, and stage one makes anew what that concerns); then every option fuses what it has cached.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.config import OPTIONAL, FusionConfig
from pipeline.evaluate.bootstrap import miou_change_interval, ratio_change_interval
from pipeline.evaluate.class_changes import class_changes
from pipeline.evaluate.controls import FusionInput
from pipeline.evaluate.metrics import ConfusionMatrix, best_class
from pipeline.teacher.config import SamConfig
from pipeline.teacher.vote import fuse
from pipeline.world.seeds import MODEL_VALIDATION
from stages.events import silent
from stages.reading import RunReader
from stages.runs import Run, open_run
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.views import sam_views
from stages.world import SceneTask, render_scene

SCENES: dict[str, Sequence[int]] = {
    "development": MODEL_VALIDATION[6600:6612],
    "measured": MODEL_VALIDATION[6700:6724],
    "further": MODEL_VALIDATION[6800:6808],
    "few": MODEL_VALIDATION[7300:7308],
    "unseen": (*MODEL_VALIDATION[7308:7316], *MODEL_VALIDATION[7400:7416]),
}
STUDY = (*MODEL_VALIDATION[7000:7008], *MODEL_VALIDATION[7100:7108], *MODEL_VALIDATION[7200:7208])
"""Those of `scripts.evidence`. `fusion.join_rule` and `fusion.paint_from` were found on them, so they are not
judged here."""
ALL_SCENES = {**SCENES, "study": STUDY, "study-c": STUDY[16:]}
"""Every set of scenes by its name."""
FOLDER = Path("cache/bench/fusion")
"""Where scenes and their runs lie unless asked otherwise."""
DEFAULT = "without options"
CONFUSIONS = ("sidewalk in road", "terrain in sidewalk", "fence in vegetation", "fence in wall", "wall in building")
"""Pairs of classes that look alike, the smaller of which large masks swallow."""
_THIN_FREE: dict[str, Any] = {"protect_thin": False}
_SURE: dict[str, Any] = {"keep_confidence": 0.9}
_KEEP: dict[str, Any] = {"unreliable": "keep"}
_FREE_VOTES: dict[str, Any] = _THIN_FREE | _SURE | {"votes": "confidence"}
OPTIONS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "keep the assistant's labels in unreliable masks": {"unreliable": "keep"},
    "no protection of thin classes": {"protect_thin": False},
    "rare classes protected, 1 %": {"protect_rare": 0.01},
    "rare classes protected, 2 %": {"protect_rare": 0.02},
    "confident pixels keep their label, 0.98": {"keep_confidence": 0.98},
    "confident pixels keep their label, 0.9": {"keep_confidence": 0.9},
    "theta by levels of size": {"theta_by": "levels"},
    "theta by levels, votes by confidence": {"theta_by": "levels", "votes": "confidence"},
    "theta by levels, votes and Lcr by confidence (GoodSAM++)": {
        "theta_by": "levels",
        "votes": "confidence",
        "lcr_by": "votes",
    },
    "votes and Lcr by confidence": {"votes": "confidence", "lcr_by": "votes"},
    "votes by confidence": {"votes": "confidence"},
    "votes by probabilities": {"votes": "probabilities"},
    "the purest mask on top": {"on_top": "pure"},
    "masks weigh by Lcr": {"weigh_by": "lcr"},
    "masks weigh by predicted IoU": {"weigh_by": "predicted_iou"},
    "masks weigh by stability": {"weigh_by": "stability"},
    "masks weigh by IoU under moved prompts": {"weigh_by": "prompt_stability"},
    "one mask per prompt, chosen by the assistant": {"one_per_prompt": True},
    "the demo's, one mask per prompt": {"join": 0.5, "protect_rare": 0.01, "one_per_prompt": True},
    "regions joined over the windows": {"join": 0.5},
    "regions joined, probabilities": {"join": 0.5, "votes": "probabilities"},
    "regions joined, probabilities, rare 1 %": {"join": 0.5, "votes": "probabilities", "protect_rare": 0.01},
    "probabilities, rare 1 %": {"votes": "probabilities", "protect_rare": 0.01},
    "probabilities, rare 1 %, by Lcr": {"votes": "probabilities", "protect_rare": 0.01, "weigh_by": "lcr"},
    "thin runner-up from a fifth of the votes": {"thin_runner_up": 0.2},
    "thin runner-up from half of the votes": {"thin_runner_up": 0.5},
    "confusions given back": {"give_back": CONFUSIONS},
    "joined, rare 1 % (the demo's)": {"join": 0.5, "protect_rare": 0.01},
    "the demo's, join rule doubtful": {"join": 0.5, "protect_rare": 0.01, "join_rule": "doubtful"},
    "the demo's, painted from half": {"join": 0.5, "protect_rare": 0.01, "paint_from": 0.5},
    "the demo's, join rule doubtful, painted from half": {
        "join": 0.5,
        "protect_rare": 0.01,
        "join_rule": "doubtful",
        "paint_from": 0.5,
    },
    "the demo's, join rule purer": {"join": 0.5, "protect_rare": 0.01, "join_rule": "purer"},
    "the demo's, join rule purer, painted from half": {
        "join": 0.5,
        "protect_rare": 0.01,
        "join_rule": "purer",
        "paint_from": 0.5,
    },
    "the demo's, thin runner-up from a fifth": {"join": 0.5, "protect_rare": 0.01, "thin_runner_up": 0.2},
    "the demo's, thin runner-up from half": {"join": 0.5, "protect_rare": 0.01, "thin_runner_up": 0.5},
    "the demo's, confusions given back": {"join": 0.5, "protect_rare": 0.01, "give_back": CONFUSIONS},
    "probabilities, rare 1 %, by Lcr, confident 0.98": {
        "votes": "probabilities",
        "protect_rare": 0.01,
        "weigh_by": "lcr",
        "keep_confidence": 0.98,
    },
    "thin classes protected from masks of a tenth of the window on": {"large_mask": 0.1},
    "thin free, confident 0.9": _THIN_FREE | _SURE,
    "thin free, confident 0.9, votes by confidence": _FREE_VOTES,
    "confident 0.9, votes by confidence": _SURE | {"votes": "confidence"},
    "thin protected from a tenth, confident 0.9, votes by confidence": {
        **_SURE,
        "votes": "confidence",
        "large_mask": 0.1,
    },
    "thin protected from a tenth, confident 0.9, votes by confidence, joined": _SURE
    | {"votes": "confidence", "large_mask": 0.1, "join": 0.5},
    "thin protected from a tenth, confident 0.9, votes by confidence, fence given back": {
        **_SURE,
        "votes": "confidence",
        "large_mask": 0.1,
        "give_back": CONFUSIONS[2:4],
    },
    "thin protected from a tenth, confident 0.9, votes by confidence, confusions given back": {
        **_SURE,
        "votes": "confidence",
        "large_mask": 0.1,
        "give_back": CONFUSIONS,
    },
    "thin free, confident 0.9, votes by probabilities": _THIN_FREE | _SURE | {"votes": "probabilities"},
    "thin free, confident 0.8, votes by confidence": _THIN_FREE | {"keep_confidence": 0.8, "votes": "confidence"},
    "thin free, confident 0.9, votes by confidence, masks weigh by Lcr": {**_FREE_VOTES, "weigh_by": "lcr"},
    "thin free, confident 0.9, votes by confidence, rare 1 %": {**_FREE_VOTES, "protect_rare": 0.01},
    "thin free, confident 0.9, votes by confidence, confusions given back": {**_FREE_VOTES, "give_back": CONFUSIONS},
    "thin free, confident 0.9, votes by confidence, fence given back": {**_FREE_VOTES, "give_back": CONFUSIONS[2:4]},
    "thin free, confident 0.9, votes and Lcr by confidence": {**_FREE_VOTES, "lcr_by": "votes"},
    "joined, thin free": _THIN_FREE | {"join": 0.5},
    "joined, confident 0.9": _SURE | {"join": 0.5},
    "joined, thin free, confident 0.9": _THIN_FREE | _SURE | {"join": 0.5},
    "joined where doubtful, thin free, confident 0.9": _THIN_FREE | _SURE | {"join": 0.5, "join_rule": "doubtful"},
    "painted from half, thin free, confident 0.9": _THIN_FREE | _SURE | {"paint_from": 0.5},
    "keep, thin free": _KEEP | _THIN_FREE,
    "keep, thin free, confident 0.9": _KEEP | _THIN_FREE | _SURE,
    "keep, joined": _KEEP | {"join": 0.5},
    "keep, joined, thin free": _KEEP | _THIN_FREE | {"join": 0.5},
    "keep, joined, thin free, confident 0.9": _KEEP | _THIN_FREE | _SURE | {"join": 0.5},
}
"""Settings of fusion that each option changes; the other options are off, whatever the recipe has. Thin free: thin
classes are not protected."""
BLEND = "the assistant's blend, without masks"
Labelled = tuple[FusionInput, LabelArray]
"""What fusion has of a panorama or picture, and its true labels."""
LOSS = 0.01
"""A class loses where its IoU falls by more than this from the assistant's blend to the ensemble."""


@dataclass
class Scores:
    """What one option gives, panorama by panorama (N)."""

    ensemble: list[npt.NDArray[np.int64]] = field(default_factory=list[npt.NDArray[np.int64]])
    """Confusion matrices of E."""
    reliable: list[npt.NDArray[np.int64]] = field(default_factory=list[npt.NDArray[np.int64]])
    """Those of E_H."""

    @property
    def matrices_NCC(self) -> npt.NDArray[np.int64]:
        """Confusion matrices of E."""
        return np.stack(self.ensemble)

    @property
    def right_N2(self) -> npt.NDArray[np.int64]:
        """Pixels of E that are right, and all that count."""
        return _right(self.ensemble)

    @property
    def reliable_right_N2(self) -> npt.NDArray[np.int64]:
        """Pixels of E_H that are right, and all that it covers."""
        return _right(self.reliable)


def _right(matrices: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.array([(np.trace(matrix), matrix.sum()) for matrix in matrices])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", choices=ALL_SCENES, default="development")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe, key=value")
    parser.add_argument("--only", nargs="*", default=[], help="names of options; all by default")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    chosen = {name: OPTIONS[name] for name in options.only} or OPTIONS
    run = scenes_run(options.scenes, options.out, tuple(options.set))
    chosen = {name: own for name, own in chosen.items() if has_what_it_needs(own, run.recipe.sam)}
    teacher_cache(run, silent, device="cpu")
    scores = measure(inputs(run), {DEFAULT: {}} | chosen)
    rows = [row(name, own, scores[DEFAULT], scores[BLEND], run.recipe.classes) for name, own in scores.items()]
    (options.out / f"{options.scenes}.json").write_text(json.dumps(rows, indent=1))
    print(table(rows))


def has_what_it_needs(option: Mapping[str, Any], sam: SamConfig) -> bool:
    """Whether masks have what an option looks at."""
    is_weighed = option.get("weigh_by") == "prompt_stability"
    return (sam.jitter > 0 or not is_weighed) and (sam.keep_levels or not option.get("one_per_prompt"))


def scenes_run(name: str, out: Path, settings: tuple[str, ...]) -> Run:
    """The run of stage one over some scenes, which are rendered where they are missing."""
    rendered(name, out)
    own = (f"name={name}", f"data.panoramas={out / name / 'panoramas'}", "data.evaluation=",
           f"data.labels={out / name / 'labels'}", "assistant.feature_levels=[]", "losses.features=0")  # fmt: skip
    return open_run("demo", out / "runs", (*own, *settings))


def rendered(name: str, out: Path) -> list[tuple[Path, Path]]:
    """Image and labels of each of some scenes, rendered where they are missing."""
    files = [
        (out / name / "panoramas" / f"{seed}.png", out / name / "labels" / f"{seed}.png") for seed in ALL_SCENES[name]
    ]
    for seed, (image, labels) in zip(ALL_SCENES[name], files, strict=True):
        if not image.exists():
            render_scene(SceneTask(seed, image, labels))
    return files


def inputs(run: Run) -> Iterator[Labelled]:
    """What fusion has of every panorama, with its true labels."""
    recipe, panoramas = run.recipe, learning_panoramas(run.recipe)
    reader = RunReader.open(run, panoramas)
    for panorama in panoramas:
        teacher, masks = reader.teacher(panorama.id), reader.masks(panorama.id)
        truth_HW = np.array(Image.open(Path(recipe.data.labels) / f"{panorama.path.stem}.png"))
        yield FusionInput(teacher.assistant_CHW, teacher.agreement_HW, teacher.ignored_HW, sam_views(recipe), masks,
                          recipe.classes, recipe.fusion), truth_HW  # fmt: skip


def measure(
    panoramas: Iterable[Labelled], options: Mapping[str, Mapping[str, Any]], merged_C: LabelArray | None = None
) -> dict[str, Scores]:
    """Scores of the assistant's blend, under `BLEND`, and of every option's ensemble, over the same panoramas.

    Args:
        panoramas: what is fused.
        options: settings of fusion by their names.
        merged_C: the truth's class of each class of the assistant; None: they are the same.
    """
    scores = {name: Scores() for name in (BLEND, *options)}
    for known, truth_HW in panoramas:
        merge_C = np.arange(len(known.label_set), dtype=np.uint8) if merged_C is None else merged_C
        labels_HW, classes = best_class(known.assistant_CHW)[0], int(merge_C.max()) + 1
        score(scores[BLEND], truth_HW, merge_C[labels_HW], np.ones(labels_HW.shape, np.bool_), classes)
        for name, settings in options.items():
            config: FusionConfig = dataclasses.replace(known.config, **{**OPTIONAL, **settings})
            found = fuse(known.assistant_CHW, known.agreement_HW, known.ignored_HW, known.views, known.masks,
                         known.label_set, config)  # fmt: skip
            score(scores[name], truth_HW, merge_C[found.labels_HW], found.reliable_HW, classes)
    return scores


def score(
    scores: Scores, truth_HW: LabelArray, labels_HW: LabelArray, reliable_HW: npt.NDArray[np.bool_], classes: int
) -> None:
    """Count one panorama: labels, and where they are reliable."""
    for matrices, found_HW in (
        (scores.ensemble, labels_HW),
        (scores.reliable, np.where(reliable_HW, labels_HW, np.uint8(IGNORE))),
    ):
        matrix = ConfusionMatrix(classes)
        matrix.add(truth_HW, found_HW)
        matrices.append(matrix.matrix)


def row(name: str, own: Scores, default: Scores, blend: Scores, classes: LabelSet) -> dict[str, Any]:
    """One option's figures, in per cent, with 95 % intervals of its change against the default over the panoramas."""
    total = ConfusionMatrix(len(classes))
    total.matrix = own.matrices_NCC.sum(axis=0)
    reliable = own.reliable_right_N2.sum(axis=0)
    changes = class_changes(classes.names, blend.matrices_NCC, own.matrices_NCC)
    return {
        "option": name,
        "miou": 100 * total.miou,
        "miou change": _percent(miou_change_interval(default.matrices_NCC, own.matrices_NCC)),
        "pixels": 100 * total.accuracy,
        "pixels change": _percent(ratio_change_interval(default.right_N2, own.right_N2)),
        "reliable right": 100 * reliable[0] / reliable[1],
        "reliable coverage": 100 * reliable[1] / total.matrix.sum(),
        "classes that lose": {change.name: 100 * change.change for change in changes if change.change < -LOSS},
    }


def _percent(interval: tuple[float, float]) -> list[float]:
    return [100 * end for end in interval]


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| fusion | mIoU, % | change | pixels, % | change | reliable: right / of all, % | classes that lose |",
             "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]  # fmt: skip
    for own in rows:
        losing = ", ".join(f"{name} {change:+.1f}" for name, change in own["classes that lose"].items())
        lines.append(
            f"| {own['option']} | {own['miou']:.1f} | {_change(own['miou change'])} | {own['pixels']:.1f} | "
            f"{_change(own['pixels change'])} | {own['reliable right']:.1f} / {own['reliable coverage']:.1f} | "
            f"{losing or 'none'} |"
        )
    return "\n".join(lines)


def _change(interval: list[float]) -> str:
    low, high = interval
    return f"{low:+.2f} to {high:+.2f}" if low or high else ""


if __name__ == "__main__":
    main()
