"""Fingerprints of files."""

from __future__ import annotations

from pathlib import Path

from pipeline.settings import digest_of


def test_the_digest_depends_on_names_and_contents_but_not_on_order_or_place(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        for name in "ab":
            (tmp_path / place / name).write_text(name)
    here, there = [[tmp_path / place / name for name in names] for place, names in (("here", "ab"), ("there", "ba"))]
    assert digest_of(here) == digest_of(there)
    (tmp_path / "there" / "a").write_text("other")
    assert digest_of(here) != digest_of(there)
    assert digest_of(here[:1]) != digest_of(here[1:])
