"""The figures as JSON for programs and as a Markdown table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.bench.figure import Figure


def write_report(folder: Path, figures: Sequence[Figure], facts: Mapping[str, Any]) -> None:
    """Write bench.json and bench.md. Other figures that lie there stay if they are of the same machine and device."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.json"
    together = list({figure.name: figure for figure in (*_earlier(path, facts), *figures)}.values())
    rows = [asdict(figure) | {"ratio": figure.ratio} for figure in together]
    path.write_text(json.dumps({"machine": dict(facts), "figures": rows}, indent=2) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(table(together, facts), encoding="utf-8")


def _earlier(path: Path, facts: Mapping[str, Any]) -> list[Figure]:
    if not path.is_file():
        return []
    report = json.loads(path.read_text(encoding="utf-8"))
    if report["machine"] != facts:
        return []
    return [Figure(**{key: value for key, value in row.items() if key != "ratio"}) for row in report["figures"]]


def table(figures: Sequence[Figure], facts: Mapping[str, Any]) -> str:
    """One row per figure; times are medians of interleaved repetitions in one process."""
    head = "| figure | peer | peer's time | our time | ratio | target | identical | note |"
    lines = [", ".join(f"{key} {value}" for key, value in facts.items()), "", head, "|---" * 8 + "|"]
    return "\n".join([*lines, *(_row(figure) for figure in figures), ""])


def _row(figure: Figure) -> str:
    identical = {True: "yes", False: "no", None: ""}[figure.identical]
    ratio = "" if figure.ratio is None else f"{figure.ratio:.1f}"
    target = "" if figure.at_least is None else f"{figure.at_least:g}"
    cells = (figure.name, figure.peer, _time(figure.peer_seconds), _time(figure.our_seconds), ratio, target, identical,
             figure.note)  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"
