"""What stage one has yet to do: by the store's marks, without reading pictures that are as they were."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cache.store import TeacherStore
from stages import missing
from stages.events import silent
from stages.files import digest
from stages.missing import CachedPanoramas, StoredProducts
from stages.panorama_records import PanoramaRecords
from stages.products import fingerprints
from stages.runs import Run
from stages.splits import SplitPanorama, all_panoramas
from tests.stages.small_run import discard, small_run, write_panorama


@pytest.fixture
def run(own_finished: Path) -> Run:
    own = small_run(own_finished)
    to_do(own)  # the folder is a copy: its pictures are read once
    return own


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are read."""
    names: list[str] = []
    monkeypatch.setattr(missing, "digest", lambda path: (names.append(path.name), digest(path))[1])
    return names


def cached(run: Run) -> CachedPanoramas:
    return CachedPanoramas(TeacherStore.open(run.store, "a"), fingerprints(run.recipe), PanoramaRecords(run.panoramas))


def ids(panoramas: list[SplitPanorama]) -> list[str]:
    return [panorama.id for panorama in panoramas]


def to_do(run: Run, **own_masks: str) -> list[str]:
    masks = {f"panoramas/{name[1:]}": value for name, value in own_masks.items()}
    return ids(cached(run).missing(all_panoramas(run.recipe), masks, "test", silent))


def test_of_a_finished_run_nothing_is_missing_and_nothing_is_read(run: Run, read: list[str]) -> None:
    assert to_do(run) == [] and read == []


@pytest.mark.parametrize("product", ["masks", "assistant", "ensemble"])
def test_a_panorama_that_lacks_a_product_is_missing(run: Run, product: str) -> None:
    discard(run, product, "panoramas/1")
    assert to_do(run) == ["panoramas/1"]


def test_other_settings_lack_everything(run: Run) -> None:
    assert len(to_do(small_run(run.folder.parent.parent, fusion={"theta": 0.9}))) == 4


def test_a_copied_picture_is_read_once_and_known(run: Run, read: list[str]) -> None:
    shutil.copy(Path(run.recipe.data.panoramas) / "1.png", Path(run.recipe.data.panoramas) / "other.png")
    assert to_do(run) == [] and read == ["other.png"]
    assert to_do(run) == [] and len(read) == 1, "what was read is recorded"


def test_a_changed_picture_is_read_and_missing(run: Run, read: list[str]) -> None:
    write_panorama(Path(run.recipe.data.panoramas) / "1.png", seed=77)
    assert to_do(run) == ["panoramas/1"] and read == ["1.png"]


def test_a_moved_folder_is_read_once_and_another_one_is_not_taken_for_it(run: Run, read: list[str]) -> None:
    photos = Path(run.recipe.data.panoramas)
    moved = photos.rename(photos.with_name("moved"))
    there = replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, panoramas=str(moved))))
    assert to_do(there) == [] and sorted(read) == ["0.png", "1.png", "2.png"]
    assert to_do(there) == [] and len(read) == 3, "what was read is recorded"
    photos.mkdir()
    for name in ("0.png", "1.png", "2.png"):
        status = (moved / name).stat()
        (photos / name).write_bytes((moved / name).read_bytes()[::-1] if name == "1.png" else b" " * status.st_size)
        os.utime(photos / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.copy2(moved / "2.png", photos / "2.png")
    assert to_do(run) == ["panoramas/0", "panoramas/1"]


def test_a_link_to_the_folder_is_the_folder(run: Run, read: list[str]) -> None:
    photos = Path(run.recipe.data.panoramas)
    link = photos.with_name("link")
    link.symlink_to(photos)
    assert to_do(replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, panoramas=str(link))))) == []
    assert read == []


def test_another_mask_of_a_panorama_is_missing_without_reading_it(run: Run, read: list[str]) -> None:
    assert to_do(run, p1="a" * 64) == ["panoramas/1"] and read == []


def test_of_an_empty_store_pictures_are_not_read(run: Run, read: list[str]) -> None:
    shutil.rmtree(run.store)
    run.panoramas.unlink()
    assert len(to_do(run)) == 4 and read == []


def test_pictures_that_cannot_be_read_are_left_to_the_task_that_says_why(run: Run) -> None:
    (Path(run.recipe.data.panoramas) / "new.png").mkdir()
    panorama = SplitPanorama("panoramas/new", Path(run.recipe.data.panoramas) / "new.png")
    assert ids(cached(run).missing([panorama], {}, "test", silent)) == ["panoramas/new"]


def test_sizes_and_digests_are_those_that_were_found(run: Run) -> None:
    found, panoramas = cached(run), all_panoramas(run.recipe)
    assert found.known_digest(panoramas[0]) == "" and found.size(panoramas[0]) == 0, "nobody has looked"
    found.missing(panoramas, {}, "test", silent)
    for panorama in panoramas:
        assert found.size(panorama) == panorama.path.stat().st_size
        assert found.known_digest(panorama) == digest(panorama.path)


def test_what_is_stored_meanwhile_is_learned(run: Run, read: list[str]) -> None:
    found, panoramas = cached(run), all_panoramas(run.recipe)
    found.learn([*panoramas, SplitPanorama("panoramas/unknown", Path("unknown.png"))])
    products = StoredProducts(TeacherStore.open(run.store, "a"), fingerprints(run.recipe))
    records = PanoramaRecords(run.panoramas)
    assert [products.missing_of(record) for record in records.values()] == [()] * 4
    discard(run, "masks", "panoramas/1")
    again = StoredProducts(TeacherStore.open(run.store, "a"), fingerprints(run.recipe))
    assert again.missing_of(records["panoramas/1"]) == ("masks",) and read == []
