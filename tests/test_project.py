"""What stands in more than one file of the project is the same in each."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline

ROOT = Path(__file__).resolve().parents[1]


def _toml() -> dict[str, Any]:
    return tomllib.loads(_text("pyproject.toml"))


def _yaml(name: str) -> Any:
    return yaml.safe_load(_text(name))


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_wherever_it_stands():
    version = pipeline.__version__
    assert _yaml("CITATION.cff")["version"] == version
    assert re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", _text("CHANGELOG.md"), re.MULTILINE)


def test_the_citation_names_both_papers_with_their_authors():
    citation = _yaml("CITATION.cff")
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", _toml()["project"]["license"])
    assert [paper["identifiers"][0]["value"] for paper in citation["references"]] == [
        "arXiv:2403.16370",
        "arXiv:2408.09115",
    ]
    for paper in citation["references"]:
        assert [author["family-names"] for author in paper["authors"]] == ["Zhang", "Liu", "Zheng", "Wang"]


def test_the_hooks_run_ruff_in_the_version_that_the_tests_have():
    (wanted,) = re.findall(r"^ruff==.+$", _text("constraints.txt"), re.MULTILINE)
    hooks = [hook for repo in _yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert len(hooks) == 2
    assert all(hook["additional_dependencies"] == [wanted] for hook in hooks)


def test_the_workflow_runs_what_a_change_must_pass_from_the_oldest_python_on():
    (job,) = _yaml(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    oldest = _toml()["project"]["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == oldest


@pytest.mark.parametrize("package", ["goodsam", "pipeline", "stages"])
def test_type_checkers_of_users_find_the_types(package: str):
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in _toml()["tool"]["setuptools"]["package-data"][package]


@pytest.mark.parametrize("page", [".github/CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md", "CHANGELOG.md"])
def test_files_and_targets_that_pages_name_are_there(page: str):
    text = _text(page)
    targets = set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    for path in re.findall(r"(?<![\w/.])(?:\.?(?:stages|pipeline|tests|scripts|\.ci)/[\w./]*|\.ci/run)", text):
        assert (ROOT / path).exists(), path


def _commands_of_setup(*variables: str) -> list[str]:
    done = subprocess.run(["make", "--dry-run", "--always-make", "setup", "VENV=fresh", *variables], cwd=ROOT,
                          capture_output=True, text=True, check=True)  # fmt: skip
    return [line for line in done.stdout.splitlines() if "--editable" in line]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed: what it would run is not checked")
def test_setup_takes_torch_without_cuda_where_it_is_asked_to():
    (usual,), (cpu,) = _commands_of_setup(), _commands_of_setup("TORCH=cpu")
    assert "--torch-backend" not in usual
    assert cpu.split() == usual.replace("--constraint", "--torch-backend cpu --constraint").split()
    assert "://" not in _text("Makefile"), "uv knows where the builds are"


def test_uv_knows_the_option_and_the_build():
    uv = pytest.importorskip("uv", reason="uv is not installed: its options are not checked")
    told = subprocess.run([uv.find_uv_bin(), "pip", "install", "--help"], capture_output=True, text=True, check=True)
    (values,) = re.findall(r"--torch-backend <TORCH_BACKEND>(.*?)(?=\n      --)", told.stdout, re.DOTALL)
    assert re.search(r"possible values: [^]]*\bcpu\b", " ".join(values.split()))
