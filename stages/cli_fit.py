"""Commands that fit the assistant to a run's panoramas, without labels: `goodsam tune` and `goodsam adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import (
    CacheOption,
    DeviceOption,
    RecipeArgument,
    SetOption,
    WorkersOption,
    command_of,
    open_run_of,
)

OverwriteRecipeOption = Annotated[bool, typer.Option("--overwrite", help="Overwrite that file if it exists.")]


def tune(
    recipe: RecipeArgument = "demo",
    cache: CacheOption = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the recipe that is written; by default my.tuned.toml beside my.toml.", show_default=False
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Time limit, minutes; one panorama is looked at in any case.")
    ] = 20,
    panoramas: Annotated[int, typer.Option(min=1, help="Panoramas to look at, spread over the folder, at most.")] = 6,
    overwrite: OverwriteRecipeOption = False,
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the networks.")] = 1,
) -> None:
    """Choose without labels how much windows, whole image and perspective views count in the assistant's prediction.

    A few panoramas decide: by how well predictions fit SAM's masks, and how little they change when the camera turns.
    """
    import goodsam
    from stages.tuned_recipe import usual_file

    run, file = open_run_of(recipe, cache, set_), out or usual_file(recipe)
    result = goodsam.tune(run, file, minutes=minutes, panoramas=panoramas, overwrite=overwrite, device=device,
                          threads=threads)  # fmt: skip
    typer.echo(result.text(most=10))
    typer.echo(f"all {len(result.trials)} blends: {run.folder / 'tune' / 'table.md'}")
    typer.echo(result.verdict)
    typer.echo(f"recipe: {file}")


def adapt(
    recipe: RecipeArgument = "demo",
    cache: CacheOption = None,
    set_: SetOption = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, help="How often to adapt; with several, teacher caches are made as needed, with one it must exist."
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the recipe that is written; by default my.adapted.toml beside my.toml.", show_default=False
        ),
    ] = None,
    overwrite: OverwriteRecipeOption = False,
    workers: WorkersOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Train the assistant on its own teacher cache, without labels, and write a recipe with it if it is no worse.

    Held-out panoramas decide: by how well predictions fit SAM's masks, and how little they change when the camera
    turns. A killed run resumes from its last checkpoint.
    """
    import goodsam
    from stages.adapted_recipe import usual_file

    run, file = open_run_of(recipe, cache, set_), out or usual_file(recipe)
    found = goodsam.adapt(run, file, rounds=rounds, overwrite=overwrite, workers=workers, device=device)
    for number, result in enumerate(found, start=1):
        typer.echo(f"round {number}: {result.verdict}" if len(found) > 1 else result.verdict)
        if result.comparison:
            typer.echo(result.comparison.table())
        typer.echo(f"assistant: {result.network}")
        if result.file is None:
            typer.echo("it is not used: no recipe was written")
        else:
            typer.echo(f"recipe: {result.file}")
    written = [result.file for result in found if result.file]
    if written:
        typer.echo(f"next: {command_of('teacher-cache', str(written[-1]), cache, None)}")
