"""What the check of the wheel finds wrong; the check itself, which installs everything, is `make check-wheel`."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from scripts.check_wheel import ROOT, WRITTEN, WheelError, differences, miscounted, sources, use


def _wheel(path: Path, *names: str) -> Path:
    with ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def test_a_wheel_with_every_file_and_its_description_is_whole(tmp_path: Path):
    wheel = _wheel(tmp_path / "x.whl", "stages/cli.py", "stages/recipes/demo.toml", "x-1.dist-info/METADATA")
    assert differences(wheel, ["stages/recipes/demo.toml", "stages/cli.py"]) == []


def test_a_file_that_is_missing_and_one_too_many_are_named(tmp_path: Path):
    wheel = _wheel(tmp_path / "x.whl", "stages/cli.py", "tests/conftest.py")
    assert differences(wheel, ["stages/cli.py", "stages/recipes/demo.toml"]) == [
        "stages/recipes/demo.toml is missing",
        "tests/conftest.py does not belong there",
    ]


def test_weights_and_recipes_belong_to_the_wheel_and_caches_of_python_do_not():
    files = sources(ROOT)
    assert {"pipeline/demo/sam.pth", "pipeline/demo/assistant/model.safetensors", "stages/recipes/demo.toml"} <= {
        *files
    }
    assert not [name for name in files if "__pycache__" in name or name.startswith(("tests", "scripts"))]


def test_commands_that_leave_too_little_are_reported_with_what_is_missing(tmp_path: Path):
    (pattern, wanted), *others = WRITTEN.items()
    for number in range(wanted - 1):
        file = tmp_path / pattern.replace("*", str(number))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert miscounted(tmp_path) == [
        f"{pattern}: {wanted - 1} files instead of {wanted}",
        *(f"{other}: 0 files instead of {n}" for other, n in others),
    ]


def test_packages_of_the_checkout_do_not_pass_for_installed_ones(tmp_path: Path):
    programs = tmp_path / "environment" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)  # an environment without packages finds none
    with pytest.raises(WheelError, match="ended with 1:"):
        use(programs, tmp_path)
    (tmp_path / "again").mkdir()
    (programs / "python").unlink()
    (programs / "python").write_text(f"#!/bin/sh\necho {ROOT}/pipeline/__init__.py {programs}/stages/__init__.py\n")
    (programs / "python").chmod(0o755)
    with pytest.raises(WheelError, match=f"own: {ROOT}/pipeline/__init__.py is imported$"):
        use(programs, tmp_path / "again")
