"""Options of commands, and a word about what was set aside."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stages.runs import Run

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="Built-in recipe (demo, street, goodsam, goodsam-figure, goodsam-plus-plus) or a TOML file, whose "
        "relative paths count from its folder."
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of the runs; by default: cache next to the recipe's file, or in the current folder for "
        "built-in recipes.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, as in fusion.theta=0.6; paths count from the current folder."),
]

DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto (cuda where there is one).")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Worker processes on this machine; 0 works in this process.")]
PositionsOption = Annotated[
    Path | None,
    typer.Option(help="CSV of where panoramas were taken: path, latitude, longitude, ...; else their EXIF says it."),
]


def count_failures(failed: dict[str, str]) -> None:
    """Say how many panoramas were set aside; the listener has reported each with its reason."""
    if failed:
        typer.echo(f"{len(failed)} set aside, for the reasons above", err=True)


def open_run_of(recipe: str, cache: Path | None, set_: list[str] | None) -> Run:
    """The run of a recipe; says so where the current folder's cache has one of that name and the recipe's has not.

    Raises:
        RecipeError: no such recipe, or a setting is refused.
    """
    from stages.runs import open_run, run_left_in_current_folder

    run = open_run(recipe, cache, tuple(set_ or ()))
    if cache is None and not run.panoramas.exists() and (note := run_left_in_current_folder(run)):
        typer.echo(f"note: {note}", err=True)
    return run


def command_of(name: str, recipe: str, cache: Path | None, set_: list[str] | None) -> str:
    """A command line for the same run, as a user would type it."""
    options = [*(["--cache", str(cache)] if cache else []), *(part for pair in set_ or () for part in ("--set", pair))]
    return shlex.join(["goodsam", name, recipe, *options])
