"""The report in a real browser: it shows the sphere, layers mix, the seam and the poles are without a line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import goodsam
from stages.report.source import read_source
from stages.report.write import ReportJob, write_report
from tests.stages.report_folder import NAMES, TEAL, make_maps, make_pictures, save, with_all_layers

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
ROAD_COLOUR = (128, 64, 128)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path: the report is not tried in a browser"),
]


def browse(page: Path, address: str, folder: Path, *wanted: str) -> str:
    """What the browser prints; an error on its console fails, as does a request of the page to elsewhere."""
    log = folder / "net.json"
    command = [str(BROWSER), "--headless", "--no-sandbox", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
               f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--window-size=800,600",
               f"--log-net-log={log}", "--host-resolver-rules=MAP * ~NOTFOUND",
               *(SOFTWARE if "--disable-gpu" not in wanted else ()), *wanted, f"{page.as_uri()}#{address}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "The flat picture is shown" not in line]
    assert told == []
    events = log.read_text(encoding="utf-8", errors="replace").splitlines()
    of_the_page = [event for event in events if "site=file://" in event]  # not those of the browser itself
    assert re.findall(r'"url":"((?:http|ws)[^"]*)"', "".join(of_the_page)) == []
    return done.stdout


def screenshot(page: Path, address: str, folder: Path) -> np.ndarray:
    """The middle of the viewer, RGB."""
    shot = folder / "shot.png"
    browse(page, address, folder, f"--screenshot={shot}")
    return np.asarray(Image.open(shot).convert("RGB"))[150:400, 100:700].astype(float)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a picture that is smooth over the seam and at the poles."""
    folder = tmp_path_factory.mktemp("report")
    maps = make_maps(folder / "maps", exported=True)
    height, width = 512, 1024
    yaw = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    pitch = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    wave = np.cos(pitch)[:, None] * np.cos(yaw)[None]
    smooth = np.stack([128 + 100 * wave] * 3, axis=-1).astype(np.uint8)
    make_pictures(folder / "photos", NAMES[:1], np.asarray(Image.new("RGB", (256, 128), TEAL)))
    make_pictures(folder / "photos", NAMES[1:], smooth)
    write_report(ReportJob(read_source(maps, folder / "photos"), maps, folder / "out", width=1024))
    return folder / "out" / "index.html"


def test_the_view_shows_the_picture_and_the_address_changes_the_layer(page: Path, tmp_path: Path) -> None:
    for address, colour in (("view=0&opacity=0", TEAL), ("view=0&opacity=1", ROAD_COLOUR),
                            ("view=0&opacity=0&flat=1", TEAL)):  # fmt: skip
        found = screenshot(page, address, tmp_path).reshape(-1, 3).mean(axis=0)
        assert np.abs(found - colour).max() < 4, address
    half = screenshot(page, "view=0&swipe=0.5", tmp_path)
    assert np.abs(half[:, :280].mean(axis=(0, 1)) - TEAL).max() < 4
    assert np.abs(half[:, 320:].mean(axis=(0, 1)) - ROAD_COLOUR).max() < 4


@pytest.mark.parametrize("address", ["yaw=180", "yaw=180&pitch=90", "pitch=-90"])
def test_seam_and_poles_are_without_a_line(address: str, page: Path, tmp_path: Path) -> None:
    found = screenshot(page, f"view=1&opacity=0&{address}", tmp_path)
    assert found.std() > 2, "something is seen"
    for axis in (0, 1):
        assert np.abs(np.diff(found, axis=axis)).max() < 6


def test_the_page_without_webgl_shows_the_flat_picture(page: Path, tmp_path: Path) -> None:
    without = browse(page, "view=0", tmp_path, "--disable-gpu", "--disable-3d-apis", "--dump-dom")
    assert 'data-viewer="flat"' in without


