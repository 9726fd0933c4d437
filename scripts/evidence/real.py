"""What can be said of real panoramas without a label: how well predictions fit SAM's masks, turn with the camera and
close at the seam, and how much they cover; and pictures of the panoramas that fit the masks worst.

<out>/
    cache/real/            the run, as `scripts.real_check` sets it up; cache/real-mobile-sam-<points>/ with MobileSAM
    <part>/<of what>.json  what was measured
    <part>/pictures/       the most doubtful panoramas, the worst first

Legend: C classes, N scored pixels.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.evaluate.metrics import best_class
from pipeline.evaluate.overlay import Scene, comparison, scene_panels
from pipeline.tune.scores import corrected_purity
from scripts.evidence.study import MOBILE_SAM, Need
from scripts.evidence.tables import Record
from scripts.evidence.truth import with_data
from scripts.evidence.work import tell
from scripts.real_check import real_run
from stages.doubtful import scored_masks
from stages.evaluate import evaluate
from stages.files import write_picture, write_whole
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import evaluation_panoramas
from stages.teacher_cache import teacher_cache


@dataclass(frozen=True)
class RealPart:
    """A part of the study on real panoramas."""

    title: str
    """Its heading."""
    needs: tuple[Need, ...] = ()
    """Files without which it is skipped."""
    points: int = 0
    """Points per side of MobileSAM; 0: the demo SAM finds the masks."""


REAL = {
    "real": RealPart("Real panoramas"),
    "real-mobile-sam": RealPart("Real panoramas, MobileSAM with 16 x 16 points", (MOBILE_SAM,), points=16),
    "real-mobile-sam-8": RealPart("Real panoramas, MobileSAM with 8 x 8 points", (MOBILE_SAM,), points=8),
}
"""Every part by its name on the command line."""
QUESTION = (
    "What do scores that need no labels say of them? Purity of SAM's masks, corrected for chance (they have painted the"
    " ensemble, so that its own flatters it); labels that change when the camera turns; rows whose label breaks at the"
    " seam, beside neighbouring columns elsewhere."
)


def measure_real(name: str, data: Path, out: Path, panoramas: int, turned: int, workers: int) -> Record:
    """Stage one on real panoramas and its scores without labels; what was measured before is found again.

    Args:
        name: of the part, one of `REAL`.
        data: as `scripts.real_check` takes it.
        out: folder of the study.
        panoramas: use the first ones, this many; 0: all.
        turned: stage one is computed again for so many of them, with the camera turned.
        workers: processes of stage one.

    Raises:
        GoodSAMError: data cannot be used, or stage one fails.
    """
    points = REAL[name].points
    weights = Path(MOBILE_SAM.path).absolute() if points else None
    run = real_run(data, out / "cache", steps=0, limit=panoramas, sam=weights, points=points)
    run = with_data(run, labels="")
    shown = replace(run.recipe.evaluation, overlays=0, yaw_panoramas=turned)
    run = replace(run, recipe=replace(run.recipe, evaluation=shown))
    teacher_cache(run, tell, workers=workers)
    reader = RunReader.open(run, evaluation_panoramas(run.recipe))
    file = out / name / f"{reader.content_fingerprint()}-{turned}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(_measured(run, reader)))
    record: Record = json.loads(file.read_text())
    draw(reader, [one["id"] for one in record["doubtful"]], file.parent / "pictures")
    return record


def _measured(run: Run, reader: RunReader) -> Record:
    found = evaluate(run, tell)
    agreement, purities = found.metrics["agreement"], _purities(reader)
    turns: list[dict[str, Any]] = found.metrics.get("yaw", [])
    rungs = {
        rung: {
            "purity": purities.get(rung),
            "changed by turning": [turn["rungs"][rung]["label"] for turn in turns if rung in turn["rungs"]],
            "seam": agreement["seam"][rung],
            "neighbours": agreement["neighbours"][rung],
            "coverage": coverage,
        }
        for rung, coverage in agreement["coverage"].items()
    }
    masks = {one: sum(len(of_view) for of_view in reader.masks(one)) for one in reader.ids}
    return {"panoramas": len(reader.ids), "masks": masks, "rungs": rungs,
            "doubtful": [asdict(one) for one in found.doubtful]}  # fmt: skip


def _purities(reader: RunReader) -> dict[str, float]:
    """Purity of SAM's masks under the labels of each rung that covers everything, the mean over the panoramas."""
    found: dict[str, list[float]] = {}
    for panorama_id in reader.ids:
        teacher = reader.teacher(panorama_id)
        scored_HW, masks = scored_masks(reader, panorama_id, teacher.ignored_HW)
        rungs = {
            "assistant_whole": best_class(teacher.whole_CHW)[0],
            "assistant_blend": best_class(teacher.assistant_CHW)[0],
            "ensemble": teacher.ensemble_HW,
        }
        for rung, labels_HW in rungs.items():
            votes_MC = masks.votes(labels_HW[scored_HW], len(reader.recipe.classes))
            found.setdefault(rung, []).append(corrected_purity(votes_MC))
    return {rung: statistics.mean(one for one in own if not math.isnan(one)) for rung, own in found.items()}


def draw(reader: RunReader, ids: Sequence[str], folder: Path) -> None:
    """Write a picture of each panorama, numbered in this order: panorama, assistant, masks, ensemble.

    Args:
        reader: reads what stage one has stored.
        ids: the panoramas.
        folder: gets the pictures; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = reader.recipe.classes
    for number, panorama_id in enumerate(ids, start=1):
        teacher = reader.teacher(panorama_id)
        scene = Scene(
            reader.image(panorama_id),
            assistant_HW=best_class(teacher.assistant_CHW)[0],
            masks_HW=reader.mask_map(panorama_id),
            ensemble_HW=teacher.ensemble_HW,
            reliable_HW=teacher.reliable_HW | teacher.ignored_HW,
        )
        picture_HW3 = comparison(scene_panels(scene, classes), classes, title=panorama_id)
        write_picture(folder / f"{number:02d}-{Path(panorama_id).name}.png", Image.fromarray(picture_HW3))


def real_table(name: str, record: Record) -> str:
    """The scores of a part as Markdown, and the most doubtful panoramas."""
    counts = record.get("masks", {}).values()  # older records have none
    masks = f" of {min(counts)} to {max(counts)} masks" if counts else ""
    lines = [f"### {REAL[name].title}", "", f"{QUESTION} {record['panoramas']} panoramas{masks}.", "",
             "| rung | purity | changed by turning, % | seam / elsewhere, % of rows | coverage, % |",
             "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for name, rung in record["rungs"].items():
        purity = "" if rung["purity"] is None else f"{rung['purity']:.3f}"
        turned = ", ".join(f"{100 * share:.1f}" for share in rung["changed by turning"])
        lines.append(f"| {name} | {purity} | {turned} | {100 * rung['seam']:.1f} / {100 * rung['neighbours']:.1f} | "
                     f"{100 * rung['coverage']:.1f} |")  # fmt: skip
    lines += ["", "| most doubtful | purity of the blend | agreement |", "| --- | ---: | ---: |"]
    lines += [f"| {one['id']} | {one['purity']:.3f} | {one['agreement']:.3f} |" for one in record["doubtful"]]
    return "\n".join(lines)
