"""What each part of the method is worth, measured on scenes that nothing has seen: `make evidence`.

    python -m scripts.evidence                       all parts: hours on two cores; a killed run goes on where it was
    python -m scripts.evidence --only ladder         one part
    python -m scripts.evidence --only fusion --rows theta       some rows; the others stay as they were measured
    python -m scripts.evidence --quick               all parts with few scenes and short trainings: whether it works
    python -m scripts.evidence --real FOLDER         real panoramas too, in figures that need no labels (`real_check`)

Every variant of the demo's recipe goes through stage one and teaches students of several seeds; both are measured on
three disjoint ranges of scenes. Writes evidence.json (every figure, with date and machine), evidence.md (the tables)
and a picture of each part into cache/evidence/. Changes are 95 % intervals over the choice of panoramas, against the
part's first row; those of students are between the sums over the seeds that both have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.ladder import in_ladder_order
from scripts.bench.machine import machine_facts
from scripts.evidence.plots import plot
from scripts.evidence.real import REAL, measure_real, real_table
from scripts.evidence.scenes import Scenes
from scripts.evidence.study import PARTS, Part, Variant
from scripts.evidence.tables import STUDENT, STUDENT_START, Record, change, figures, losers, markdown, seeds_record
from scripts.evidence.work import Matrices, Study

QUICK = ("distill.steps=4", "distill.warmup_steps=1", "sam.points_per_side=4", "adapt.steps=3", "adapt.held_out=1",
         "evaluation.student_start=false")  # fmt: skip
"""Settings of a quick study, whose figures say nothing."""
NAMES = [*PARTS, *REAL]
"""The parts on the command line."""


def main(arguments: list[str] | None = None) -> None:
    """Do what is missing of the study, write and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="PART", help=", ".join(NAMES))
    rows = "besides each part's first row, those whose names contain one of the words; the others stay as they are"
    parser.add_argument("--rows", nargs="+", default=[], metavar="WORD", help=rows)
    parser.add_argument("--seeds", type=int, default=0, help="students of each row; 0: as many as each part asks for")
    parser.add_argument("--no-students", action="store_true", help="stage one alone")
    real = "panoramas/ and assistant/*.onnx of the parts of real panoramas, which are skipped without"
    parser.add_argument("--real", type=Path, metavar="FOLDER", help=real)
    parser.add_argument("--real-panoramas", type=int, default=0, help="the first ones, this many; 0: all")
    turned = "real panoramas whose camera is turned; each takes stage one's time twice again"
    parser.add_argument("--real-turned", type=int, default=2, help=turned)
    parser.add_argument("--quick", action="store_true", help="few scenes, short trainings: figures without meaning")
    parser.add_argument("--workers", type=int, default=2, help="processes of stage one")
    parser.add_argument("--threads", type=int, default=2, help="of a training")
    parser.add_argument("--out", type=Path, default=Path("cache/evidence"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    out: Path = options.out / "quick" if options.quick else options.out
    scenes = Scenes(out / "scenes", *((2, 1) if options.quick else (24, 8)))
    study = Study(out, scenes, options.workers, QUICK, 0) if options.quick else Study(out, scenes, options.workers)
    parts = [name for name in options.only if name in PARTS and has_what_it_needs(name)]
    if parts:
        scenes.render(options.workers)
    for name in parts:
        part = with_settings(some_rows(PARTS[name], options.rows))
        part = quick_rows(part) if options.quick else part
        has_none = options.no_students or not part.seeds
        seeds = 0 if has_none else options.seeds or (1 if options.quick else part.seeds)
        write(out, name, measure(study, replace(part, seeds=seeds), out, name))
    for name in [name for name in options.only if name in REAL]:
        _measure_real(name, options, out)
    if (out / "evidence.md").exists():
        print((out / "evidence.md").read_text())


def has_what_it_needs(name: str) -> bool:
    """Whether the files are there without which a part is skipped; it is said which ones are not."""
    part = PARTS[name] if name in PARTS else REAL[name]
    missing = [need for need in part.needs if not Path(need.path).exists()]
    for need in missing:
        print(f"{name}: skipped, for there is no {need.path} (`{need.remedy}` brings it)")
    return not missing


def _measure_real(name: str, options: argparse.Namespace, out: Path) -> None:
    """A part of real panoramas, where there are some, and its SAM."""
    if options.real is None:
        print(f"{name}: skipped, for --real names no folder of real panoramas")
    elif has_what_it_needs(name):
        count, turned = (2, 0) if options.quick else (options.real_panoramas, options.real_turned)
        write(out, name, measure_real(name, options.real, out, count, turned, options.workers))


def some_rows(part: Part, words: Sequence[str]) -> Part:
    """The part with its first row and those whose names contain one of the words; all of them without words."""
    chosen = [variant for variant in part.variants[1:] if not words or any(word in variant.name for word in words)]
    return replace(part, variants=(part.variants[0], *chosen))


def with_settings(part: Part) -> Part:
    """The part with the settings of every row in each of them."""
    variants = [replace(variant, settings=(*part.settings, *variant.settings)) for variant in part.variants]
    return replace(part, variants=tuple(variants), settings=())


def quick_rows(part: Part) -> Part:
    """The part without rows that ask for more than a quick study has: an average of the weights over many steps, or
    panoramas of their own."""
    kept = [variant for variant in part.variants
            if not variant.learn_from and not any("average" in setting for setting in variant.settings)]  # fmt: skip
    return replace(part, variants=tuple(kept))


def measure(study: Study, part: Part, out: Path, name: str) -> Record:
    """All rows of a part; what is there so far is written after each student.

    Args:
        study: does the work.
        part: its variants; the first is compared with.
        out: folder of the record.
        name: the part's name.
    """
    record: Record = {"rows": {}}
    first = part.variants[0]
    stages = {
        variant: study.stage_one(variant, part.controls if variant == first else (),
                                 only_held_out=not (part.seeds and variant.has_students))
        for variant in part.variants
    }  # fmt: skip
    students: dict[Variant, list[Matrices]] = {variant: [] for variant in part.variants}

    def write_rows() -> None:
        for variant in part.variants:
            before = first if variant != first else None
            record["rows"][variant.name] = _row(study, variant, stages, students, before) | costs[variant]
        write(out, name, record)

    costs = {variant: _costs(study, variant, part) for variant in part.variants}
    if part.controls:
        record["rungs"] = _rungs(study, part, *stages[first])
    write_rows()
    for seed in range(part.seeds):  # all rows have as many, should the study be cut short
        for variant in part.variants:
            if variant.has_students:
                students[variant].append(study.student(variant, seed))
                write_rows()
    return record


def _rungs(study: Study, part: Part, matrices: Matrices, ids: Sequence[str]) -> Record:
    """Figures of the rungs of a part's first variant, and of the part's blends after the assistant's whole image."""
    blends = {of.name: study.stage_one(of, only_held_out=True)[0]["assistant_blend"] for of in part.blends}
    known = matrices | (study.start() if part.seeds else {})
    in_order = {rung: known[rung] for rung in in_ladder_order(known)}
    labelled = int(matrices["assistant_blend"].sum())
    shown = {"assistant_whole": matrices["assistant_whole"]} | blends | in_order
    return {rung: figures(matrices_NCC, ids, labelled) for rung, matrices_NCC in shown.items()}


def _costs(study: Study, variant: Variant, part: Part) -> Record:
    """What a variant is drawn over, where the part has something."""
    if part.over == "seconds":
        return {"seconds": study.seconds(variant)}
    return {"steps": study.run(variant).recipe.distill.steps} if part.over == "steps" else {}


def _row(
    study: Study,
    variant: Variant,
    stages: Mapping[Variant, tuple[Matrices, list[str]]],
    students: Mapping[Variant, Sequence[Matrices]],
    before: Variant | None,
) -> Record:
    """A variant's figures, and their changes from those of `before`."""
    matrices, ids = stages[variant]
    blend, ensemble, reliable = (matrices[rung] for rung in ("assistant_blend", "ensemble", "ensemble_reliable"))

    def changed(rung: str) -> Record:
        ends = change(stages[before][0][rung], matrices[rung]) if before else []
        return figures(matrices[rung], ids) | {"change": ends}

    return {
        "settings": list(variant.settings),
        "about": study.about(variant),
        "ensemble": changed("ensemble") | {"change from the blend": change(blend, ensemble)},
        "ensemble_reliable": figures(reliable, ids, int(blend.sum())),
        "assistant_blend": changed("assistant_blend"),
        "assistant_whole": changed("assistant_whole"),
        "classes that lose": losers(study.run(variant).recipe.classes.names, blend, ensemble),
        "student": _student_record(students[variant], students[before] if before else [], ensemble, ids),
        "student_start": _start_record(study, variant, ids) if students[variant] else None,
    }


def _student_record(
    students: Sequence[Matrices], before: Sequence[Matrices], ensemble: npt.NDArray[np.int64], ids: Sequence[str]
) -> Record | None:
    if not students:
        return None
    own = [found[STUDENT] for found in students]
    pairs = [(one[STUDENT], other) for one, other in zip(before, own, strict=False)]  # of the seeds that both have
    ends = change(*(np.sum(side, axis=0) for side in zip(*pairs, strict=True))) if pairs else []
    beside = change(ensemble, np.sum(own, axis=0))
    return seeds_record(own, ids) | {"change": ends, "change from the ensemble": beside}


def _start_record(study: Study, variant: Variant, ids: Sequence[str]) -> Record | None:
    """Figures of a row's student before it learns."""
    return figures(study.start(variant)[STUDENT_START], ids) if variant.has_students else None


def write(out: Path, name: str, record: Record) -> None:
    """Put a part's record into evidence.json, all tables into evidence.md, and the part's picture beside them; rows
    that the record lacks stay, where the plan has them still."""
    path = out / "evidence.json"
    known = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    facts = {"date": date.today().isoformat(), "commit": commit(), **machine_facts("cpu")}
    record = with_rows_of_before(name, record, known["parts"].get(name, {})) | {"measured": facts}
    known["parts"][name] = record
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1))
    ordered = {part: known["parts"][part] for part in PARTS if part in known["parts"]}
    real = [real_table(part, known["parts"][part]) for part in REAL if part in known["parts"]]
    (out / "evidence.md").write_text("\n\n".join(filter(None, [markdown(PARTS, ordered), *real])) + "\n")
    if name in PARTS:
        plot(PARTS[name], record, out / f"{name}.svg")


def with_rows_of_before(name: str, record: Record, before: Record) -> Record:
    """The record of a part with those rows of an earlier one that it lacks and that the plan has with these settings,
    each with what was `measured` when; all in the order of the plan."""
    if name not in PARTS or "rows" not in before:
        return record
    plan, rows = with_settings(PARTS[name]).variants, dict(record["rows"])
    for variant in plan:
        row = before["rows"].get(variant.name)
        if row and variant.name not in rows and row["settings"] == list(variant.settings):
            rows[variant.name] = {"measured": before.get("measured")} | row
    order = [variant.name for variant in plan if variant.name in rows]
    return record | {"rows": {row: rows[row] for row in dict.fromkeys([*order, *rows])}}


def commit() -> str:
    """The commit that is checked out; empty outside a repository."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True,
                           text=True, check=False)  # fmt: skip
    return asked.stdout.strip()


if __name__ == "__main__":
    main()
