"""The report's page from its tables alone: what a card shows, and what is left out where nothing is known."""

from __future__ import annotations

import json
import re

import pytest

from pipeline.classes import LabelSet
from stages.report.page import PageParts, json_in_html, page_html
from stages.report.source import ReportSource, SourcePanorama

LABELS = LabelSet("two", ("road & rail", "sky"), ((90, 90, 90), (90, 90, 255)), thin=())


def panorama(name: str, *, shares: tuple[float, ...] = (0.75, 0.25, 0.0), **figures: str) -> SourcePanorama:
    return SourcePanorama(name, f"{name}.jpg", figures, shares, {}, None)


def page_of(
    *panoramas: SourcePanorama,
    notes: tuple[str, ...] = (),
    thumbnails: str = "t/{}.jpg",
    script: str = "s/{}.js",
    evaluation: str = "",
) -> str:
    numbers = range(len(panoramas))
    parts = PageParts([thumbnails.format(n) for n in numbers], [script.format(n) for n in numbers], notes, evaluation)
    return page_html(ReportSource("Streets <1>", LABELS, panoramas), parts)


def card(html: str, number: int) -> str:
    found = re.search(rf'<li class="card" id="panorama-{number}".*?</li>', html, re.DOTALL)
    assert found is not None
    return found[0]


def test_every_place_of_the_template_is_filled_and_none_of_what_fills_it() -> None:
    html = page_of(panorama("a {{cards}}"), notes=("see {{data}}",))
    assert re.findall(r"\{\{(\w+)\}\}", html.replace("a {{cards}}", "").replace("see {{data}}", "")) == []
    assert "see {{data}}" in html and "a {{cards}}" in card(html, 0)
    assert "Streets &lt;1&gt;" in html and "<1>" not in html
    source = ReportSource("Streets", LABELS, (panorama("a"),), made_by="nets/<b5>")
    assert "<p>1 panorama, mapped by nets/&lt;b5&gt;. Shares" in page_html(source, PageParts([""], [""], ()))
    assert re.search(r"\b1 panorama\b", html) and "2 panoramas" in page_of(panorama("a"), panorama("b"))


def test_a_card_shows_what_is_known_and_shares_as_per_cent() -> None:
    html = card(page_of(panorama("a", doubt="0.125", time="2024-05-01T10:00:00", altitude="12.5")), 0)
    assert "<dt>doubt</dt><dd>12.5 %</dd>" in html.replace("\u2009", " ").replace("\xa0", " ")
    assert "<dt>time</dt><dd>2024-05-01 10:00:00</dd>" in html and "<dt>altitude, m</dt><dd>12.5</dd>" in html
    assert "heading" not in html and "sky view factor" not in html


def test_a_card_opens_the_viewer_only_where_there_are_layers() -> None:
    assert '<a href="#view=0"' in card(page_of(panorama("a")), 0)
    assert "#view" not in card(page_of(panorama("a"), script=""), 0)
    assert "no picture" in card(page_of(panorama("a"), thumbnails=""), 0)


def test_the_map_is_hidden_where_no_position_is_known() -> None:
    placed, unplaced = page_of(panorama("a", latitude="48.5", longitude="9.25")), page_of(panorama("a"))
    assert placed.count("<svg") == unplaced.count("<svg") + 1
    assert unplaced.count("hidden") > placed.count("hidden")


def test_the_scripts_get_the_tables() -> None:
    html = page_of(panorama("a", doubt="0.5"), panorama("b", shares=(0.25, 0.5, 0.25)))
    data = json.loads(re.findall(r'<script[^>]*id="data"[^>]*>(.*?)</script>', html, re.DOTALL)[0])
    assert data["classes"] == list(LABELS.names) and len(data["colours"]) == 2
    first, second = data["panoramas"]
    assert (first["name"], first["script"], first["shares"]) == ("a", "s/0.js", [0.75, 0.25, 0.0])
    assert (first["doubt"], second["doubt"], second["sky_view_factor"]) == (0.5, None, None)


def test_names_that_are_not_utf_8_are_shown_with_a_mark() -> None:
    name = b"stra\xdfe".decode(errors="surrogateescape")
    html = page_of(panorama(name), notes=(name,))
    assert html.encode() and "stra\ufffde" in card(html, 0)


@pytest.mark.parametrize("text", ["</script>", "<!--", "a & b", "\u2028"])
def test_json_in_a_script_cannot_end_it_and_means_the_same(text: str) -> None:
    written = json_in_html({text: [text]})
    assert not re.search("[<>&\u2028]", written)
    assert json.loads(written) == {text: [text]}


def test_what_was_measured_stands_where_there_is_something() -> None:
    assert "<p>62 %</p>" in page_of(panorama("a"), evaluation="<p>62 %</p>")
