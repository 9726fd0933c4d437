"""Settings and assistants fitted to a run's own panoramas, without labels: `goodsam.tune` and `goodsam.adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from goodsam.listening import heard

if TYPE_CHECKING:
    from stages.adapt import AdaptRound
    from stages.events import Listener
    from stages.runs import Run
    from stages.tune import TuneResult


def tune(
    run: Run,
    out: str | Path,
    listener: Listener | None = None,
    *,
    minutes: float = 20,
    panoramas: int = 6,
    overwrite: bool = False,
    device: str = "auto",
    threads: int = 1,
) -> TuneResult:
    """Choose settings of a run by what SAM's masks say of a few panoramas, and write a recipe with them.

    Args:
        run: as `open_run` gives it; its stage one need not have run.
        out: file of the recipe that is written, ending with .toml.
        listener: called with every event (`stages.events`); None: progress on the standard error, and every event in
            the run's log.jsonl.
        minutes: that it may take; one panorama is done in any case.
        panoramas: how many are looked at, at most, spread over the folder.
        overwrite: whether `out` may be there already.
        device: cpu, cuda, cuda:1, or auto (cuda where there is one).
        threads: of the networks.

    Returns:
        The `recipe`, a `verdict` in a sentence, and what was tried (`text()`).

    Raises:
        InputError: `out` is there already, or no panorama can be used.
        GoodSAMError: see its message.
    """
    from stages.demo_world import world_needed
    from stages.splits import require_learning_folder
    from stages.tuned_recipe import require_free

    require_free(Path(out), overwrite)
    with heard(listener, run.folder) as hearing, world_needed(run):
        require_learning_folder(run.recipe)
        from stages.tune import tune as stage  # last: torch and transformers take seconds of a processor

        return stage(run, hearing, Path(out), minutes=minutes, panoramas=panoramas, overwrite=overwrite, device=device,
                     threads=threads)  # fmt: skip


def adapt(
    run: Run,
    out: str | Path,
    listener: Listener | None = None,
    *,
    rounds: int = 1,
    overwrite: bool = False,
    workers: int = 0,
    device: str = "auto",
) -> list[AdaptRound]:
    """Train the assistant of a run on its own teacher cache, and write a recipe with it where it is no worse.

    A killed training resumes from its last checkpoint.

    Args:
        run: one whose stage one has run.
        out: file of the recipe that is written, ending with .toml; those of further rounds are named after it.
        listener: as for `tune`.
        rounds: of teacher cache and adaptation.
        overwrite: whether `out` may be there already.
        workers: processes of the teacher caches between rounds; 0 works in this one.
        device: as for `tune`.

    Returns:
        Per round the adapted `network`, its `comparison` with the one before, a `verdict` in a sentence, and the `file`
        of the recipe (None where none was written).

    Raises:
        RecipeError: the recipe's assistant cannot be trained.
        CacheError: the cache has nothing of this recipe.
        GoodSAMError: see its message.
    """
    from stages.adapted_recipe import require_trainable
    from stages.demo_world import world_needed
    from stages.splits import require_learning_folder

    require_trainable(run.recipe)
    with heard(listener, run.folder) as hearing, world_needed(run):
        require_learning_folder(run.recipe)
        from stages.adapt import adapt as stage  # last, as in `tune`

        return stage(run, hearing, Path(out), rounds=rounds, overwrite=overwrite, workers=workers, device=device)
