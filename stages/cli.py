"""The command line: `goodsam COMMAND`. A command is a thin shell over a stage; heavy imports wait until one runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import __version__
from stages import torchrun
from stages.cli_before import doctor, init, plan, status
from stages.cli_cache import gc, runs, verify
from stages.cli_export import export, export_onnx
from stages.cli_fit import adapt, tune
from stages.cli_import import import_labels
from stages.cli_options import (
    CacheOption,
    DeviceOption,
    RecipeArgument,
    SetOption,
    WorkersOption,
    count_failures,
    open_run_of,
)
from stages.cli_predict import predict
from stages.cli_report import report
from stages.cli_train import train_assistant

if TYPE_CHECKING:
    from stages.listeners import RunListeners

app = typer.Typer(
    name="goodsam",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's boxes cost half of what `goodsam --help` takes
)

CACHE = Path("cache")
INTERRUPTED = 130
"""Exit code of a run stopped by Ctrl-C, as shells have it."""


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"goodsam {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def front(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """From a folder of unlabelled 360-degree panoramas to a compact semantic segmentation network."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def world(
    recipe: RecipeArgument = "demo",
    cache: CacheOption = None,
    learning: Annotated[int, typer.Option(min=1, help="Unlabelled panoramas to learn from.")] = 24,
    evaluation: Annotated[int, typer.Option(min=1, help="Labelled panoramas to evaluate on.")] = 8,
    workers: WorkersOption = 0,
) -> None:
    """Render the demo world's panoramas into cache/<run>/world."""
    from stages.world import render_world

    run = open_run_of(recipe, cache, None)
    with _listeners(run.folder) as listener:
        render_world(run.folder / "world", learning, evaluation, listener, workers=workers)
    rendered, wanted = run.folder / "world" / "panoramas", Path(run.recipe.data.panoramas)
    if rendered.resolve() != wanted.resolve():
        typer.echo(f"note: panoramas are in {rendered}, but data.panoramas of the recipe is {wanted}", err=True)


@app.command("teacher-cache", short_help="Stage one: SAM and assistant, fused and cached.")
def teacher_cache(
    recipe: RecipeArgument = "demo",
    cache: CacheOption = None,
    set_: SetOption = None,
    workers: WorkersOption = 0,
    scheduler: Annotated[str, typer.Option(help="Address of a running dask scheduler, tcp://host:port.")] = "",
    device: DeviceOption = "auto",
    threads: Annotated[
        int, typer.Option(min=1, help="Threads per process; on a CPU, --workers uses cores better.")
    ] = 1,
) -> None:
    """Stage one: SAM and assistant over windows, rectified, fused and cached. A rerun does only what is missing."""
    run = open_run_of(recipe, cache, set_)
    import goodsam

    summary = goodsam.teacher_cache(run, workers=workers, scheduler=scheduler, device=device, threads=threads)
    count_failures(summary.failed)


@app.command()
def distill(
    recipe: RecipeArgument = "demo",
    cache: CacheOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
    track: Annotated[
        list[str] | None,
        typer.Option(help="Also write the curves for wandb, mlflow or trackio, offline; may be repeated."),
    ] = None,
) -> None:
    """Stage two: train the student from the cache. A killed run resumes from its last checkpoint.

    On several GPUs or machines: torchrun --nproc-per-node 2 -m stages.cli distill my.toml
    """
    import goodsam

    folder = goodsam.distill(open_run_of(recipe, cache, set_), device=device, track=track or ())
    if torchrun.rank() == 0:
        typer.echo(f"student: {folder}")


@app.command("eval", short_help="Measure each step; write tables and overlay pictures.")
def evaluate(
    recipe: RecipeArgument = "demo", cache: CacheOption = None, set_: SetOption = None, device: DeviceOption = "auto"
) -> None:
    """Measure each step from assistant to student, by labels where there are any; write tables and overlay pictures."""
    import goodsam

    typer.echo(goodsam.evaluate(open_run_of(recipe, cache, set_), device=device).table)


@app.command("fetch-weights", short_help="Download SAM's checkpoints and check their hash.")
def fetch_weights(
    names: Annotated[list[str], typer.Argument(help="vit_t (MobileSAM), vit_b, vit_l, vit_h.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoints.")] = CACHE / "weights",
    base_url: Annotated[str, typer.Option(help="Where to download from, such as a mirror.")] = "",
) -> None:
    """Download SAM's checkpoints, resuming interrupted downloads, and check their hash."""
    from stages.fetch_weights import fetch

    with _listeners(out) as listener:
        for name in names:
            typer.echo(fetch(name, out, listener, base_url=base_url))


app.command("predict", short_help="Run a network over a folder of panoramas.")(predict)
app.command(short_help="Write a commented recipe for a folder of panoramas.")(init)
app.command(short_help="Check this machine and what a recipe needs.")(doctor)
app.command(short_help="Estimate what a run still needs: hours, gigabytes.")(plan)
app.command(short_help="Show what of a run is done, stale, missing, set aside.")(status)
app.command("import-labels", short_help="Take corrected labels back from a labelling tool.")(import_labels)
app.command("export", short_help="Write the cached ensemble as maps, without a student.")(export)
app.command("report", short_help="Write maps and figures as a page that opens offline.")(report)
app.command("export-onnx", short_help="Write a student as one ONNX file, compared with torch.")(export_onnx)
app.command(short_help="Choose the assistant's blend without labels.")(tune)
app.command(short_help="Train the assistant on its own teacher cache, without labels.")(adapt)
app.command("train-assistant", short_help="Train a network on labelled perspective pictures.")(train_assistant)
app.command(short_help="Read a whole teacher cache and check every checksum.")(verify)
app.command(short_help="Compare the runs of a cache and their students.")(runs)
app.command(short_help="List or remove what no run of a cache refers to.")(gc)


@app.command("recipe", short_help="Print a recipe with all its settings, explained.")
def show_recipe(recipe: RecipeArgument = "demo", set_: SetOption = None) -> None:
    """Print a recipe with all its settings and what each means, as a start for one's own."""
    from pipeline.recipe import to_toml
    from stages.runs import open_recipe

    text = to_toml(open_recipe(recipe, tuple(set_ or ())), explained=True)
    typer.echo(text.encode(errors="surrogateescape"), nl=False)  # TOML is UTF-8, whatever the terminal takes


def main() -> None:
    """Run the command line; errors that a user can mend are one sentence, never a traceback."""
    from pipeline.errors import GoodSAMError, InputError
    from stages.memory import keep_freed_memory

    keep_freed_memory()
    try:
        app()
    except GoodSAMError as error:
        process = f" (process {torchrun.rank()})" if torchrun.rank() else ""
        typer.echo(f"error{process}: {error}", err=True)
        sys.exit(1)
    except PermissionError as error:  # in a folder that may not be entered, even asking whether a path is there raises
        refused = InputError(f"{error.filename} cannot be used ({error.strerror})",
                             "you need permission for it and the folders above it",
                             "Change their permissions, or choose another")  # fmt: skip
        typer.echo(f"error: {refused}", err=True)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer makes that of KeyboardInterrupt, without a word
            typer.echo("interrupted; what was done is kept, run the same command again to resume", err=True)
        raise


def _listeners(folder: Path) -> RunListeners:
    from stages.listeners import RunListeners

    return RunListeners(folder)


if __name__ == "__main__":
    main()
