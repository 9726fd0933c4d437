"""`goodsam adapt`: the assistant trained on its own teacher cache, without labels, and compared with the one before.

A round: the cached ensemble teaches the assistant; the adapted assistant is judged on held-out panoramas by what needs
no label; if it is no worse, a recipe with it is written, whose teacher cache the next round learns from.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapt.network import labels_of
from pipeline.classes import label_set
from pipeline.errors import counted
from pipeline.recipe import Recipe
from stages.adapt_comparison import Comparison, compare
from stages.adapt_data import CachedSamples, split_for_comparison, ways
from stages.adapt_training import STAGE, AdaptJob, train_assistant
from stages.adapted_recipe import adapted, is_written, require_place, require_trainable, usual_file
from stages.claims import exclusive_lock
from stages.devices import choose_device
from stages.distill import note_left_out
from stages.events import Listener, Note, to_all
from stages.listeners import TensorBoard
from stages.reading import RunReader
from stages.runs import ASSISTANTS, Run
from stages.splits import SplitPanorama, learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.tuned_recipe import write_recipe


@dataclass(frozen=True)
class AdaptRound:
    """What one round gave."""

    network: Path
    """Folder of the adapted network, which `assistant.name` can name."""
    recipe: Recipe
    """The recipe with it."""
    comparison: Comparison | None
    """With the assistant before; None where no panoramas were held out."""
    file: Path | None
    """The recipe's file; None where the adapted assistant is worse, so that none is written."""

    @property
    def is_used(self) -> bool:
        """Whether the recipe with the adapted assistant was written."""
        return self.file is not None

    @property
    def verdict(self) -> str:
        """What is known of the adapted assistant, in a sentence without a full stop."""
        return (
            self.comparison.verdict
            if self.comparison
            else "the adapted assistant was not compared (adapt.held_out = 0)"
        )


def adapt(
    run: Run, listener: Listener, out: Path, *, rounds: int = 1, overwrite: bool = False, workers: int = 0,
    device: str = "cpu",
) -> list[AdaptRound]:  # fmt: skip
    """Adapt a run's assistant, and write a recipe with it. A killed call goes on where it stopped.

    Args:
        run: recipe and folder, with a teacher cache; with several rounds it is made or completed.
        listener: hears the events.
        out: file of the recipe that the first round writes; the next rounds' are named after it.
        rounds: how many: between them the teacher cache is made anew. A round that is worse is the last.
        overwrite: whether `out` may be there already.
        workers: worker processes of the teacher cache.
        device: as `choose_device` takes it.

    Returns:
        The rounds; only the last may be worse, and not be used.

    Raises:
        GoodSAMError: an ONNX assistant, no panoramas, no cache of this recipe, unusable weights, or as training, stage
            one and comparison.
    """
    require_trainable(run.recipe)
    device, found = choose_device(device), list[AdaptRound]()
    while True:
        if rounds > 1:
            teacher_cache(run, listener, workers=workers, device=device)
        found.append(adapt_once(run, listener, out, overwrite=overwrite, device=device))
        if len(found) == rounds or not found[-1].is_used:
            return found
        run = Run(found[-1].recipe, run.cache / found[-1].recipe.name)
        out = usual_file(str(out))


def adapt_once(run: Run, listener: Listener, out: Path, *, overwrite: bool, device: str) -> AdaptRound:
    """One round; arguments and errors as of `adapt`."""
    recipe, panoramas = run.recipe, learning_panoramas(run.recipe)
    cached = RunReader.open(run, panoramas)
    learned, held_out = split_for_comparison(panoramas, cached, recipe.adapt.held_out)
    job = adapt_job(run, cached.of(learned), device)
    require_place(out, job.folder.final, overwrite)
    with exclusive_lock(job.folder.path, STAGE, run.cache):
        run.record_recipe()
        run.record_assistant(job.fingerprint)
        note_left_out(STAGE, panoramas, cached.ids, listener)
        if set(held_out) & set(learned):
            listener(Note(STAGE, f"{counted(len(learned), 'panorama')}, too few to hold some out: the assistants are "
                                 "compared on what they were trained on"))  # fmt: skip
        with closing(TensorBoard(job.folder.path / "tensorboard")) as curves:
            network = train_assistant(job, to_all(listener, curves))
        with_it = adapted(recipe, network, labels_of(recipe.assistant, label_set(recipe.assistant.label_set)))
        comparison = _compared(run, with_it, cached, held_out, job, listener) if held_out else None
    return _conclude(out, AdaptRound(network, with_it, comparison, None), overwrite, listener)


def _compared(
    run: Run, adapted: Recipe, cached: RunReader, held_out: list[SplitPanorama], job: AdaptJob, listener: Listener
) -> Comparison:
    content = cached.of(held_out).content_fingerprint()
    return compare(run, adapted, held_out, content, job.folder.path, listener, job.device)


def adapt_job(run: Run, reader: RunReader, device: str = "cpu") -> AdaptJob:
    """What determines the adapted assistant of a run.

    Args:
        run: recipe and folder.
        reader: reads the panoramas to learn from.
        device: torch device.
    """
    recipe = run.recipe
    return AdaptJob(
        assistants=run.cache / ASSISTANTS,
        ids=reader.ids,
        read=CachedSamples(reader),
        data_fingerprint=reader.content_fingerprint(),
        label_set=recipe.classes,
        assistant=recipe.assistant,
        ways=ways(recipe),
        adapt=recipe.adapt,
        device=device,
    )


def _conclude(out: Path, found: AdaptRound, overwrite: bool, listener: Listener) -> AdaptRound:
    """Write the recipe of a round, unless it is worse, or there already and not to be overwritten."""
    if found.comparison is not None and not found.comparison.is_better:
        listener(Note(STAGE, f"{found.verdict}; it is not used, the recipe stays as it is"))
        return found
    if overwrite or not is_written(out, found.network):
        write_recipe(out, found.recipe, STAGE, found.verdict)
    return AdaptRound(found.network, found.recipe, found.comparison, out)
