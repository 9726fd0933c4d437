"""Imports run downward only, and stage two needs nothing of segment-anything."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DESIGN = (ROOT / "pipeline" / "DESIGN.md").read_text(encoding="utf-8")
ORDER = tuple(re.findall(r"^([a-z_]+)/? +\S", DESIGN.split("```")[1], re.MULTILINE))
"""Modules and packages of the library as DESIGN.md lists them, lowest first."""
SOURCES = [p for top in ("goodsam", "pipeline", "stages", "scripts") for p in sorted((ROOT / top).rglob("*.py"))]


def _imports(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def test_the_design_lists_every_module_and_package_once() -> None:
    found = [p.stem for p in (ROOT / "pipeline").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    assert sorted(ORDER) == sorted(set(found) - {"__init__"})


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path: Path):
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    for module in _imports(path):
        target = module.split(".")
        if target[0] == "scripts":
            assert top == "scripts", f"{path} imports {module}"
        if target[0] == "stages":
            assert top != "pipeline", f"{path} imports {module}"
            assert top != "goodsam" or not target[1].startswith("cli"), f"{path} imports {module}"
        if target[0] == "goodsam":
            assert top in ("goodsam", "scripts") or (top == "stages" and rest[0].startswith("cli")), (
                f"{path} imports {module}"
            )
        if top == "pipeline" and target[0] == "pipeline" and rest[0] in ORDER and len(target) > 1:
            assert ORDER.index(target[1]) <= ORDER.index(rest[0]), f"{path} imports {module}"


def test_the_student_never_imports_the_teacher():
    for path in (ROOT / "pipeline" / "student").glob("*.py"):
        assert not any(module.startswith("pipeline.teacher") for module in _imports(path)), path


HEAVY = ("torch", "transformers", "torchvision", "segment_anything", "zarr", "dask", "scipy", "tensorboard")


RUN_ALL = f"""import contextlib, io, json, sys
from stages import cli
for sys.argv in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, shown.getvalue(), sorted(set({HEAVY!r}) & set(sys.modules))]))
"""
"""Runs commands one after another, and prints what became of each, and the heavy packages that are imported by then."""


def test_what_a_user_gets_wrong_is_reported_before_heavy_imports(tmp_path: Path):
    misspelt, homeless = tmp_path / "misspelt.toml", tmp_path / "homeless.toml"
    misspelt.write_text("[fusion]\nthetta = 0.6\n")
    homeless.write_text('[data]\npanoramas = "not_there"\n')
    out = str(tmp_path / "out")
    expected = [
        *((["predict", str(tmp_path / "not_there"), out], "not_there does not exist"),
          (["predict", str(tmp_path), out, "--student", "none_here"], "none_here holds no student")),
        *(([command, str(misspelt)], "fusion.thetta is not a setting")
          for command in ("teacher-cache", "distill", "eval", "tune", "adapt", "verify", "status", "plan", "doctor")),
        *(([command, str(homeless), "--cache", str(tmp_path)], "not_there does not exist")
          for command in ("teacher-cache", "distill", "eval", "tune", "adapt")),
    ]  # fmt: skip
    commands = json.dumps([["goodsam", *arguments] for arguments, _ in expected])
    done = subprocess.run([sys.executable, "-c", RUN_ALL, commands], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (arguments, message), line in zip(expected, done.stdout.splitlines(), strict=True):
        code, shown, imported = json.loads(line)
        assert code == 1 and message in shown, arguments
        assert imported == [], arguments


def test_a_recipe_is_read_without_numpy(tmp_path: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom stages.runs import open_run\n"
        f"open_run('demo', Path({str(tmp_path)!r}))\nsys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.modules['segment_anything'] = None\n"
        "import stages.distill, stages.evaluate, stages.predict, pipeline.cache.records",
        "import sys, stages.cli, goodsam\n"
        "assert not {'torch', 'transformers', 'zarr', 'dask', 'numpy'} & set(sys.modules), sorted(sys.modules)",
    ],
    ids=[
        "stage two and prediction without segment_anything",
        "help of the command line, and `import goodsam`, without heavy imports",
    ],
)
def test_what_works_without_other_packages(code: str):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
