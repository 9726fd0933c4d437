"""`goodsam import-labels`: corrected labels back from a labelling tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import counted
from stages.cli_options import CacheOption, RecipeArgument, SetOption, count_failures, open_run_of


def import_labels(
    recipe: RecipeArgument,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="Folder of PNGs, or an export of CVAT for images 1.1 or Label Studio (JSON)."
        ),
    ],
    cache: CacheOption = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of corrections; by default data.corrections or <run>/corrections.", show_default=False
        ),
    ] = None,
) -> None:
    """Store corrected labels, matched to the panoramas of a run by name and content; see data.corrections."""
    run = open_run_of(recipe, cache, set_)
    import goodsam

    summary = goodsam.import_labels(run, source, out)
    typer.echo(f"{counted(summary.stored, 'correction')} stored, {summary.known} known already: {summary.folder}")
    if summary.stored + summary.known and not run.recipe.data.corrections:
        typer.echo(f'Set data.corrections = "{summary.folder.absolute()}" to learn from them')
    count_failures(summary.failed)
