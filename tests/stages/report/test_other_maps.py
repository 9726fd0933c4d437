"""Layers from elsewhere: people's labels and other folders of maps, matched, measured, and refused in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import goodsam
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE, LabelSet
from pipeline.errors import InputError, RecipeError
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp
from stages.events import Event, ItemFailed, Note
from stages.report.canvas import Canvas
from stages.report.other_maps import OtherMaps, with_other_maps
from stages.report.source import read_source
from tests.stages.report_folder import HEIGHT, NAMES, ROAD, SKY, TEAL, WIDTH, labels_of, make_maps, make_pictures, save

SIDEWALK = 1


def report(maps: Path, **options: Any) -> tuple[str, list[Event], dict[str, Any]]:
    """The page of a folder of maps, what was told, and what the page's scripts know."""
    events: list[Event] = []
    summary = goodsam.report(maps, maps.parent / "out", events.append, width=256, **options)
    page = summary.page.read_text(encoding="utf-8")
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[0])
    return page, events, data


def layers_of(folder: Path, number: int) -> list[str]:
    script = (folder / "viewer" / f"{number:04}.js").read_text()
    return re.findall(r'"key":"([^"]*)"', script)


def make_truth(folder: Path, names: Sequence[str] = NAMES, value: int = ROAD, shape: tuple[int, int] = (HEIGHT, WIDTH)
               ) -> Path:  # fmt: skip
    for name in names:
        save(folder / f"{name}.png", np.full(shape, value, np.uint8))
    return folder


def refused(maps: Path, truth: Path) -> str:
    """Why the first truth that cannot be used is left out."""
    _, events, _ = report(maps, truth=truth)
    return next(event.error for event in events if isinstance(event, ItemFailed))


def told(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Note))


def test_every_layer_that_a_folder_holds_is_shown(tmp_path: Path) -> None:
    maps, photos = make_maps(tmp_path / "maps", ["a"], exported=True), make_pictures(tmp_path / "photos", ["a"])
    for layer in ("reliable", "assistant", "student", "truth"):
        save(maps / layer / "a.png", labels_of(1))
    save(maps / "unknown" / "a.png", np.zeros((HEIGHT, WIDTH), np.uint16))
    for overlay in ("overlays", "mask-overlays", "unknown-overlays"):
        (maps / overlay).mkdir()
        Image.new("RGB", (WIDTH, HEIGHT), TEAL).save(maps / overlay / "a.jpg")
    own = ["assistant", "masks", "labels", "reliable", "reliability", "confidence", "unknown", "student", "truth"]
    report(maps, panoramas=photos)
    assert layers_of(tmp_path / "out", 1) == ["picture", *own], "the viewer mixes pictures and maps itself"
    report(maps)
    assert layers_of(tmp_path / "out", 1) == ["overlays", "assistant", "masks", "mask-overlays", *own[2:7],
                                              "unknown-overlays", *own[7:]]  # fmt: skip


def test_truth_and_other_maps_are_layers_and_what_they_say_is_measured(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["a", "b"])
    other = make_maps(tmp_path / "b5", ["b", "a"])  # in another order, so that a is half sky and b is road
    for name in ("a", "b"):
        save(other / "labels" / f"{name}.png", np.full((HEIGHT, WIDTH), ROAD, np.uint8))
    truth_hw = labels_of(0).copy()
    truth_hw[:, :64] = IGNORE  # nobody has labelled this
    truth_hw[:, 64:128] = SIDEWALK
    save(tmp_path / "labels" / "a_labelTrainIds.png", truth_hw)
    page, events, data = report(maps, truth=tmp_path / "labels", compare=[other])
    assert layers_of(tmp_path / "out", 1) == ["labels", "truth", "compared-1"]
    assert layers_of(tmp_path / "out", 2) == ["labels", "compared-1"]
    assert data["layerNames"]["compared-1"] == "b5" and data["layerNames"]["truth"] == "truth"
    assert "1 of 2 panoramas has no map in the layer truth." in page
    first, second = data["panoramas"]
    assert first["differs-truth"] == pytest.approx(1 / 3, abs=1e-3) and second["differs-truth"] is None
    sky = 0.5 - 0.5 * np.sin(np.pi * (0.5 - 8 / HEIGHT))  # of the sphere, above the eighth row
    assert first["differs-compared-1"] == 0 and second["differs-compared-1"] == pytest.approx(sky, abs=1e-3)
    assert "<dt>differs from truth</dt><dd>33.3 %</dd>" in page
    assert '<option value="differs-compared-1">differs from b5</option>' in page
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th>' + r"<td>([^<]*)</td>" * 4 + "</tr>", page)
    assert rows == [("labels", "33.3", "66.7", "100.0", "1"), ("b5", "33.3", "66.7", "100.0", "1")]
    assert not [event for event in events if isinstance(event, ItemFailed)]


def test_a_rerun_keeps_what_was_measured_and_another_truth_is_measured_anew(tmp_path: Path) -> None:
    maps, truth = make_maps(tmp_path / "maps"), make_truth(tmp_path / "labels")
    page, _, _ = report(maps, truth=truth)
    again = goodsam.report(maps, tmp_path / "out", lambda event: None, truth=truth, width=256)
    assert (again.made, again.kept) == (0, 3) and again.page.read_text(encoding="utf-8") == page
    make_truth(truth, value=SIDEWALK)
    assert report(maps, truth=truth)[2]["panoramas"][0]["differs-truth"] == 1
    assert "differs" not in report(maps)[0].replace('"differs-', "").split("<script")[0], "and without it, nothing is"


