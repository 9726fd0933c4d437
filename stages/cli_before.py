"""Commands for before and while a run works: `goodsam init`, `doctor`, `plan` and `status`."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.cli_options import CacheOption, DeviceOption, RecipeArgument, SetOption, open_run_of
from stages.demo_world import world_needed

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _print(found: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(found, indent=1) if as_json else text)


def status(
    recipe: RecipeArgument, cache: CacheOption = None, set_: SetOption = None, as_json: JsonOption = False
) -> None:
    """Show how many panoramas of a run are done, stale, missing or set aside, and why. Nothing is written."""
    run = open_run_of(recipe, cache, set_)
    from stages.status import run_status, status_text

    with world_needed(run):
        found = run_status(run)
    _print(dataclasses.asdict(found), status_text(found), as_json)


def plan(
    recipe: RecipeArgument,
    cache: CacheOption = None,
    set_: SetOption = None,
    sample: Annotated[
        int,
        typer.Option(min=0, help="Missing panoramas to compute and time now, which stay in the cache; 0 for none."),
    ] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes that the estimate assumes.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Estimate what a run still needs, hours by a measured sample and gigabytes, and say why work is done again."""
    run = open_run_of(recipe, cache, set_)
    from contextlib import closing

    from stages.listeners import ProgressConsole
    from stages.plan import make_plan, plan_text

    with closing(ProgressConsole()) as listener, world_needed(run):
        found = make_plan(run, listener, sample=sample, workers=workers, device=device)
    _print(dataclasses.asdict(found), plan_text(found), as_json)
    if found.problems:
        raise typer.Exit(1)


def doctor(
    recipe: Annotated[
        str, typer.Argument(help="Also check what this recipe needs: a built-in one's name or a TOML file.")
    ] = "",
    cache: CacheOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine (versions, drivers, bfloat16, memory, disk) and, if named, a recipe's weights and classes."""
    run = open_run_of(recipe, cache, set_) if recipe else None
    from stages.doctor import PROBLEM, examine, findings_text

    found = examine(run)
    _print([dataclasses.asdict(finding) for finding in found], findings_text(found), as_json)
    if any(finding.state == PROBLEM for finding in found):
        raise typer.Exit(1)


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of panoramas, nested or flat; or the root of DensePASS, WildPASS, Stanford2D3D, SynPASS or "
            "Structured3D."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The recipe to write; never overwrites.")] = Path("my.toml"),
    name: Annotated[str, typer.Option(help="Name of the run; by default that of the recipe's file.")] = "",
    checkpoint: Annotated[
        Path, typer.Option(help="File of SAM's weights, as `goodsam fetch-weights vit_b` puts it.")
    ] = Path("cache/weights/sam_vit_b_01ec64.pth"),
    as_json: JsonOption = False,
) -> None:
    """Write a commented recipe for a folder, from what is found there: sizes, bands, rigs, positions, GPU."""
    from stages.data_sets import recognise
    from stages.init import found_as_json, recipe_text, survey_pictures, write_recipe

    data_set = recognise(folder)
    found = survey_pictures(data_set.panoramas, data_set.panoramas_only) if data_set else survey_pictures(folder)
    usual_name = re.sub(r"[^0-9A-Za-z_.-]+", "-", out.stem).strip(".-") or "my"
    write_recipe(out, recipe_text(found, name or usual_name, str(checkpoint.absolute()), data_set))
    of = f" of {data_set.name}" if data_set else ""
    told = f"{out} is for {found.panoramas} panoramas{of}; next: goodsam doctor {out}, goodsam plan {out}"
    _print({**found_as_json(found), "data_set": data_set.name if data_set else "", "recipe": str(out)}, told, as_json)
