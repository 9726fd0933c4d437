"""Measures how long a report of many panoramas takes to load in a browser.

    python -m scripts.measure_report --panoramas 500

Writes small made-up pictures and label maps with positions, makes a report of them as `goodsam report` does, and opens
it in headless chromium, which must be on the path. Each time a new browser loads it from the disk, sorts the gallery by
doubt and lays out gallery, map and chart: from then on the page can be used. Times count from the beginning of the
navigation; the browser's own time from its start to its end is told beside them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from pipeline.arrays import ImageArray
from pipeline.classes import DENSEPASS_13
from pipeline.errors import InputError
from pipeline.panorama.capture import Capture
from stages.files import write_picture
from stages.label_files import label_path, write_labels
from stages.map_tables import write_map_tables
from stages.report.source import read_source
from stages.report.write import ReportJob, write_report
from stages.tables import PanoramaRow

HEIGHT, WIDTH = 128, 256
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_USE = """<script>
element("sort").value = "doubt";
sortGallery();
const heights = ["gallery", "map-title", "shares-title"].map((id) => element(id).getBoundingClientRect().height);
const usable = performance.now();
window.addEventListener("load", () => {
  const points = document.querySelectorAll(".point[style]").length;
  document.body.dataset.times = JSON.stringify({ usable, loaded: performance.now(), points, heights });
});
</script></body>"""
"""Stands at the end of the page: asking for a height makes the browser lay everything out."""


@dataclass(frozen=True)
class Load:
    """One load of the page; seconds."""

    usable: float
    """Until the sorted gallery, the map and the chart were laid out."""
    loaded: float
    """Until everything that is seen at first was loaded."""
    browser: float
    """From the start of the browser to its end."""


def make_source(folder: Path, panoramas: int) -> Path:
    """Write made-up pictures (`folder`/photos) and maps of them; returns the folder of the maps."""
    random, maps = np.random.default_rng(0), folder / "maps"
    rows: dict[str, PanoramaRow] = {}
    for number in range(panoramas):
        name, shares = f"street/{number:04}", random.dirichlet(np.full(len(DENSEPASS_13) + 1, 0.5))
        write_picture(folder / "photos" / f"{name}.png", Image.fromarray(_picture(random)))
        labels_HW = np.repeat(random.integers(0, len(DENSEPASS_13), HEIGHT // 8), 8).astype(np.uint8)
        write_labels(label_path(maps, name), np.repeat(labels_HW[:, None], WIDTH, axis=1), DENSEPASS_13, {})
        capture = Capture(48.2 + random.normal(0, 0.01), 16.37 + random.normal(0, 0.01))
        rows[name] = PanoramaRow(f"{name}.png", capture, 1.0, tuple(shares), random.random(), random.random(), 180.0)
    write_map_tables(maps, rows, DENSEPASS_13)
    return maps


def _picture(random: np.random.Generator) -> ImageArray:
    """Blotches of colour, which as a JPEG take about what a street takes."""
    small = Image.fromarray(random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8))
    return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def load(page: Path, browser: str, folder: Path) -> Load:
    """Open a report's page in a new browser.

    Args:
        page: index.html; a copy beside it is opened and removed.
        browser: chromium's program.
        folder: for the browser's own files.

    Raises:
        InputError: the browser did not open it, or did not show the map.
    """
    copy = page.with_name("measured.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", _USE), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
               f"--user-data-dir={folder}", "--window-size=1280,900", "--dump-dom", copy.as_uri()]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    seconds = time.perf_counter() - began
    copy.unlink()
    told = re.search(r'data-times="([^"]*)"', done.stdout)
    times = json.loads(unescape(told[1])) if told else {}
    if not times or not times["points"] or not all(times["heights"]):
        raise InputError(f"{browser} did not show {page}", "it lays out gallery, map and chart",
                         "Open the page, and look at its console")  # fmt: skip
    return Load(times["usable"] / 1000, times["loaded"] / 1000, seconds)


def measure(panoramas: int, times: int, folder: Path) -> str:
    """Make a report and load it some times; returns a sentence with the medians.

    Raises:
        InputError: there is no chromium, or it does not show the page.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise InputError("there is no chromium on the path", "the report is opened in one", "Install it")
    maps = make_source(folder, panoramas)
    source = read_source(maps, folder / "photos")
    began = time.perf_counter()
    page = write_report(ReportJob(source, maps, folder / "report", width=256)).page
    made = time.perf_counter() - began
    loads = [load(page, browser, folder / f"browser-{number}") for number in range(times)]
    usable, loaded, whole = (median(values) for values in zip(
        *((own.usable, own.loaded, own.browser) for own in loads), strict=True))  # fmt: skip
    return (f"{panoramas} panoramas, page of {page.stat().st_size / 2**20:.1f} MiB, made in {made:.1f} s: usable after "
            f"{usable:.2f} s, loaded after {loaded:.2f} s (median of {times}; slowest "
            f"{max(own.loaded for own in loads):.2f} s); browser from start to end {whole:.2f} s")  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure how long a report takes to load in chromium.")
    parser.add_argument("--panoramas", type=int, default=500)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(arguments.panoramas, arguments.times, Path(folder)))


if __name__ == "__main__":
    main()
