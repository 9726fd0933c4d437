"""How the demo's panoramas are made is said where they are missing, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from stages.demo_world import world_needed
from stages.runs import open_run


def missing(folder: Path | str) -> InputError:
    return InputError(f"{folder} does not exist", "it must be a folder of panoramas", "Check the path")


def test_only_the_demos_panoramas_are_made_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    street = open_run("street", None, ("data.panoramas=photos",))
    with pytest.raises(InputError, match="Check the path"), world_needed(street):
        raise missing(street.recipe.data.panoramas)
    demo = open_run("demo")
    with pytest.raises(InputError, match="Run `goodsam world demo` first") as caught, world_needed(demo):
        raise missing(demo.recipe.data.panoramas)
    assert caught.value.found == f"{demo.recipe.data.panoramas} does not exist"
    with pytest.raises(InputError, match="Check the path"), world_needed(demo):
        raise missing(tmp_path / "labels")  # an error of something else, while the world is missing
