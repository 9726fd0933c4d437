"""`goodsam adapt` prints what each round gave, which recipe was written, and what comes next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.errors import InputError, RecipeError
from pipeline.tune.judge import Judgement
from stages.adapt import AdaptRound
from stages.adapt_comparison import BLEND, Comparison
from stages.cli import app
from stages.events import Listener
from stages.runs import Run

RECIPE = 'name = "my"\n[data]\npanoramas = "photos"\n[assistant]\nkind = "demo"\n'
Begun = list[tuple[Path, dict[str, Any]]]


@pytest.fixture
def adapted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Begun]:
    """Have rounds end with the given files, None for a worse one; what was asked for comes back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text(RECIPE)
    (tmp_path / "photos").mkdir()
    begun: Begun = []

    def end_with(*files: Path | None) -> Begun:
        def stage(run: Run, _: Listener, out: Path, **options: Any) -> list[AdaptRound]:
            begun.append((out, options))
            return [AdaptRound(Path(f"network{n}"), run.recipe, compared(file), file) for n, file in enumerate(files)]

        monkeypatch.setattr("stages.adapt.adapt", stage)
        return begun

    return end_with


def compared(file: Path | None) -> Comparison:
    def scored(score: float) -> dict[str, Judgement]:
        return {BLEND: Judgement(score, score, score, score, 5.0, 0.0, 0.0)}

    return Comparison(scored(0.5), scored(0.6 if file else 0.4), ("a",))


def adapt(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["adapt", *arguments])


def test_a_round_that_is_used_names_its_recipe_and_the_next_command(adapted: Callable[..., Begun]) -> None:
    begun = adapted(Path("my.adapted.toml"))
    done = adapt("my.toml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("the adapted assistant is better by what needs no label: score 0.6000, before 0.5000")
    assert any(line.startswith("| blend, adapted | 0.6000") for line in lines)
    assert lines[-3:] == ["assistant: network0", "recipe: my.adapted.toml",
                          "next: goodsam teacher-cache my.adapted.toml"]  # fmt: skip
    assert begun == [(Path("my.adapted.toml"), {"rounds": 1, "overwrite": False, "workers": 0, "device": "cpu"})]


def test_of_several_rounds_the_last_that_is_used_comes_next(adapted: Callable[..., Begun]) -> None:
    begun = adapted(Path("a.toml"), Path("b.toml"), None)
    done = adapt("my.toml", "--rounds", "3", "--out", "a.toml", "--overwrite", "--workers", "2", "--cache", "runs")
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith("round ")] == [
        "round 1", "round 2", "round 3"
    ]  # fmt: skip
    assert "round 3: the adapted assistant is worse" in done.stdout
    assert "it is not used: no recipe was written" in done.stdout
    assert done.stdout.splitlines()[-1] == "next: goodsam teacher-cache b.toml --cache runs"
    assert begun == [(Path("a.toml"), {"rounds": 3, "overwrite": True, "workers": 2, "device": "auto"})]


def test_where_no_round_is_used_there_is_nothing_next(adapted: Callable[..., Begun]) -> None:
    adapted(None)
    assert "next:" not in adapt("my.toml").stdout


def test_what_cannot_be_adapted_is_refused_before_torch_is_imported(adapted: Callable[..., Begun]) -> None:
    begun = adapted(Path("my.adapted.toml"))
    Path("photos").rmdir()
    assert isinstance(adapt("my.toml").exception, InputError)
    Path("net.onnx").write_bytes(b"")
    onnx = adapt("my.toml", "--set", "assistant.kind=onnx", "--set", "assistant.name=net.onnx")
    assert isinstance(onnx.exception, RecipeError)
    assert begun == []