def test_a_truth_that_cannot_be_used_is_told_each_time_and_the_rest_is_shown(tmp_path: Path) -> None:
    maps, truth = make_maps(tmp_path / "maps"), make_truth(tmp_path / "labels", NAMES[1:])
    save(truth / f"{NAMES[1]}.png", np.full((100, 100), ROAD, np.uint8))
    save(truth / f"{NAMES[2]}.png", np.full((HEIGHT, WIDTH), 77, np.uint8))
    save(truth / f"{NAMES[0]}.png", np.full((2 * HEIGHT, 2 * WIDTH), ROAD, np.uint8))  # larger, of the same shape
    assert "--labels-set" in refused(maps, make_pictures(tmp_path / "coloured"))
    for _ in range(2):
        _, events, _ = report(maps, truth=truth)
        shape, ids = (event.error for event in events if isinstance(event, ItemFailed))
        assert "is 100x100; a map has the shape of its picture, which is 256x128. Make it of this picture" in shape
        assert "holds the class ids 77" in ids and ids.endswith("--labels-set, or convert them to class ids.")
        assert [layers_of(tmp_path / "out", number) for number in (1, 2, 3)] == [["labels", "truth"], ["labels"],
                                                                                ["labels"]]  # fmt: skip


def test_maps_of_another_shape_than_the_pictures_are_told(tmp_path: Path) -> None:
    maps, photos = make_maps(tmp_path / "maps", ["a"]), make_pictures(tmp_path / "photos", ["a"])
    save(maps / "labels" / "a.png", np.zeros((HEIGHT, HEIGHT), np.uint8))
    _, events, _ = report(maps, panoramas=photos)
    (failed,) = (event for event in events if isinstance(event, ItemFailed))
    assert "a.png is 128x128; a map has the shape of its picture, which is 256x128." in failed.error


def test_classes_are_merged_or_matched_by_name_or_refused(tmp_path: Path) -> None:
    source = read_source(make_maps(tmp_path / "maps", ["a"]))
    truth = make_truth(tmp_path / "labels", ["a"], CITYSCAPES_19.names.index("train"))
    events: list[Event] = []
    found = with_other_maps(source, OtherMaps(truth, "cityscapes19"), events.append).panoramas[0].added["truth"]
    assert found.own_class[CITYSCAPES_19.names.index("car")] == DENSEPASS_13.names.index("car")
    assert found.own_class[CITYSCAPES_19.names.index("train")] == IGNORE and told(events) == ""
    own = LabelSet("own", ("Sky", "kerb", "road"), DENSEPASS_13.palette[:3], thin=())
    other = make_maps(tmp_path / "other", ["a"])
    _write_classes(other, own)
    found = with_other_maps(source, OtherMaps(compare=(other,)), events.append).panoramas[0].added["compared-1"]
    assert found.own_class == (SKY, IGNORE, ROAD)
    assert "/other: kerb is no class of the report, and what they label counts as unlabelled" in told(events)
    _write_classes(other, LabelSet("rooms", ("bed", "sofa", "lamp"), DENSEPASS_13.palette[:3], thin=()))
    with pytest.raises(InputError, match=r"has the classes bed, sofa, lamp; the report's are road, .* none is"):
        with_other_maps(source, OtherMaps(compare=(other,)))


def _write_classes(folder: Path, labels: LabelSet) -> None:
    """Make a folder say that its maps have these classes."""
    from pipeline.panorama.capture import Capture
    from stages.map_tables import write_map_tables
    from stages.tables import PanoramaRow

    row = PanoramaRow("a.png", Capture(None, None), 1.0, (1.0, *(0.0,) * len(labels)), 0.25, 0.1, None)
    write_map_tables(folder, {"a": row}, labels)


def test_folders_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", ["a"])
    with pytest.raises(InputError, match=r"holds no label of any of the 1 panorama"):
        goodsam.report(maps, truth=make_truth(tmp_path / "labels", ["c"]))
    with pytest.raises(InputError, match=r"has a label map of none of 1 panorama \(the first is a\.png\)"):
        goodsam.report(maps, compare=[make_maps(tmp_path / "others", ["c"])])
    with pytest.raises(InputError, match=r"--compare .*/labels cannot be used: .*labels holds no maps"):
        goodsam.report(maps, compare=[tmp_path / "labels"])
    with pytest.raises(RecipeError, match=r"Correct --labels-set\.$"):
        goodsam.report(maps, truth=make_truth(tmp_path / "truth", ["a"]), labels_set="cityscapes")
    with pytest.raises(InputError, match=r"--labels-set cityscapes19 without --truth; it names the classes of"):
        goodsam.report(maps, labels_set="cityscapes19")
    assert not (maps / "report").exists()


def test_a_truth_lies_on_the_level_canvas_where_its_picture_does(tmp_path: Path) -> None:
    """Of an export at the working size, maps are level already; a truth has the picture's own pixels."""
    maps = make_maps(tmp_path / "maps", ["part"])
    (maps / "export.json").write_text(json.dumps({"size": "working"}))
    place = Placement(2 * HEIGHT, 2 * WIDTH, HEIGHT // 2, WIDTH // 2, HEIGHT, WIDTH)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT), TEAL).save(tmp_path / "photos" / "part.jpg", xmp=gpano_xmp(place, 180))
    table = maps / "panoramas.csv"
    table.write_text(table.read_text().replace("part.png", "part.jpg"))
    truth = make_truth(tmp_path / "labels", ["part"])
    source = with_other_maps(read_source(maps, tmp_path / "photos"), OtherMaps(truth))
    panorama = source.panoramas[0]
    canvas = Canvas.of(panorama, 256)
    found_HW = canvas.added(panorama.added["truth"])
    assert (found_HW[32:96, 64:192] == ROAD).all() and (found_HW == IGNORE).mean() == 0.75
    assert (canvas.map_of(panorama, "labels", maps_are_level=True) == ROAD).all(), "a map of the whole canvas"
