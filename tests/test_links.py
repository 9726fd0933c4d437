"""The pages for readers: links lead somewhere, what they name exists, and the front page stays short."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.main import get_command

from pipeline.recipe import Recipe
from stages.cli import app

ROOT = Path(__file__).resolve().parents[1]
FRONT_PAGE, MEASURED = "README.md", "scripts/README.md"
FIGURES = tuple(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "scripts/measured").glob("*.md")))
"""Pages of what was measured, to which the page `MEASURED` leads."""
PAGES = (
    FRONT_PAGE, "stages/README.md", "stages/guides/maps.md", "stages/guides/research.md", "pipeline/README.md",
    MEASURED, "cache/README.md", *FIGURES,
)  # fmt: skip
MOST_WORDS = 1200
FOLDERS = ("goodsam", "pipeline", "stages", "scripts", "tests", ".ci", ".github")
"""What a path in backticks begins with; the rest are the user's own files, and those that runs write."""


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _prose(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", _text(page), flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Targets of a page's links and pictures, those to other hosts left out."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(text: str) -> set[str]:
    """Names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(text: str) -> list[str]:
    """What stands in backticks and looks like a file or folder of the project."""
    quoted = re.findall(r"`([^`\s]+)`", text)
    return [name for name in quoted if "/" in name and name.split("/")[0] in FOLDERS and not set(name) & set("<>*")]


def dead_links(page: str) -> list[str]:
    """Links of a page that lead nowhere."""
    dead: list[str] = []
    for link in links(_prose(page)):
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(_prose(target.relative_to(ROOT).as_posix()))):
            dead.append(link)
    return dead


def columns(row: str) -> int:
    """Cells of a table's row."""
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def settings(owner: type[Any], prefix: str = "") -> set[str]:
    """Dotted names of all settings and their tables."""
    hints, names = get_type_hints(owner), set[str]()
    for field in fields(owner):
        names.add(prefix + field.name)
        if is_dataclass(kind := hints[field.name]):
            assert isinstance(kind, type)
            names |= settings(kind, f"{prefix}{field.name}.")
    return names


def test_the_checks_see_what_is_wrong(tmp_path: Path) -> None:
    assert links("[a](b.md#c) ![d](e.jpg) [f](https://example.org)") == ["b.md#c", "e.jpg"]
    assert anchors("# A, b's `c`!\n## D-e f\n") == {"a-bs-c", "d-e-f"}
    assert paths("`stages/no.py` `pipeline/` `cache/x` `a/b` `tests/*.py` `make test`") == ["stages/no.py", "pipeline/"]
    assert columns(r"| a \| b | c |") == 2


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_backticks_exist(page: str) -> None:
    assert [path for path in paths(_prose(page)) if not (ROOT / path).exists()] == []


def test_folders_of_the_annotated_tree_exist() -> None:
    (tree,) = re.findall(r"^```\n(goodsam/.*?)^```$", _text(FRONT_PAGE), re.MULTILINE | re.DOTALL)
    top, missing = "", list[str]()
    for line in tree.splitlines():
        if match := re.match(r"( *)([\w.]+/)", line):
            top = top if match[1] else match[2]
            path = top + match[2] if match[1] else match[2]
            missing += [] if (ROOT / path).is_dir() else [path]
    assert missing == []


def test_the_front_page_is_short_and_leads_to_all_others() -> None:
    assert len(_text(FRONT_PAGE).split()) <= MOST_WORDS
    assert set(PAGES[1:]) - set(FIGURES) <= set(links(_text(FRONT_PAGE)))
    found = {f"scripts/{link.partition('#')[0]}" for link in links(_text(MEASURED))}
    assert FIGURES and set(FIGURES) <= found


def test_the_front_page_has_the_test_command_of_what_a_change_must_pass() -> None:
    assert "make test" in _text(".ci/run").splitlines()
    assert re.search(r"^    make test ", _text(FRONT_PAGE), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_commands_targets_and_scripts_exist(page: str) -> None:
    text = _text(page)
    targets = set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) <= targets
    commands = set(getattr(get_command(app), "commands", {}))
    assert set(re.findall(r"(?:`|^    )goodsam ([a-z-]+)", text, re.MULTILINE)) <= commands
    for module in re.findall(r"python -m (scripts[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", PAGES)
def test_settings_in_backticks_exist(page: str) -> None:
    known = settings(Recipe)
    tables = {name.split(".")[0] for name in known if "." in name}
    named = re.findall(r"(?:`|--set )([a-z_]+\.[a-z_0-9]+)(?=`|=| =)", _text(page))
    files = {"toml", "md", "json", "csv", "jsonl"}
    assert {name for name in named if name.split(".")[1] not in files and name.split(".")[0] in tables} <= known


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", _text(page), re.MULTILINE):
        rows = table.splitlines()
        assert re.fullmatch(r"[|:\- ]+", rows[1]), rows[0]
        assert {columns(row) for row in rows} == {columns(rows[0])}, rows[0]


def test_pages_of_packages_are_in_the_wheel() -> None:
    data = tomllib.loads(_text("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    assert all("README.md" in data[package] for package in ("pipeline", "stages"))


def test_no_merge_was_left_half_done() -> None:
    files = [
        path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*") if path.suffix in (".md", ".py", ".toml")
    ]
    for path in [*files, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"(<{7}|>{7}) ", line)]
        assert not found, f"{path} has {found[0]!r}"
