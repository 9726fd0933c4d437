"""Commands for before and while a run works: `goodsam init`, `doctor`, `plan` and `status`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import counted
from stages.cli_options import CacheOption, DeviceOption, RecipeArgument, SetOption, open_run_of

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _print(found: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(found, indent=1) if as_json else text)


def status(
    recipe: RecipeArgument, cache: CacheOption = None, set_: SetOption = None, as_json: JsonOption = False
) -> None:
    """Show how many panoramas of a run are done, stale, missing or set aside, and why. Nothing is written."""
    run = open_run_of(recipe, cache, set_)
    import goodsam
    from stages.status import status_text

    found = goodsam.status(run)
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
    """Estimate what a run still needs: gigabytes, and hours from a sample that is timed; say why work is done again."""
    run = open_run_of(recipe, cache, set_)
    import goodsam
    from stages.plan import plan_text

    found = goodsam.plan(run, sample=sample, workers=workers, device=device)
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
    import goodsam
    from stages.doctor import PROBLEM, findings_text

    found = goodsam.doctor(run)
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
        Path | None,
        typer.Option(
            help="File of SAM's weights; by default that of `goodsam fetch-weights vit_b`, or without a GPU of "
            "`goodsam fetch-weights vit_t`."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented recipe for a folder, from what is found there: sizes, bands, rigs, positions, GPU."""
    import goodsam

    found = goodsam.init(folder, out, name=name, checkpoint=checkpoint)
    of = f" of {found.data_set}" if found.data_set else ""
    quoted = shlex.quote(str(out))
    told = (f"{out} is for {counted(found.panoramas, 'panorama')}{of}; next: goodsam doctor {quoted}, "
            f"goodsam plan {quoted}")  # fmt: skip
    _print(dataclasses.asdict(found), told, as_json)
