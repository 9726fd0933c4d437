"""Where stage one's CPU seconds go: a few rendered panoramas of the built-in world, the demo's recipe, one process.

    python -m scripts.profile_teacher_cache --panoramas 2

The stage itself runs, on one thread, into temporary folders: over segment_anything's own mask generator, and as it is.
The functions named in `PARTS` are wrapped by clocks. A part's seconds are its own: what a wrapped function spends
inside another counts there.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import reduce, wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from stages import networks
from stages.events import silent
from stages.runs import Run, open_recipe
from stages.teacher_cache import teacher_cache
from stages.world import render_world

READING, ENCODER, DECODER = "reading images", "SAM encoder", "SAM decoder"
MASKS = "SAM post-processing and the rest of it"
WINDOWS, WHOLE, STITCHING = "assistant, windows and views", "assistant, whole panorama", "stitching and agreement"
FUSION, BOUNDARIES, STORE = "fusion", "boundaries", "encoding, writing and reading the store"
LOADING, REST = "loading networks", "the rest"


class Place(NamedTuple):
    """A function whose time counts for a part."""

    part: str
    module: str
    path: str
    """Attributes from the module on."""


PARTS = (
    Place(REST, "stages.panorama_task", "cache_panorama"),
    Place(LOADING, "stages.networks", "mask_source"),
    Place(LOADING, "stages.networks", "assistant"),
    Place(READING, "stages.panorama_work", "open_panorama"),
    Place(READING, "stages.panorama_work", "ignored_region"),
    Place(MASKS, "pipeline.teacher.sam", "SamMaskGenerator.many"),
    Place(MASKS, "pipeline.teacher.sam", "SamMaskGenerator.answers"),
    Place(MASKS, "pipeline.teacher.stock_masks", "StockMasks.many"),
    Place(ENCODER, "pipeline.teacher.generator.encoder", "FastEncoder.__call__"),
    Place(ENCODER, "segment_anything.modeling", "ImageEncoderViT.forward"),
    Place(DECODER, "segment_anything.modeling", "PromptEncoder.forward"),
    Place(DECODER, "segment_anything.modeling", "MaskDecoder.forward"),
    Place(DECODER, "pipeline.teacher.generator.decoder", "FoldedDecoder.prepare"),
    Place(DECODER, "pipeline.teacher.generator.decoder", "FoldedDecoder.decode"),
    Place(DECODER, "pipeline.teacher.generator.decoder", "FoldedDecoder.decode_things"),
    Place(DECODER, "pipeline.teacher.generator.decoder", "StockDecoder.decode"),
    Place(DECODER, "pipeline.teacher.generator.decoder", "StockDecoder.decode_things"),
    Place(STITCHING, "pipeline.teacher.rectification", "stitch_assistant"),
    Place(WINDOWS, "pipeline.teacher.rectification", "predict_views"),
    Place(WHOLE, "pipeline.teacher.rectification", "_predict"),
    Place(FUSION, "pipeline.teacher.vote", "fuse"),
    Place(BOUNDARIES, "pipeline.teacher.boundary", "refine_boundary"),
    Place(STORE, "pipeline.cache.records", "pack_masks"),
    Place(STORE, "pipeline.cache.records", "unpack_masks"),
    Place(STORE, "pipeline.cache.records", "pack_assistant"),
    Place(STORE, "pipeline.cache.records", "unpack_fused"),
    Place(STORE, "pipeline.cache.records", "pack_ensemble"),
    Place(STORE, "pipeline.cache.store", "TeacherStore.write"),
    Place(STORE, "pipeline.cache.store", "TeacherStore.read"),
    Place(STORE, "pipeline.cache.store", "TeacherStore.is_done"),
)


class Clock:
    """CPU seconds per part, each without those of the parts inside it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = 0.0

    @contextmanager
    def on(self, part: str) -> Generator[None]:
        """Count for `part`; what the windows ask of the assistant stays theirs."""
        self._turn()
        self._stack.append(WINDOWS if part == WHOLE and WINDOWS in self._stack else part)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def _turn(self) -> None:
        now = time.process_time()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, on the clock; generators are on it while they work."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.on(part):
                result = function(*args, **kwargs)
            return self._each(part, result) if isinstance(result, Generator) else result

        return timed

    def _each(self, part: str, items: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while True:
            with self.on(part):
                item = next(items, end)
            if item is end:
                return
            yield item


@contextmanager
def clocked(clock: Clock) -> Generator[None]:
    """All places of `PARTS` on the clock."""
    with ExitStack() as patches:
        for place in PARTS:
            *owners, name = place.path.split(".")
            owner = reduce(getattr, owners, importlib.import_module(place.module))
            patches.enter_context(mock.patch.object(owner, name, clock.wrap(place.part, getattr(owner, name))))
        yield


def demo_run(folder: Path, panoramas: int, masks: str = "sam") -> Run:
    """A run of the demo's recipe on a few rendered panoramas, all within `folder`; `masks` is its `sam.kind`."""
    render_world(folder / "world", panoramas, 0, silent)
    here = (f"data.panoramas={folder / 'world' / 'panoramas'}", "data.evaluation=", "data.labels=", f"sam.kind={masks}")
    return Run(open_recipe("demo", here), folder / "run")


class Profile(NamedTuple):
    """CPU seconds per panorama of every part of stage one."""

    before: dict[str, float]
    """Over the stock mask generator."""
    after: dict[str, float]
    """Over ours."""

    def table(self) -> str:
        """Both as a Markdown table, dearest first."""
        lines = [
            "| part of stage one, CPU seconds per panorama | stock generator | ours | share |",
            "|---|---|---|---|",
        ]
        total = sum(self.after.values())
        for part, seconds in sorted(self.after.items(), key=lambda item: -item[1]):
            lines.append(f"| {part} | {self.before[part]:.3f} | {seconds:.3f} | {seconds / total:.1%} |")
        return "\n".join([*lines, f"| total | {sum(self.before.values()):.3f} | {total:.3f} | 100.0% |"])


def profile(panoramas: int) -> Profile:
    """Stage one of a few panoramas, twice."""
    with tempfile.TemporaryDirectory() as folder:
        _seconds(Path(folder) / "imports", 1, "sam")  # which would count for whoever comes first
        before = _seconds(Path(folder) / "before", panoramas, "stock")
        return Profile(before, _seconds(Path(folder) / "after", panoramas, "sam"))


def forget_networks() -> None:
    """The next run of stage one loads its networks anew."""
    networks.mask_source.forget()
    networks.assistant.forget()


def _seconds(folder: Path, panoramas: int, masks: str) -> dict[str, float]:
    clock = Clock()
    run = demo_run(folder, panoramas, masks)
    forget_networks()
    with clocked(clock):
        teacher_cache(run, silent)
    return {part: clock.seconds[part] / panoramas for part in dict.fromkeys(place.part for place in PARTS)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panoramas", type=int, default=2)
    torch.set_num_threads(1)
    print(profile(parser.parse_args().panoramas).table())


if __name__ == "__main__":
    main()
