"""`goodsam tune`: the blend of the assistant that agrees best with SAM's masks, found without labels on some panoramas.

<run>/tune/
    parts.zarr         the assistant's prediction of every panorama from every part of a blend
    judgements.jsonl   the scores of every blend on every panorama
    masks.jsonl        which of the masks in the shared store are its own, too: `gc` leaves them
    sureness.jsonl     how sure the assistant is of every group of views, and of the whole image there
    table.md           what was tried

A part (whole image, windows, a group of perspective views) is predicted once per panorama; the many blends are weighted
sums of these. A killed run finds what it has done and goes on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from pipeline.errors import InputError, counted
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from pipeline.tune.blends import Blend, blend_of, parts_of
from pipeline.tune.judge import Judgement
from pipeline.tune.parts import GROUPS, WINDOWS, Part
from pipeline.tune.report import LEGEND, Trial, groups_table, table, verdict
from pipeline.tune.search import Search, choose, variants
from pipeline.tune.sureness import Comparison, Sureness, compare, less_sure, sureness
from stages.claims import exclusive_lock
from stages.devices import choose_device, describe_device
from stages.events import Item, Listener, Note, StageAdvanced, StageFinished, StageStarted, failure
from stages.files import mask_digest, write_whole
from stages.panorama_task import check_assistant
from stages.panorama_work import PanoramaTask
from stages.products import fingerprints
from stages.runs import Run, refuse_old_layout
from stages.splits import survey_learning
from stages.teacher_cache import digests_of_own_masks
from stages.tune_masks import MASKS_FILE, MaskEntries
from stages.tune_parts import PartLibrary, TunedPanorama
from stages.tune_record import Scores
from stages.tuned_recipe import require_free, tuned, write_recipe

STAGE, BLENDS = "tune", "tune: blends"
VERSION = 2
"""Raised when the code changes how blends are judged."""
_SHARE_FOR_PANORAMAS = 0.75
"""Share of the time after which no further panorama is begun; the rest is for the blends."""
_AT_ONCE = 8
"""Blends that are judged on all panoramas before the clock is asked."""


@dataclass(frozen=True)
class TuneResult:
    """What a search found."""

    recipe: Recipe
    """The recipe with the chosen blend, as it was written."""
    best: Blend
    """The choice."""
    current: Blend
    """The blend of the recipe that was tuned."""
    trials: dict[Blend, Trial]
    """All that was tried."""
    collapsed: tuple[Blend, ...]
    """Blends that were refused."""
    groups: dict[str, Comparison]
    """How sure the assistant is of each group of views; those of which it is less sure than of the whole image have no
    weight."""

    @property
    def verdict(self) -> str:
        """How far the choice is ahead, in a sentence."""
        return verdict(self.trials, self.current, self.best)

    def text(self, most: int = 0) -> str:
        """What was tried as a table, and what its columns are.

        Args:
            most: rows, apart from the choice's and the recipe's; 0 for all.
        """
        tried = table(self.trials, self.current, self.best, self.collapsed, most)
        return f"{tried}\n{LEGEND}\n\n{groups_table(self.groups)}"


class Budget:
    """Time that a search may take."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now.

        Args:
            minutes: how much there is.
            clock: tells seconds.
        """
        self._clock, self._seconds, self._began = clock, minutes * 60, clock()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def has_room_for(self, seconds: float, share: float = 1.0) -> bool:
        """Whether something that takes so many seconds ends within a share of the time."""
        return self.spent + seconds <= share * self._seconds


def tune(
    run: Run, listener: Listener, out: Path, *, minutes: float = 20, panoramas: int = 6, overwrite: bool = False,
    device: str = "cpu", threads: int = 1, clock: Callable[[], float] = time.monotonic,
) -> TuneResult:  # fmt: skip
    """Search for the blend that agrees best with SAM's masks and with itself under yaw roll, and write its recipe.

    Args:
        run: recipe and folder.
        listener: hears the events.
        out: file of the recipe that is written.
        minutes: time that it may take; one panorama and the first blends are done in any case.
        panoramas: how many are looked at, at most, spread evenly over those of the recipe.
        overwrite: whether `out` may be there already.
        device: as `choose_device` takes it.
        threads: torch threads.
        clock: tells seconds.

    Raises:
        GoodSAMError: input, weights or store are unusable, every panorama failed, or no blend can be judged.
    """
    require_free(out, overwrite)
    refuse_old_layout(run.folder)
    with exclusive_lock(run.folder, STAGE, run.cache):
        search = _Tuning(run, listener, Budget(minutes, clock), choose_device(device), threads)
        result = search.run(panoramas)
        write_whole(run.folder / STAGE / "table.md", f"{result.text()}\n")
        write_recipe(out, result.recipe, STAGE, result.verdict)
    return result


class _Tuning:
    """One search and what it has gathered."""

    def __init__(self, run: Run, listener: Listener, budget: Budget, device: str, threads: int) -> None:
        self._run, self._recipe, self._listener, self._budget = run, run.recipe, listener, budget
        self._device, self._threads = device, threads
        self._prints = fingerprints(run.recipe)
        self._folder = run.folder / STAGE
        TeacherStore.open(run.store, "a")  # makes it
        self._library = PartLibrary(run.recipe, TeacherStore.open(self._folder / "parts.zarr", "a"))
        self._judgements = Scores(self._folder / "judgements.jsonl", Judgement)
        self._surenesses = Scores(self._folder / "sureness.jsonl", Sureness)
        self._mask_entries = MaskEntries(self._folder / MASKS_FILE)
        assistant, views = run.recipe.assistant, run.recipe.views
        fixed = [g for g in run.recipe.sam.view_groups if getattr(views, g) == 0]  # SAM would see further views
        seen = [g for g in GROUPS
                if g not in fixed and Part.of_group(g, views, 1.0).perspective_views(run.recipe.panorama)]  # fmt: skip
        self._groups, self._current = tuple(seen), blend_of(assistant, views).of_seeing(seen)
        self._parts = parts_of(Blend(0.5, 0.25, self._groups) if seen else Blend(0.5, 0.0), assistant, views)
        self._trials: dict[Blend, Trial] = {}

    def run(self, count: int) -> TuneResult:
        """Prepare panoramas, judge blends, choose."""
        began = self._budget.spent
        panoramas = self._prepare(self._tasks(count))
        groups = compare([self._sureness_on(panorama) for panorama in panoramas])
        self._groups = tuple(group for group in self._groups if group not in less_sure(groups))
        self._search(panoramas)
        self._try_variants(panoramas)
        means = {blend: trial.mean for blend, trial in self._trials.items()}
        choice = choose(means, self._groups)
        facts = {"panoramas": len(panoramas), "blends": len(means), "collapsed": len(choice.collapsed)}
        self._listener(StageFinished(BLENDS, self._budget.spent - began, facts))
        recipe = tuned(self._recipe, choice.best)
        return TuneResult(recipe, choice.best, self._current, self._trials, choice.collapsed, groups)

    def _tasks(self, count: int) -> list[PanoramaTask]:
        found = survey_learning(self._recipe)
        masks = found.ignore_masks(self._recipe)
        chosen = spread(found.panoramas, count)
        own = digests_of_own_masks(masks, chosen)
        tasks = [
            PanoramaTask(panorama, self._recipe, self._run.store.resolve(), self._prints, self._device, self._threads,
                         str(masks.of(panorama.path) or ""), own.get(panorama.id, ""))
            for panorama in chosen
        ]  # fmt: skip
        check_assistant(tasks[0])
        self._listener(Note(STAGE, f"on {describe_device(self._device, self._threads)}; "
                                   f"{len(tasks)} of {len(found.panoramas)} panoramas"))  # fmt: skip
        return tasks

    def _prepare(self, tasks: Sequence[PanoramaTask]) -> list[TunedPanorama]:
        """Masks and parts of as many panoramas as there is time for."""
        self._listener(StageStarted(STAGE, len(tasks), "panoramas"))
        began, longest = self._budget.spent, 0.0
        prepared: list[TunedPanorama] = []
        for number, task in enumerate(tasks, start=1):
            if prepared and not self._budget.has_room_for(longest, _SHARE_FOR_PANORAMAS):
                self._listener(Note(STAGE, f"the time allows for {len(prepared)} of {len(tasks)} panoramas; "
                                           "--minutes gives more, and so does running it again"))  # fmt: skip
                break
            started = self._budget.spent
            try:
                prepared.append(self._library.prepare(task, self._parts))
                self._mask_entries.add(self._prints[MASKS], prepared[-1].mask_entry)
            except InputError as error:
                self._listener(failure(STAGE, task.panorama.id, error))
            took = self._budget.spent - started
            longest = max(longest, took)
            self._listener(StageAdvanced(STAGE, number, task.panorama.id, took))
        if not prepared:
            raise InputError(f"none of {counted(len(tasks), 'panorama')} could be used", "the reasons are listed above",
                             "Repair or replace the files")  # fmt: skip
        self._listener(StageFinished(STAGE, self._budget.spent - began, {"panoramas": len(prepared)}))
        return prepared

    def _sureness_on(self, panorama: TunedPanorama) -> Sureness:
        """How sure the assistant is of each group of views that sees something."""
        parts = [part for part in self._parts if part.kind != WINDOWS]
        name = fingerprint(VERSION, [self._library.name(part) for part in parts], self._ignored)
        if known := self._surenesses.get(name, panorama.content):
            return known
        found = sureness(self._library.read(panorama, parts).straight, panorama.judged.weights_N)
        self._surenesses.add(name, panorama.content, found)
        return found

    def _search(self, panoramas: Sequence[TunedPanorama]) -> None:
        """Judge round after round, until nothing is left or the time is over."""
        search = Search(self._current, self._groups)
        while blends := search.next_round({blend: trial.mean for blend, trial in self._trials.items()}):
            self._listener(StageStarted(BLENDS, len(blends), "blends"))
            for done, some in enumerate(_chunks(blends, _AT_ONCE)):
                if self._trials and not self._budget.has_room_for(0):
                    self._listener(Note(BLENDS, "the time is over: the best of the settings judged so far is chosen"))
                    return
                self._judge(some, panoramas)
                self._listener(StageAdvanced(BLENDS, done * _AT_ONCE + len(some), "", 0.0))

    def _try_variants(self, panoramas: Sequence[TunedPanorama]) -> None:
        """Judge the best blend with other scales of windows and fields of view, as far as there is time to predict
        their parts."""
        assistant, views = self._recipe.assistant, self._recipe.views
        best = choose({blend: trial.mean for blend, trial in self._trials.items()}, self._groups).best
        for blend in variants(best, assistant, views, self._recipe.sam.view_groups):
            new = [part for part in parts_of(blend, assistant, views) if part not in self._parts]
            if not self._budget.has_room_for(sum(self._expected(part, panoramas) for part in new)):
                self._listener(Note(BLENDS, f"no time to try {blend.label}"))
                continue
            self._listener(StageStarted(BLENDS, len(panoramas), "panoramas"))
            for number, panorama in enumerate(panoramas, start=1):
                started = self._budget.spent
                self._library.predict(panorama.task, new)
                self._listener(StageAdvanced(BLENDS, number, blend.label, self._budget.spent - started))
            self._judge([blend], panoramas)

    def _expected(self, part: Part, panoramas: Sequence[TunedPanorama]) -> float:
        """Seconds to predict a part of all panoramas, straight and rolled, by those of its kind that are there."""
        like = next(known for known in self._parts if known.kind == part.kind)
        once = sum(self._library.seconds(panorama, like) for panorama in panoramas)
        return 2 * once * (part.scale / like.scale) ** 2

    def _judge(self, blends: Sequence[Blend], panoramas: Sequence[TunedPanorama]) -> None:
        """Judge blends on all panoramas: these are read one at a time."""
        by_panorama = [self._judgements_on(panorama, blends) for panorama in panoramas]
        for blend in blends:
            mean_seconds = sum(self._seconds(blend, panorama) for panorama in panoramas) / len(panoramas)
            self._trials[blend] = Trial(blend, [judged[blend] for judged in by_panorama], mean_seconds)

    def _judgements_on(self, panorama: TunedPanorama, blends: Sequence[Blend]) -> dict[Blend, Judgement]:
        names = {blend: self._name(blend) for blend in blends}
        judged = {blend: known for blend, name in names.items()
                  if (known := self._judgements.get(name, panorama.content))}  # fmt: skip
        by_parts: defaultdict[tuple[Part, ...], list[Blend]] = defaultdict(list)
        for blend in blends:
            if blend not in judged:
                by_parts[self._parts_to_read(blend)].append(blend)
        for parts, some in by_parts.items():
            seen = self._library.read(panorama, parts)
            for blend in some:
                judged[blend] = panorama.judged.judge(blend, *seen)
                self._judgements.add(names[blend], panorama.content, judged[blend])
        return judged

    def _parts_to_read(self, blend: Blend) -> tuple[Part, ...]:
        """All parts, which are read once for many blends, or a blend's own where it has others."""
        own = parts_of(blend, self._recipe.assistant, self._recipe.views)
        return self._parts if set(own) <= set(self._parts) else own

    def _name(self, blend: Blend) -> str:
        """Fingerprint of a blend and all that it is judged by, panoramas apart."""
        recipe = self._recipe
        parts = [self._library.name(part) for part in parts_of(blend, recipe.assistant, recipe.views)]
        return fingerprint(VERSION, blend, parts, self._prints[MASKS], self._ignored)

    @property
    def _ignored(self) -> tuple[bool, str]:
        """What decides which pixels are ignored: with the digest of the one ignore mask; those of panoramas are in the
        names of their contents."""
        panorama = self._recipe.panorama
        path = panorama.ignore_mask
        return panorama.find_constant_border, mask_digest(path) if path and not Path(path).is_dir() else ""

    def _seconds(self, blend: Blend, panorama: TunedPanorama) -> float:
        parts = parts_of(blend, self._recipe.assistant, self._recipe.views)
        counted = [part for part in parts if part.kind != WINDOWS or blend.windows > 0]
        return sum(self._library.seconds(panorama, part) for part in counted)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items, evenly spread; all where there are fewer. Fewer items are always the first of more.

    They are taken at the places of van der Corput's sequence, 0, 1/2, 1/4, 3/4, 1/8, ...
    """
    digits = max(1, (len(items) - 1).bit_length())
    turned = (int(f"{place:0{digits}b}"[::-1], 2) for place in range(2**digits))
    places = dict.fromkeys(place * len(items) // 2**digits for place in turned)
    return [items[place] for place in islice(places, count)]


def _chunks(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
