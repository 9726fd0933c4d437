"""The report in a real browser: it shows the sphere, layers mix, the seam and the poles are without a line."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.report.source import read_source
from stages.report.write import ReportJob, write_report
from tests.stages.report_folder import NAMES, TEAL, make_maps, make_pictures

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
ROAD_COLOUR = (128, 64, 128)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path: the report is not tried in a browser"),
]


def browse(page: Path, address: str, folder: Path, *wanted: str) -> str:
    """What the browser prints; an error on its console fails."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
               f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--window-size=800,600",
               *(SOFTWARE if "--disable-gpu" not in wanted else ()), *wanted, f"{page.as_uri()}#{address}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "The flat picture is shown" not in line]
    assert told == []
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


KEYS = """<script>window.addEventListener("load", () => {
  const press = (key) => element("stage").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const told = [];
  for (const key of ["ArrowRight", "ArrowUp", "3", "s"]) press(key);
  told.push(location.hash, element("under").textContent);
  press("Escape");
  told.push(element("viewer").hidden, element("report").inert);
  document.body.dataset.told = told.join("; ");
});</script></body>"""


def test_keys_turn_choose_layers_and_close_and_the_class_is_told(page: Path, tmp_path: Path) -> None:
    copy = page.with_name("keys.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", KEYS), encoding="utf-8")
    dom = browse(copy, "view=0", tmp_path, "--dump-dom")
    copy.unlink()
    told = unescape(re.findall(r'data-told="([^"]*)"', dom)[0])
    address, under, hidden, inert = told.split("; ")
    for part in ("view=0", "yaw=7.5", "pitch=7.5", "top=reliability", "swipe=0.5"):
        assert part in address
    assert (under, hidden, inert) == ("road, probability 80.0 %, reliable", "true", "false")
