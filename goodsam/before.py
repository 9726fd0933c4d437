"""Before and while a run works: `goodsam.init`, `doctor`, `plan` and `status`, which compute little or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from goodsam.listening import shown

if TYPE_CHECKING:
    from stages.doctor import Finding
    from stages.events import Listener
    from stages.init import WrittenRecipe
    from stages.plan import Plan
    from stages.runs import Run
    from stages.status import RunStatus


def init(
    folder: str | Path,
    out: str | Path = "my.toml",
    *,
    name: str = "",
    checkpoint: str | Path | None = None,
) -> WrittenRecipe:
    """Write a commented recipe for a folder, from what is found there: sizes, bands, rigs, positions, GPU.

    Args:
        folder: of panoramas, nested or flat; or the root of a data set that is known (DensePASS, WildPASS,
            Stanford2D3D, SynPASS, Structured3D).
        out: file of the recipe, ending with .toml; never overwritten.
        name: of the run; by default that of the file.
        checkpoint: file of SAM's weights, which need not be there yet; None for where `goodsam fetch-weights` puts
            them: ViT-B's, or MobileSAM's where there is no GPU.

    Returns:
        What was found (`panoramas`, `sizes`, `vertical_fov`, ...), the `data_set` that was recognised (empty for none)
        and the `recipe`, for `open_run`.

    Raises:
        InputError: the folder is not there or holds no panorama, or `out` is there already or of another ending.
        CacheError: the recipe cannot be written.
    """
    from stages.init import write_recipe_for

    return write_recipe_for(Path(folder), Path(out), name, Path(checkpoint) if checkpoint else None)


def doctor(run: Run | None = None) -> list[Finding]:
    """Check this machine (versions, drivers, bfloat16, memory, disk) and, if given, what a run needs. Nothing is
    downloaded or written.

    Args:
        run: as `open_run` gives it; None for the machine alone.

    Returns:
        Findings with a `state` (ok, note or problem), their `subject`, and a `text` that says what to do.
    """
    from stages.doctor import examine

    return examine(run)


def plan(
    run: Run, listener: Listener | None = None, *, sample: int = 1, workers: int = 0, device: str = "auto"
) -> Plan:
    """Estimate what a run still needs, and say why work is done again.

    Args:
        run: as `open_run` gives it.
        listener: called with every event (`stages.events`); None: progress on the standard error.
        sample: missing panoramas to compute and time now, which stay in the cache; 0 takes the last run's times.
        workers: processes that the estimate assumes.
        device: cpu, cuda, cuda:1, or auto (cuda where there is one).

    Returns:
        Panoramas that remain (`to_compute`), `hours` (None where nothing was measured), gigabytes of disk and memory,
        and `problems` that keep the run from working, a sentence each.

    Raises:
        InputError: there are no panoramas.
        CacheError: the cache is damaged, or stage one is running.
    """
    from stages.demo_world import world_needed
    from stages.plan import make_plan

    with shown(listener) as hearing, world_needed(run):
        return make_plan(run, hearing, sample=sample, workers=workers, device=device)


def status(run: Run) -> RunStatus:
    """How far a run is. No picture is read and nothing is written.

    Args:
        run: as `open_run` gives it.

    Returns:
        `panoramas` by state (done, stale, missing, set aside), those `set_aside` with the reasons, the `student`'s
        progress, and the mIoU of the latest `evaluation` by rung, 0 to 1.

    Raises:
        InputError: its folders of panoramas are not there, or empty.
        CacheError: the cache is damaged.
    """
    from stages.demo_world import world_needed
    from stages.status import run_status

    with world_needed(run):
        return run_status(run)
