"""What needs no label says of an adapted assistant, beside the assistant before: on panoramas that were held out.

Purity of SAM's masks, corrected for chance, and agreement under a roll of the panorama, as `goodsam tune` has them: for
the blend that the recipe asks for, which decides, and for the whole image alone.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pipeline.cache.store import TeacherStore
from pipeline.errors import InputError, counted
from pipeline.recipe import Recipe
from pipeline.tune.blends import Blend, blend_of, parts_of
from pipeline.tune.judge import Judgement, mean_judgement
from stages.events import Listener, StageAdvanced, StageFinished, StageStarted, failure
from stages.files import write_whole
from stages.panorama_work import PanoramaTask
from stages.products import fingerprints
from stages.runs import Run
from stages.splits import SplitPanorama, survey_learning
from stages.teacher_cache import digests_of_own_masks
from stages.tune_parts import PartLibrary

STAGE = "adapt: comparison"
BLEND, WHOLE = "blend", "whole image"
"""What is judged of each assistant."""


@dataclass(frozen=True)
class Comparison:
    """Mean scores of both assistants over the held-out panoramas, by what is judged."""

    before: dict[str, Judgement]
    """Of the assistant that was adapted."""
    adapted: dict[str, Judgement]
    """Of the adapted one."""
    panoramas: tuple[str, ...]
    """Ids of those that they were judged on."""
    content: str = ""
    """Names their content; empty where an earlier version has judged."""

    @property
    def is_better(self) -> bool:
        """Whether the adapted assistant's blend scores at least as high."""
        return self.adapted[BLEND].score >= self.before[BLEND].score

    @property
    def verdict(self) -> str:
        """What the scores say, in a sentence without a full stop."""
        before, adapted = self.before[BLEND].score, self.adapted[BLEND].score
        word = "better" if adapted > before else "as good" if adapted == before else "worse"
        return (
            f"the adapted assistant is {word} by what needs no label: score {adapted:.4f}, before {before:.4f}, on "
            f"{len(self.panoramas)} panorama{'s' if len(self.panoramas) != 1 else ''}"
        )

    def table(self) -> str:
        """All scores as Markdown."""
        lines = ["| | score | purity | corrected for chance | roll agreement | classes |",
                 "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
        for kind in self.before:
            for name, judged in (("before", self.before[kind]), ("adapted", self.adapted[kind])):
                lines.append(
                    f"| {kind}, {name} | {judged.score:.4f} | {judged.purity:.4f} | {judged.corrected_purity:.4f} | "
                    f"{judged.roll:.4f} | {judged.classes:.1f} |"
                )
        return "\n".join(lines)


def compare(
    run: Run, adapted: Recipe, panoramas: Sequence[SplitPanorama], content: str, folder: Path, listener: Listener,
    device: str,
) -> Comparison:  # fmt: skip
    """Judge both assistants on some panoramas; once that is done, it is read until one of them changes.

    Args:
        run: of the recipe whose assistant was adapted; its cache has SAM's masks.
        adapted: the same recipe with the adapted assistant.
        panoramas: held out.
        content: names what their files hold.
        folder: of the adapted assistant; gets comparison.json and, until that is there, what was predicted.
        listener: hears the events.
        device: torch device.

    Raises:
        GoodSAMError: no panorama can be used, SAM has found no masks, or networks, device or store fail.
    """
    file, parts = folder / "comparison.json", folder / "parts.zarr"
    ids = tuple(panorama.id for panorama in panoramas)
    if (known := read_comparison(file)) and set(known.panoramas) <= set(ids) and known.content == content:
        return known
    began, store = time.monotonic(), TeacherStore.open(parts, "a")
    listener(StageStarted(STAGE, 2 * len(panoramas), "panoramas"))
    before, after = (
        _judge(run, recipe, panoramas, store, listener, device, done)
        for recipe, done in ((run.recipe, 0), (adapted, len(panoramas)))
    )
    both = tuple(panorama_id for panorama_id in ids if panorama_id in before and panorama_id in after)
    comparison = Comparison(_mean(before, both), _mean(after, both), both, content)
    write_whole(file, json.dumps(asdict(comparison), indent=1))
    write_whole(file.with_suffix(".md"), f"{comparison.table()}\n")
    for path in folder.glob(f"{parts.name}*"):  # the store, and what it keeps beside it
        shutil.rmtree(path)
    scores = {"before": comparison.before[BLEND].score, "adapted": comparison.adapted[BLEND].score}
    listener(StageFinished(STAGE, time.monotonic() - began, scores))
    return comparison


def read_comparison(file: Path) -> Comparison | None:
    """What an earlier call found; None where there is nothing, or it is damaged."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        before, adapted = ({kind: Judgement(**scores) for kind, scores in record[name].items()}
                           for name in ("before", "adapted"))  # fmt: skip
        return Comparison(before, adapted, tuple(record["panoramas"]), record.get("content", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _judge(
    run: Run, recipe: Recipe, panoramas: Sequence[SplitPanorama], store: TeacherStore, listener: Listener, device: str,
    done: int,
) -> dict[str, dict[str, Judgement]]:  # fmt: skip
    """Scores of a recipe's assistant by panorama, of those that can be used, and by what is judged."""
    library = PartLibrary(recipe, store)
    blends = {BLEND: blend_of(recipe.assistant, recipe.views), WHOLE: Blend(1.0, 0.0)}
    parts = {kind: parts_of(blend, recipe.assistant, recipe.views) for kind, blend in blends.items()}
    wanted = list(dict.fromkeys(part for own in parts.values() for part in own))
    judgements: dict[str, dict[str, Judgement]] = {}
    for number, task in enumerate(_tasks(run, recipe, panoramas, device), start=done + 1):
        started = time.monotonic()
        try:
            panorama = library.prepare(task, wanted)
        except InputError as error:
            listener(failure(STAGE, task.panorama.id, error))
            continue
        judgements[task.panorama.id] = {kind: panorama.judged.judge(blend, *library.read(panorama, parts[kind]))
                                        for kind, blend in blends.items()}  # fmt: skip
        listener(StageAdvanced(STAGE, number, task.panorama.id, time.monotonic() - started))
    if not judgements:
        raise InputError(f"none of {counted(len(panoramas), 'held-out panorama')} could be used",
                         "the reasons are listed above",
                         "Repair or replace the files, or set adapt.held_out = 0")  # fmt: skip
    return judgements


def _mean(judgements: Mapping[str, Mapping[str, Judgement]], ids: Sequence[str]) -> dict[str, Judgement]:
    """Mean scores over some panoramas, by what is judged.

    Raises:
        InputError: they have no score.
    """
    means = {kind: mean_judgement([judgements[panorama_id][kind] for panorama_id in ids]) for kind in (BLEND, WHOLE)}
    if math.isnan(means[BLEND].score):
        raise InputError(f"SAM finds no masks in {counted(len(ids), 'held-out panorama')}",
                         "assistants are compared by how well their predictions fit these",
                         "Check SAM on a few panoramas with `goodsam teacher-cache` and `goodsam eval`, or set "
                         "adapt.held_out = 0")  # fmt: skip
    return means


def _tasks(run: Run, recipe: Recipe, panoramas: Sequence[SplitPanorama], device: str) -> list[PanoramaTask]:
    masks = survey_learning(recipe).ignore_masks(recipe)
    own, prints = digests_of_own_masks(masks, panoramas), fingerprints(recipe)
    return [
        PanoramaTask(panorama, recipe, run.store.resolve(), prints, device, torch.get_num_threads(),
                     str(masks.of(panorama.path) or ""), own.get(panorama.id, ""))
        for panorama in panoramas
    ]  # fmt: skip