def test_the_gallery_opens_without_errors_and_the_map_is_coloured(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", positions={0: (48.1, 11.5), 2: (48.2, 11.5)})
    write_report(ReportJob(read_source(maps), maps, tmp_path / "one.html", is_single=True, width=256))
    dom = browse(tmp_path / "one.html", "", tmp_path, "--dump-dom")
    assert len(re.findall(r'class="point"[^>]*style="fill: rgb', dom)) == 2
    assert "data-viewer" not in dom
    opened = browse(tmp_path / "one.html", "view=1", tmp_path, "--dump-dom")
    assert 'data-viewer="sphere"' in opened


SWITCHES = """<script>window.addEventListener("load", () => {
  const gl = view.sphere.gl, seen = {}, pixel = new Uint8Array(4), top = element("top");
  for (const { value, text } of [...top.options]) {
    top.value = value;
    top.dispatchEvent(new Event("change"));
    gl.readPixels(gl.drawingBufferWidth / 2, gl.drawingBufferHeight / 2, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    seen[text] = pixel.join();
  }
  document.body.dataset.told = JSON.stringify({ seen, under: wordsAt([0.5, 0.5]) });
});</script></body>"""


def test_every_layer_of_a_run_can_be_shown_and_told(tmp_path: Path) -> None:
    maps, photos = make_maps(tmp_path / "maps", exported=True), make_pictures(tmp_path / "photos")
    source = with_all_layers(read_source(maps, photos), tmp_path)
    page = write_report(ReportJob(source, maps, tmp_path / "out", width=256)).page
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", SWITCHES), encoding="utf-8")
    dom = browse(page, "view=1&opacity=1", tmp_path, "--dump-dom")
    told = json.loads(unescape(re.findall(r'data-told="([^"]*)"', dom)[0]))
    assert list(told["seen"]) == ["panorama", "assistant", "SAM's masks", "ensemble", "reliability", "confidence",
                                  "unknown objects", "student", "truth"]  # fmt: skip
    assert len(set(told["seen"].values())) == 9, "each layer shows something else"
    assert told["under"] == ("sidewalk: assistant; road: ensemble; building: student; wall: truth, probability 80.0 %, "
                             "reliable, unknown object")  # fmt: skip


BESIDE = """<script>window.addEventListener("load", () => {
  element("sort").value = "differs-truth";
  sortGallery();
  const order = [...document.querySelectorAll(".card")].map((card) => card.dataset.panorama).join();
  const layers = [...element("top").options].map((option) => option.text).join();
  document.body.dataset.told = [order, layers, element("top").value, wordsAt([0.5, 0.5])].join("; ");
});</script></body>"""


def test_labels_from_elsewhere_are_layers_and_the_gallery_sorts_by_what_differs(tmp_path: Path) -> None:
    maps, other = make_maps(tmp_path / "maps", ["a", "b", "c"]), make_maps(tmp_path / "b5", ["a", "b", "c"])
    for name, labels_hw in (("a", np.zeros((128, 256))), ("c", np.ones((128, 256)))):
        save(tmp_path / "truth" / f"{name}.png", labels_hw.astype(np.uint8))
    page = goodsam.report(maps, tmp_path / "out", truth=tmp_path / "truth", compare=[other], width=256).page
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", BESIDE), encoding="utf-8")
    dom = browse(page, "view=2&top=compared-1", tmp_path, "--dump-dom")
    order, layers, top, under = unescape(re.findall(r'data-told="([^"]*)"', dom)[0]).split("; ", 3)
    assert (order, layers, top) == ("2,0,1", "labels,truth,b5", "compared-1")
    assert under == "road: labels, b5; sidewalk: truth"


def test_a_request_to_elsewhere_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<!DOCTYPE html><img src="https://example.org/picture.png">')
    with pytest.raises(AssertionError, match=r"example\.org"):
        browse(page, "", tmp_path, "--dump-dom")


SORT = """<script>element("sort").value = "latitude"; sortGallery();
document.body.dataset.told = [...document.querySelectorAll(".card")].map((card) => card.dataset.panorama).join();
</script></body>"""


def test_the_gallery_sorts_by_place_and_what_has_none_comes_last(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["a", "b", "c", "d"], positions={1: (-48.2, 11.5), 3: (48.1, 11.5)})
    page = write_report(ReportJob(read_source(maps), maps, tmp_path / "out", with_viewer=False)).page
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", SORT), encoding="utf-8")
    assert 'data-told="3,1,0,2"' in browse(page, "", tmp_path, "--dump-dom")


KEYS = """<script>window.addEventListener("load", () => {
  const press = (key) => element("stage").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const told = [];
  for (const key of ["ArrowRight", "ArrowUp", "4", "s"]) press(key);
  told.push(location.hash, element("under").textContent);
  press("Escape");
  told.push(element("viewer").hidden, element("report").inert);
  document.body.dataset.told = told.join("; ");
});</script></body>"""


FINGERS = """<script>window.addEventListener("load", () => {
  const stage = element("stage"), told = [];
  stage.setPointerCapture = () => {};
  const finger = (type, pointerId, clientX, clientY) =>
    stage.dispatchEvent(new PointerEvent(type, { pointerId, clientX, clientY, bubbles: true }));
  const tell = () => told.push([view.yaw, view.pitch, view.fov].map((value) => value.toFixed(2)).join(" "));
  finger("pointermove", 1, 500, 300); tell();
  finger("pointerdown", 1, 400, 300); finger("pointermove", 1, 320, 300); tell();
  finger("pointerdown", 2, 420, 300); finger("pointermove", 2, 520, 300); tell();
  finger("lostpointercapture", 1, 320, 300); finger("lostpointercapture", 2, 520, 300);
  finger("pointermove", 2, 0, 0); tell();
  document.body.dataset.told = told.join("; ") + "; " + stage.clientWidth;
});</script></body>"""


def test_one_finger_turns_and_two_zoom(page: Path, tmp_path: Path) -> None:
    copy = page.with_name("fingers.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", FINGERS), encoding="utf-8")
    dom = browse(copy, "view=0", tmp_path, "--dump-dom")
    copy.unlink()
    *views, width = unescape(re.findall(r'data-told="([^"]*)"', dom)[0]).split("; ")
    hovered, turned, zoomed, released = ([float(value) for value in one.split()] for one in views)
    fov = hovered[2]
    assert turned == pytest.approx([hovered[0] + 80 * fov / float(width), hovered[1], fov], abs=0.02)
    assert zoomed[2] == pytest.approx(fov * 100 / 200, abs=0.02), "the fingers are twice as far apart"
    assert released == zoomed, "a finger that was lifted does nothing"


def test_keys_turn_choose_layers_and_close_and_the_class_is_told(page: Path, tmp_path: Path) -> None:
    copy = page.with_name("keys.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", KEYS), encoding="utf-8")
    dom = browse(copy, "view=0", tmp_path, "--dump-dom")
    copy.unlink()
    told = unescape(re.findall(r'data-told="([^"]*)"', dom)[0])
    address, under, hidden, inert = told.split("; ")
    for part in ("view=0", "yaw=7.5", "pitch=7.5", "top=reliability", "swipe=0.5"):
        assert part in address
    assert (under, hidden, inert) == ("road, probability 80.0 %, reliable, in no mask", "true", "false")
