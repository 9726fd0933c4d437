"""Commands for a cache: `goodsam verify`, `runs` and `gc`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import counted
from stages.cli_options import CacheOption, RecipeArgument, SetOption, open_run_of

CACHE = Path("cache")
CacheFolderOption = Annotated[Path, typer.Option("--cache", help="Folder of the runs.")]


def verify(
    recipe: RecipeArgument = "demo",
    cache: CacheOption = None,
    set_: SetOption = None,
    discard: Annotated[
        bool, typer.Option(help="Remove what is damaged, so that teacher-cache recomputes it; repair group files.")
    ] = False,
) -> None:
    """Read the whole teacher cache that a run shares, and check every checksum."""
    from stages.listeners import ProgressConsole
    from stages.verify import verify as stage

    with closing(ProgressConsole()) as listener:  # no log: a cache that may only be read can be verified too
        problems = stage(open_run_of(recipe, cache, set_), listener, remove=discard)
    for problem in problems:
        typer.echo(problem, err=True)
    mended = ", mended: damaged panoramas are removed, group files written anew" if problems and discard else ""
    typer.echo(f"{counted(len(problems), 'problem')}{mended}")
    if problems and not discard:
        raise typer.Exit(1)


def runs(cache: CacheFolderOption = CACHE) -> None:
    """List the runs of a cache and their students: settings in which they differ, and what was measured."""
    from stages.overview import overview, text_of

    found = overview(cache)
    typer.echo(text_of(found) if found else f"{cache} has no runs")


def gc(
    cache: CacheFolderOption = CACHE,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
) -> None:
    """List what no run of a cache refers to: products of old settings, lost panoramas, results of deleted runs."""
    from stages.garbage import find_garbage, remove_garbage

    found = remove_garbage(cache) if remove else find_garbage(cache)
    for garbage in found:
        typer.echo(f"{garbage.size / 1e6:10.1f} MB  {garbage.path}  ({garbage.reason})")
    total = sum(garbage.size for garbage in found) / 1e6
    if not found:
        typer.echo(f"every result in {cache} is some run's")
    elif remove:
        typer.echo(f"removed {total:.1f} MB")
    else:
        typer.echo(f"{total:.1f} MB that no run refers to; --remove removes them")
