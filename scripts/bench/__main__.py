"""Measures the hot spots beside their peers, in one process, on one thread: `make bench`.

    python -m scripts.bench                              all figures: tens of minutes on one CPU core
    python -m scripts.bench --only votes confusion       those whose name contains one of the words
    python -m scripts.bench --device cuda --repeats 5    on a GPU: windows per second too

Repetitions are interleaved and their medians compared, so that ratios hold on a busy machine, where times do not.
Writes bench.json and bench.md, beside what earlier runs on the same machine and device wrote there of other figures;
on a CPU seconds are CPU seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from scripts.bench import arrays, assistants, gpu, masks, stage
from scripts.bench.figure import Figure
from scripts.bench.machine import machine_facts
from scripts.bench.report import table, write_report
from scripts.bench.setup import Setup

FAMILIES: tuple[tuple[tuple[str, ...], Callable[[Setup], Iterator[Figure]]], ...] = (
    (arrays.NAMES, arrays.array_figures),
    (assistants.NAMES, assistants.assistant_figures),
    (stage.NAMES, stage.stage_figures),
    (masks.NAMES, masks.mask_figures),
    (gpu.NAMES, gpu.gpu_figures),
)


def names(words: Sequence[str]) -> frozenset[str]:
    """The figures whose names contain one of the words; all of them without words."""
    known = [name for family, _ in FAMILIES for name in family]
    return frozenset(name for name in known if not words or any(word in name for word in words))


def main() -> None:
    """Measure, print, write; figures are written as they come, so that a run cut short is not lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="words of the names of figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("cache/bench"))
    options = parser.parse_args()
    wanted = names(options.only)
    if not wanted:
        parser.error(f"no figure is named like {options.only}; there are: {', '.join(sorted(names([])))}")
    torch.set_num_threads(options.threads)
    setup, facts = Setup(wanted, options.repeats, options.device), machine_facts(options.device)
    figures: list[Figure] = []
    for _, family in FAMILIES:
        for figure in family(setup):
            figures.append(figure)
            write_report(options.out, figures, facts)
    print(table(figures, facts))


if __name__ == "__main__":
    main()
