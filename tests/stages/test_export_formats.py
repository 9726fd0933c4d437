"""Exports for labelling tools and data sets: each is read back by its own tool, or by its reader here."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.exchange.cvat import read_cvat
from pipeline.exchange.regions import LabelledPicture
from stages.events import silent
from stages.export import ExportJob, export
from stages.export_formats import LOCAL_FILES, picture_address
from stages.import_matching import Matcher
from stages.import_sources import Incoming
from stages.panorama_records import PanoramaRecords
from stages.splits import SplitPanorama
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import read_product, small_run


def job_of(folder: Path, out: Path, format_: str, **options: Any) -> ExportJob:
    return ExportJob(small_run(folder), out, frozenset[str](), format_, **options)


def cached(folder: Path, name: str) -> np.ndarray:
    return read_product(small_run(folder), "ensemble", f"panoramas/{name}")["ensemble_labels"]


def test_coco_tools_open_the_export(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco: Any = importlib.import_module("pycocotools.coco")
    export(job_of(finished, tmp_path, "coco"))
    found = coco.COCO(tmp_path / "instances.json")
    capsys.readouterr()
    assert [picture["file_name"] for picture in found.loadImgs(found.getImgIds())] == ["0.png", "1.png", "2.png"]
    assert [one["name"] for one in found.loadCats(found.getCatIds())] == list(DENSEPASS_13.names)
    labels = np.full((64, 128), IGNORE, np.uint8)
    for segment in found.loadAnns(found.getAnnIds(imgIds=2)):
        labels[found.annToMask(segment) == 1] = segment["category_id"] - 1
    np.testing.assert_array_equal(labels, cached(finished, "1"))
    panoptic = json.loads((tmp_path / "panoptic.json").read_text())["annotations"]
    ids = np.asarray(Image.open(tmp_path / "panoptic" / panoptic[1]["file_name"])).astype(int) @ [1, 256, 65536]
    assert {one["id"]: one["area"] for one in panoptic[1]["segments_info"]} == {
        number: int((ids == number).sum()) for number in np.unique(ids[ids > 0]).tolist()
    }


def test_cvat_gets_masks_of_every_picture_and_the_classes(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path, "cvat"))
    with (tmp_path / "annotations.xml").open("rb") as file:
        pictures = {picture.name: picture.labels_hw for picture in read_cvat(file, DENSEPASS_13, "annotations.xml")}
    assert list(pictures) == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(pictures["2.png"], cached(finished, "2"))
    task = parse(tmp_path / "annotations.xml").getroot().find("meta/task")
    assert task is not None and task.findtext("size") == "3" and len(list(task.iter("label"))) == 13
    assert len(json.loads((tmp_path / "labels.json").read_text())) == 13


def test_label_studio_gets_tasks_that_name_picture_and_content(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path, "labelstudio", url_prefix="https://pictures/"))
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    record = PanoramaRecords(small_run(finished).panoramas)["panoramas/0"]
    picture = {"image": "https://pictures/0.png", "panorama": "0.png", "sha256": record.sha256, "size": "original"}
    assert tasks[0]["data"] == picture
    assert {region["type"] for region in tasks[0]["predictions"][0]["result"]} == {"brushlabels"}
    assert "BrushLabels" in (tmp_path / "interface.xml").read_text()


def test_a_data_set_has_pictures_labels_and_what_is_known_of_each(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path, "hf-dataset"))
    rows = [json.loads(line) for line in (tmp_path / "train" / "metadata.jsonl").read_text().splitlines()]
    assert [row["image_file_name"] for row in rows] == [f"images/{name}.png" for name in "012"]
    picture = tmp_path / "train" / rows[1]["image_file_name"]
    assert picture.read_bytes() == (finished / "photos" / "1.png").read_bytes()
    labels = np.asarray(Image.open(tmp_path / "train" / rows[1]["label_file_name"]))
    np.testing.assert_array_equal(labels, cached(finished, "1"))
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\ntask_categories:\n- image-segmentation") and "| 12 | car |" in card
    assert not (tmp_path / "panoramas.csv").exists(), "datasets would take it for data"


@pytest.mark.slow
def test_datasets_opens_the_data_set(finished: Path, tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="datasets is not installed")
    export(job_of(finished, tmp_path / "out", "hf-dataset"))
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    np.testing.assert_array_equal(np.asarray(found[0]["label"]), cached(finished, "0"))
    assert found[0]["image"].size == (128, 64)


def test_pictures_of_the_working_size_lie_beside_the_annotations(finished: Path, tmp_path: Path) -> None:
    export(job_of(finished, tmp_path, "cvat", size="working", split="all"))
    names = [image.get("name") for image in parse(tmp_path / "annotations.xml").getroot().iter("image")]
    assert names[0] == "images/evaluation/9.jpg" and len(names) == 4
    assert all((tmp_path / str(name)).is_file() for name in names)


def test_a_rerun_of_a_format_writes_nothing_anew_but_its_summary(finished: Path, tmp_path: Path) -> None:
    job = job_of(finished, tmp_path, "cvat")
    assert export(job).written == 3
    before = (tmp_path / "annotations.xml").read_bytes()
    (tmp_path / "annotations.xml").unlink()
    assert export(job).written == 0 and (tmp_path / "annotations.xml").read_bytes() == before
    with pytest.raises(InputError, match="holds an export of format cvat; this one is of format coco"):
        replace(job, format="coco")


@pytest.mark.parametrize(
    ("format_", "file"),
    [("coco", "instances.json"), ("cvat", "annotations.xml"), ("labelstudio", "tasks.json"),
     ("hf-dataset", "train/metadata.jsonl"), ("masks", "panoramas.csv")],
)  # fmt: skip
def test_pictures_that_are_gone_or_renamed_are_no_longer_listed(own_finished: Path, format_: str, file: str) -> None:
    out, photos = own_finished / "out", own_finished / "photos"
    job = job_of(own_finished, out, format_)
    export(job)
    assert "2.png" in (out / file).read_text()
    (photos / "2.png").rename(photos / "1a.png")
    teacher_cache(job.run, silent)
    assert export(job).written == 1
    assert "1a.png" in (out / file).read_text() and "2.png" not in (out / file).read_text()
    few = replace(job, run=small_run(own_finished, data={"limit": 1}))
    assert export(few).kept == 1
    assert "1a.png" in (out / file).read_text(), "a limit says what is worked on, not what there is"


def test_what_a_format_lacks_is_reported_before_anything_is_written(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.exchange.coco.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pycocotools is not installed"):
        job_of(finished, tmp_path / "out", "coco")
    with pytest.raises(InputError, match="--format hf-dataset has maps of its own"):
        ExportJob(small_run(finished), tmp_path / "out", frozenset(("labels",)), "hf-dataset")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        (LOCAL_FILES, "/data/local-files/?d=day%201/a%2Bb%20%26%20c%23d%2050%2525%20%C3%A9.png"),
        ("https://pictures/", "https://pictures/day%201/a%2Bb%20%26%20c%23d%2050%2525%20%C3%A9.png"),
        ("s3://bucket/", "s3://bucket/day 1/a+b & c#d 50%25 é.png"),
    ],
)
def test_addresses_of_label_studio_are_quoted_and_understood(prefix: str, address: str) -> None:
    path = "day 1/a+b & c#d 50%25 é.png"
    assert picture_address(prefix, path) == address
    panorama = SplitPanorama("panoramas/day 1/a+b & c#d 50%25 é", Path("any.png"))
    matcher = Matcher([panorama, SplitPanorama("panoramas/other", Path("any.png"))])
    for written in (address, f"{prefix}{path}", path):  # with quotes, as before, and as in a folder
        picture = LabelledPicture(written, np.zeros((2, 4), np.uint8), "")
        assert matcher.match(Incoming(written, picture))[0] == panorama
