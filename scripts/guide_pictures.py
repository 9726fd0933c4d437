"""Makes the pictures of stages/guides/ from the demo world, with the embedded networks.

    python -m scripts.guide_pictures

It takes one panorama of `scripts.street_walk` through `goodsam predict` and stage one of the recipe `demo`, in
cache/guides: half a minute on one core. The files are below 150 kB each.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import goodsam
from pipeline.arrays import ImageArray
from scripts.street_walk import render_walk
from stages.events import silent
from stages.export import ExportJob, export
from stages.files import write_whole

GUIDES = Path("stages/guides")
WORK = Path("cache/guides")
MOST_BYTES = 150_000
_QUALITIES = (88, 80, 70, 60)


def panel(rows: Sequence[Sequence[ImageArray]], width: int, gap: int = 4) -> Image.Image:
    """Pictures in rows and columns, white between them.

    Args:
        rows: RGB pictures of 2:1, as many in every row.
        width: of each in the panel, pixels.
        gap: between them, pixels.
    """
    height, columns = width // 2, len(rows[0])
    size = (columns * width + (columns - 1) * gap, len(rows) * height + (len(rows) - 1) * gap)
    sheet = Image.new("RGB", size, "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * (width + gap), row * (height + gap)))
    return sheet


def write_small(path: Path, picture: Image.Image) -> None:
    """Write a JPEG of at most MOST_BYTES, in the best quality that it allows.

    Raises:
        ValueError: it is larger in every quality.
    """
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            write_whole(path, buffer.getvalue())
            return
    raise ValueError(f"{path} would have more than {MOST_BYTES} bytes")


def _rgb(path: Path) -> ImageArray:
    return np.array(Image.open(path).convert("RGB"))


def maps_picture(photos: Path, work: Path) -> Image.Image:
    """A panorama, and what `goodsam predict --model demo` makes of it."""
    goodsam.predict(photos / "1.jpg", work / "maps", "demo", silent)
    return panel([[_rgb(photos / "1.jpg")], [_rgb(work / "maps" / "overlays" / "1.jpg")]], 800)


def method_picture(photos: Path, work: Path, settings: Sequence[str] = ()) -> Image.Image:
    """A panorama, SAM's masks, the ensemble, and where it is reliable, by stage one of the recipe demo."""
    folders = (f"data.panoramas={photos}", "data.evaluation=", "data.labels=", "data.limit=1")
    run = goodsam.open_run("demo", work, [*folders, *settings])
    goodsam.teacher_cache(run, silent)
    maps = work / "export"
    export(ExportJob(run, maps, frozenset(("overlays", "mask-overlays", "reliability"))), silent)
    (name,) = (path.stem for path in (maps / "overlays").glob("*.jpg"))
    picture, overlay = _rgb(photos / f"{name}.jpg"), _rgb(maps / "overlays" / f"{name}.jpg")
    reliable_hw = np.array(Image.open(maps / "reliability" / f"{name}.png")) > 0
    doubtful = np.where(reliable_hw[..., None], picture, picture // 4)
    return panel([[picture, _rgb(maps / "mask-overlays" / f"{name}.jpg")], [overlay, doubtful]], 560)


def main() -> None:
    """Command line."""
    render_walk(WORK / "photos", 1)
    for name, picture in (
        ("maps.jpg", maps_picture(WORK / "photos", WORK)),
        ("method.jpg", method_picture(WORK / "photos", WORK)),
    ):
        write_small(GUIDES / name, picture)
        print(GUIDES / name)


if __name__ == "__main__":
    main()
