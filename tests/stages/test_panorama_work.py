"""A panorama opened to compute its products: its sizes, what is ignored of it, and what is stored with a product."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cache.store import TeacherStore
from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from stages.files import digest
from stages.panorama_records import PanoramaRecord, record_of, size_and_time
from stages.panorama_work import PanoramaTask, PanoramaWork, open_work, provenance, reduced_width, store_product
from stages.products import Product
from tests.stages.small_run import HEIGHT, WIDTH, write_panorama
from tests.stages.test_panorama_task import task_of


def opened(task: PanoramaTask, mask_sha256: str = "") -> PanoramaWork:
    path = task.panorama.path
    record = record_of(path, "read later", mask_sha256, size_and_time(path))
    return open_work(task, TeacherStore.open(task.store, "a"), record)[0]


def striped(folder: Path, factor: int) -> Path:
    """A picture of so many times the working size, whose columns are black and white in turn."""
    stripes = np.tile(np.array([0, 255], np.uint8), (factor * HEIGHT, factor * WIDTH // 2))
    Image.fromarray(stripes).convert("RGB").save(folder / "street.png")
    return folder


@pytest.mark.parametrize(
    ("wanted", "source", "width"),
    [(0, 4096, 1024), (2048, 4096, 2048), (8192, 4096, 4096), (8192, 4100, 4096), (512, 4096, 1024), (2048, 640, 1024)],
)
def test_a_picture_is_reduced_to_what_is_wanted_never_enlarged_and_never_below_the_working_width(
    wanted: int, source: int, width: int
) -> None:
    assert reduced_width(PanoramaConfig(width=1024), wanted, source) == width


def test_views_are_cut_from_the_pictures_own_pixels(tmp_path: Path) -> None:
    """Stripes that the working width cannot show."""
    work = opened(task_of(striped(tmp_path, 4)))
    assert work.source_width == 4 * WIDTH
    assert work.image_at(0) is work.image_at(WIDTH) is work.image_HW3
    contrast: dict[int, float] = {}
    for width in (WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH):
        image_HW3 = work.image_at(width)
        own = min(width, 4 * WIDTH)
        assert image_HW3.shape == (own // 2, own, 3)
        contrast[width] = float(np.abs(np.diff(image_HW3[0, :, 0].astype(float))).mean())
    assert contrast[WIDTH] < 10 and contrast[4 * WIDTH] == contrast[8 * WIDTH] == 255


def test_a_picture_that_changes_while_it_is_worked_on_is_refused(tmp_path: Path) -> None:
    work = opened(task_of(striped(tmp_path, 4)))
    assert work.record.sha256 == digest(tmp_path / "street.png"), "of what was read, whatever was known before"
    write_panorama(tmp_path / "street.png", seed=1)
    assert work.image_at(0) is work.image_HW3
    with pytest.raises(InputError, match=r"street\.png changed while"):
        work.image_at(2 * WIDTH)


def rig(folder: Path, rows: slice) -> Path:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[rows] = 255
    Image.fromarray(mask).save(folder / "rig.png")
    return folder / "rig.png"


def test_what_the_panoramas_own_mask_covers_is_ignored(tmp_path: Path) -> None:
    write_panorama(tmp_path / "street.png", seed=1)
    mask = rig(tmp_path, slice(48, None))
    work = opened(replace(task_of(tmp_path), ignore_mask=str(mask), ignore_mask_sha256=digest(mask)))
    assert work.ignored_HW[48:].all() and not work.ignored_HW[:48].any()


def test_a_mask_that_changed_and_one_that_covers_everything_are_refused(tmp_path: Path) -> None:
    write_panorama(tmp_path / "street.png", seed=1)
    mask = rig(tmp_path, slice(48, None))
    with pytest.raises(InputError, match=r"rig\.png is not the (one|file)"):
        opened(replace(task_of(tmp_path), ignore_mask=str(mask), ignore_mask_sha256="b" * 64))
    mask = rig(tmp_path, slice(None))
    with pytest.raises(InputError, match=r"all pixels of .*street\.png are ignored"):
        opened(replace(task_of(tmp_path), ignore_mask=str(mask)))


def test_a_picture_of_which_the_level_band_shows_nothing_is_refused(tmp_path: Path) -> None:
    """A camera that looked at the zenith, in a run of bands around the horizon."""
    tags = {"FullPanoWidthPixels": 256, "FullPanoHeightPixels": 128, "CroppedAreaImageWidthPixels": 80,
            "CroppedAreaImageHeightPixels": 40, "CroppedAreaLeftPixels": 88, "CroppedAreaTopPixels": 44}  # fmt: skip

    def write(pitch: float) -> None:
        xmp = " ".join(f'GPano:{key}="{value}"' for key, value in {**tags, "PosePitchDegrees": pitch}.items())
        Image.new("RGB", (80, 40), (90, 120, 150)).save(tmp_path / "street.jpg", xmp=xmp.encode())

    task = task_of(tmp_path, panorama={"width": WIDTH, "vertical_fov": 60.0})
    task = replace(task, panorama=replace(task.panorama, path=tmp_path / "street.jpg"))
    write(pitch=10)
    assert not opened(task).ignored_HW.all()
    write(pitch=90)
    with pytest.raises(InputError, match=r"all pixels of .*street\.jpg are ignored"):
        opened(task)


def test_a_product_is_stored_with_where_it_comes_from_and_not_twice(tmp_path: Path) -> None:
    write_panorama(tmp_path / "street.png", seed=1)
    values = iter((1.0, 2.0))
    made = Product("made", 1, lambda _: {}, lambda _: {"x": np.full(1, next(values))})
    task = task_of(tmp_path)
    task = replace(task, fingerprints={**task.fingerprints, "made": "a" * 16})
    record = record_of(task.panorama.path, digest(task.panorama.path), "", size_and_time(task.panorama.path))
    store = TeacherStore.open(task.store, "a")
    work, panorama = open_work(task, store, record)
    for _ in range(2):  # as if another process had stored it meanwhile
        store_product(made, work, panorama)
    place = ("made", "a" * 16, work.record.entry(made))
    assert store.read(*place)["x"].tolist() == [1.0]
    assert store.provenance(*place)["source_sha256"] == record.sha256


def test_provenance_names_the_file_its_size_and_its_place_and_a_mask_where_there_is_one(tmp_path: Path) -> None:
    write_panorama(tmp_path / "street.png", seed=1)
    task = task_of(tmp_path)
    record = PanoramaRecord(str(task.panorama.path), "c" * 64, 1, 2)
    panorama = open_work(task, TeacherStore.open(task.store, "a"), record)[1]
    plain, masked = (provenance(one, panorama) for one in (record, replace(record, ignore_mask_sha256="d" * 64)))
    assert (plain["source"], plain["source_sha256"]) == (str(task.panorama.path), "c" * 64)
    assert (plain["source_height"], plain["source_width"]) == (HEIGHT, WIDTH)
    assert plain["placement"]["canvas_width"] == WIDTH
    assert masked == {**plain, "ignore_mask_sha256": "d" * 64}
