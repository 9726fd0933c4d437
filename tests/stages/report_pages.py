"""Reports written for tests, and what their pages and scripts hold."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from stages.report.source import read_source
from stages.report.write import ReportJob, write_report

VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """Elements of a page; an element that is closed wrongly or not at all is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"
        assert len(self.ids) == len(set(self.ids)), "an id is there twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[key] or "" for key in ("src", "href") if key in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self._script = (found.get("id") or "code") if tag == "script" else ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data


def report(maps: Path, out: Path, pictures: Path | None = None, **options: Any) -> Page:
    write_report(ReportJob(read_source(maps, pictures), maps, out, width=256, **options))
    page = out if options.get("is_single") else out / "index.html"
    return Page(page.read_text(encoding="utf-8"))


def layers_of(script: Path) -> dict[str, Image.Image]:
    """Pictures that a panorama's script hands to the viewer."""
    record = json.loads(re.fullmatch(r"// .*\ngoodsamPanorama\(\d+, (.*)\);\n", script.read_text())[1])  # type: ignore[index]
    return {layer["key"]: picture_of(layer["url"]) for layer in record["layers"]}


def picture_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))
