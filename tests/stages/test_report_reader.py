"""The report for people who do not see it, or use no mouse: what a screen reader is given, and keys alone."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from stages.report.source import read_source
from stages.report.write import ReportJob, write_report
from tests.stages.devtools import Tab, opened_tab
from tests.stages.report_folder import make_maps, make_pictures, with_all_layers

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `charts`): the page has no chart")
SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PLACES = ["north", "east", "south", "west", "square", "bridge"]
NAMED = {"link", "button", "combobox", "option", "checkbox", "slider", "searchbox", "image", "region", "dialog",
         "heading", "rowheader", "DisclosureTriangle"}  # fmt: skip
"""Roles that say nothing without a name."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path: the report is not read in a browser"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    maps = make_maps(folder / "maps", PLACES, positions={n: (48.2, 16.3 + n / 1000) for n in range(6)}, exported=True)
    source = with_all_layers(read_source(maps, make_pictures(folder / "photos", PLACES), "walk"), folder)
    return write_report(ReportJob(source, maps, folder / "out", width=256)).page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Tab]:
    with opened_tab(str(BROWSER), tmp_path_factory.mktemp("browser"), *SOFTWARE) as tab:
        yield tab


def tab_to(tab: Tab, wanted: str) -> None:
    """Press Tab until an element has the focus, as somebody without a mouse does."""
    for _ in range(40):
        if tab.focused() == wanted:
            return
        tab.press("Tab")
    raise AssertionError(f"no way to {wanted}")


def open_first(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab_to(tab, "look")
    tab.press("Enter")
    tab.wait("document.body.dataset.viewer && element('said').textContent")


def text_of(tab: Tab, element: str) -> str:
    return tab.evaluate(f"element('{element}').textContent")


def test_all_panoramas_are_read_in_order_and_everything_has_a_name(page: Path, browser: Tab) -> None:
    browser.open(page)
    nodes = browser.read()
    assert [node for node in nodes if node.role in NAMED and not node.name.strip()] == []
    headings = [node.name for node in nodes if node.role == "heading"]
    assert headings == [
        "walk",
        "How maps agree",
        "Mean class shares",
        "Map",
        "Panoramas",
        *PLACES,
    ]  # also of cards below the window
    chart, legend, *images = [node.name for node in nodes if node.role == "image"]
    assert chart.startswith("The table above as a chart")
    assert legend == "0.0 % to 50.0 %"
    assert "east: doubt 10.0 %" in [node.name for node in nodes if node.role == "link"], "points say what they are of"
    assert images[::2] == [f"Look around in {place}" for place in PLACES]
    assert all(image.startswith("Class shares: road") for image in images[1::2]), "figures, and each once"
    assert {node.role for node in nodes} & {"graphics-symbol", "Canvas"} == set()
    (chart,) = (at for at, node in enumerate(nodes) if (node.role, node.name[:14]) == ("table", "By solid angle"))
    rows = [node.name for node in nodes[chart:] if node.role in ("columnheader", "rowheader", "cell")][:8]
    assert rows == ["class", "mean", "lowest to highest", "road", "91.7 %", "77.8 to 100.0 %", "sky", "8.3 %"]


def test_the_viewer_tells_what_it_shows_and_its_live_regions_are_there_before_they_speak(
    page: Path, browser: Tab
) -> None:
    open_first(browser, page)
    nodes = browser.read()
    assert [node for node in nodes if node.role in NAMED and not node.name.strip()] == []
    assert [node.name for node in nodes if node.role == "dialog"] == ["north"]
    assert not [node for node in nodes if node.role == "region"], "the page behind it is not read"
    assert [node.role for node in nodes].count("status") == 1, "each thing is told once"
    (view,) = (node for node in nodes if node.role == "slider" and node.name == "360-degree view")
    assert "Escape closes" in view.description
    assert text_of(browser, "said") == "north, below panorama, above ensemble, opacity 60 %, 90 degrees wide"


def test_the_gallery_and_the_map_are_used_by_keys_alone(page: Path, browser: Tab) -> None:
    browser.open(page)
    tab_to(browser, "find")
    for letter in "st":
        browser.press(letter)
    assert text_of(browser, "found") == "2 of 6"
    browser.press("Tab", shift=True)
    assert browser.focused() == "sort"
    browser.press("d")  # doubt: the first that begins so
    assert browser.evaluate("document.querySelector('.card h3').textContent") == "bridge"
    browser.open(page)
    tab_to(browser, "point")
    browser.press("Tab")
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.closest('.card').textContent").startswith("east")


def test_the_viewer_is_used_by_keys_alone_and_goes_back_where_it_was_opened(page: Path, browser: Tab) -> None:
    open_first(browser, page)
    assert browser.focused() == "stage"
    said = dict[str, str]()
    for key in ("ArrowRight", "5", "]", "s", "f", "n"):
        browser.press(key)
        browser.wait("view.layers.length")
        said[key] = text_of(browser, "said")
    assert said["5"] == "above reliability" and said["]"] == "opacity 70 %"
    assert (said["s"], said["f"], said["n"]) == ("side by side", "flat", "east")
    browser.press("ArrowLeft")
    assert text_of(browser, "said").startswith("the picture's middle: sidewalk: assistant; road: ensemble")
    visited = list[str]()
    for _ in range(13):
        browser.press("Tab")
        visited.append(browser.focused())
    assert {"base", "top", "opacity", "swipe", "swipe-place", "flat", "previous", "next", "close", "stage",
            "SUMMARY"} <= set(visited)  # fmt: skip
    assert not {"look", "sort", "find", "point"} & set(visited), "the page behind it has no focus"
    browser.press("Escape")
    assert browser.evaluate("element('viewer').hidden && !element('report').inert")
    assert (browser.focused(), browser.evaluate("document.title")) == ("look", "walk: panoramas")


def test_sliders_tell_their_value_in_words_and_controls_keep_the_focus(page: Path, browser: Tab) -> None:
    def value_of(element: str) -> str:
        return browser.evaluate(f"element('{element}').getAttribute('aria-valuetext')")

    open_first(browser, page)
    for key in ("ArrowRight", "ArrowDown"):
        browser.press(key)
    assert text_of(browser, "said").startswith("8 degrees right, 8 degrees down: ")
    browser.evaluate("element('base').options[0].isTheSame = true")
    tab_to(browser, "opacity")
    browser.press("ArrowRight")
    assert value_of("opacity") == "65 %"
    tab_to(browser, "swipe")
    browser.press(" ")
    assert value_of("swipe-place") == "50 % from the left"
    tab_to(browser, "next")
    browser.press("Enter")
    browser.wait("view.layers.length")
    assert (text_of(browser, "view-name"), browser.focused()) == ("east", "next")
    assert browser.evaluate("element('base').options[0].isTheSame"), "new options would take a reader elsewhere"
    tab_to(browser, "stage")
    assert value_of("stage").startswith("8 degrees right, 8 degrees down: sidewalk: assistant")
