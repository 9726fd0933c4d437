"""Builds the wheel and uses it as somebody does who has only that: a fresh environment, an empty folder, the demo.

    python -m scripts.check_wheel

The wheel must hold every file of goodsam/, pipeline/ and stages/, and no other package. Then `goodsam` of the fresh
environment renders the demo's world and caches one panorama; none of it may come from this checkout. Packages come from
wherever uv is set up to find them, in the versions of constraints.txt. It takes a minute or two; the exit code is 1
where something is wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("goodsam", "pipeline", "stages")
COMMANDS = (("world", "demo"), ("teacher-cache", "demo", "--set", "data.limit=1"), ("verify", "demo"))
WRITTEN = {
    "cache/demo/world/panoramas/*.png": 24,
    "cache/demo/world/evaluation/*.png": 8,
    "cache/demo/world/labels/*.png": 8,
    "cache/teacher.zarr/ensemble/*/*/zarr.json": 2,
}
"""What the commands leave: pattern and number of files. `data.limit` holds for learning and evaluation each."""
WHERE_IMPORTED = """
import importlib.util
import goodsam, pipeline, stages
print(goodsam.__file__, pipeline.__file__, stages.__file__, sep="\\n")
assert importlib.util.find_spec("scripts") is None, "scripts is installed"
"""


class WheelError(Exception):
    """What is wrong with the wheel, in a sentence."""


def differences(wheel: Path, wanted: Iterable[str]) -> list[str]:
    """A sentence for each file that a wheel lacks, and for each that it has in vain; its own description is neither.

    Args:
        wheel: the file.
        wanted: paths that it must hold, with forward slashes.
    """
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    missing, needless = sorted(set(wanted) - held), sorted(held - set(wanted))
    return [f"{name} is missing" for name in missing] + [f"{name} does not belong there" for name in needless]


def sources(folder: Path) -> list[str]:
    """Files of the packages below a folder, relative to it, without what Python caches."""
    files = (path for package in PACKAGES for path in (folder / package).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files if "__pycache__" not in path.parts)


def miscounted(folder: Path) -> list[str]:
    """A sentence for each pattern of `WRITTEN` that matches another number of files below a folder."""
    counts = {pattern: len(list(folder.glob(pattern))) for pattern in WRITTEN}
    return [f"{pattern}: {counts[pattern]} files instead of {n}" for pattern, n in WRITTEN.items()
            if counts[pattern] != n]  # fmt: skip


def build(folder: Path) -> Path:
    """Build the wheel in a copy of what belongs to it, where no earlier build has left anything.

    Raises:
        WheelError: it cannot be built, or holds too few or too many files.
    """
    copy = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy / name)
    wanted = sources(copy)
    _run(_uv("build", "--quiet", "--out-dir", str(folder / "dist"), str(copy)), folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    _require(differences(wheel, wanted), wheel.name)
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel with its dependencies into a fresh environment; returns the folder of its programs.

    Raises:
        WheelError: that cannot be done.
    """
    environment = folder / "environment"
    _run(_uv("venv", "--quiet", "--python", sys.executable, str(environment)), folder)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    constraints = str(ROOT / "constraints.txt")
    to = ("--python", str(programs / "python"))
    _run(_uv("pip", "install", "--quiet", *to, "--constraint", constraints, str(wheel)), folder)
    return programs


def use(programs: Path, folder: Path) -> None:
    """Run the demo's first commands in an empty folder.

    Raises:
        WheelError: one fails or leaves something else than it should, or the packages are not the environment's own.
    """
    empty, home = folder / "empty", folder / "home"
    empty.mkdir()
    home.mkdir()
    own = {"PATH": str(programs), "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
    places = _run([str(programs / "python"), "-c", WHERE_IMPORTED], empty, own | kept).split()
    strange = [place for place in places if not Path(place).is_relative_to(programs.parent)]
    _require([f"{place} is imported" for place in strange], "the packages must be the environment's own")
    for command in COMMANDS:
        print("goodsam", *command, flush=True)
        _run([str(programs / "goodsam"), *command], empty, own | kept)
    _require(miscounted(empty), "what the commands left")


def main() -> None:
    """Command line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        try:
            wheel = build(folder)
            print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, with every file that belongs to it", flush=True)
            use(install(wheel, folder), folder)
        except WheelError as error:
            sys.exit(f"error: {error}")
    print("the wheel runs in an empty folder")


def _uv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "uv", *arguments]


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise WheelError(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _require(problems: Sequence[str], where: str) -> None:
    if problems:
        raise WheelError(f"{where}: " + "; ".join(problems))


if __name__ == "__main__":
    main()
