"""Tables of predicted panoramas: right against geometry, and read by the tools that they are for."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13, LabelSet
from pipeline.errors import InputError
from pipeline.panorama.capture import Capture, capture_of
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import panorama_rays, rays_from_angles
from pipeline.panorama.tags import gpano_xmp
from stages.events import Event, Note
from stages.models import StudentModel
from stages.predict import PredictJob, predict
from stages.tables import PanoramaRow, share_columns, write_tables
from tests.panorama.test_capture import exif_with, gps_of

HEIGHT, WIDTH = 256, 512
ROAD, VEGETATION, SKY = 0, 8, 10
PLACES = {"berlin": (52.5, 13.4), "new_york": (40.7, -74.0), "sydney": (-33.9, 151.2), "rio": (-22.9, -43.2)}


@dataclass
class ByGrey:
    """A student that reads class ids out of the red channel, surely."""

    label_set = DENSEPASS_13
    parameters = 1
    device = "cpu, 1 threads"

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        ids_HW = np.rint(image_HW3[..., 0] / 10 - 2).astype(int)
        return 10 * (np.arange(13)[:, None, None] == ids_HW).astype(np.float32)


def cap(yaw: float, pitch: float, radius: float) -> np.ndarray:
    """Pixels within `radius` degrees of a direction."""
    axis = rays_from_angles(np.radians(yaw), np.radians(pitch))
    return panorama_rays(HEIGHT, WIDTH) @ axis > np.cos(np.radians(radius))


def scene() -> np.ndarray:
    """Class ids of a road everywhere but for a round piece of sky and a round tree."""
    ids = np.full((HEIGHT, WIDTH), ROAD)
    ids[cap(40, 50, 35)] = SKY
    ids[cap(-170, -10, 30)] = VEGETATION  # across the seam
    return ids


def write_scene(path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = (10 * (scene() + 2)).astype(np.uint8)
    Image.fromarray(np.stack((grey, grey, grey), axis=-1)).save(path, **options)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PredictJob:
    monkeypatch.setattr("stages.predictor.load_predictor", lambda folder, device: ByGrey())
    (tmp_path / "student").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "student" / name).write_text("first")
    for name, (north, east) in PLACES.items():
        write_scene(tmp_path / "in" / f"{name}.png", exif=exif_with(gps_of(north, east)))
    write_scene(tmp_path / "in" / "nowhere.png")
    model = StudentModel(tmp_path / "student")
    return PredictJob(model, tmp_path / "in", tmp_path / "out", PanoramaConfig(width=WIDTH))


def read_csv(out: Path) -> dict[str, dict[str, str]]:
    with (out / "panoramas.csv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def read_geojson(path: Path) -> list[dict[str, Any]]:
    table = json.loads(path.read_text())
    assert table["type"] == "FeatureCollection"
    return table["features"]


def test_a_sphere_of_known_shares_has_them_in_the_table(job: PredictJob) -> None:
    predict(job)
    row = read_csv(job.out)["nowhere.png"]
    of_sky, of_tree = ((1 - np.cos(np.radians(radius))) / 2 for radius in (35, 30))
    assert float(row["share_sky"]) == pytest.approx(of_sky, abs=1e-3)
    assert float(row["share_vegetation"]) == pytest.approx(of_tree, abs=1e-3)
    assert float(row["share_road"]) == pytest.approx(1 - of_sky - of_tree, abs=1e-3)
    assert float(row["green_view_index"]) == pytest.approx(of_tree, abs=1e-3)
    # A cap above the horizon, seen from below, covers the ellipse of its base: sin^2 r sin pitch of the disk.
    svf = np.sin(np.radians(35)) ** 2 * np.sin(np.radians(50))
    assert float(row["sky_view_factor"]) == pytest.approx(svf, abs=1e-3)
    assert float(row["doubt"]) == pytest.approx(12 / (12 + np.exp(10)), abs=1e-6)
    assert (row["largest_class"], float(row["seen"]), float(row["vertical_fov"])) == ("road", 1.0, 180.0)


def test_what_was_not_seen_is_no_part_of_the_shares(job: PredictJob, tmp_path: Path) -> None:
    rig = np.zeros((HEIGHT, WIDTH), np.uint8)
    rig[HEIGHT // 2 :] = 255
    Image.fromarray(rig).save(tmp_path / "rig.png")
    predict(replace(job, panorama=replace(job.panorama, ignore_mask=str(tmp_path / "rig.png"))))
    row = read_csv(job.out)["nowhere.png"]
    assert float(row["seen"]) == pytest.approx(0.5, abs=1e-6)
    assert float(row["share_sky"]) == pytest.approx(1 - np.cos(np.radians(35)), abs=1e-3)
    assert sum(float(row[name]) for name in share_columns(DENSEPASS_13)) == pytest.approx(1, abs=1e-5)


def test_of_a_part_of_the_sphere_only_that_is_seen(job: PredictJob) -> None:
    picture = Image.open(job.panoramas / "nowhere.png").crop((128, 64, 384, 192))  # 180 by 90 degrees in the middle
    picture.save(job.panoramas / "part.jpg", quality=100, xmp=gpano_xmp(Placement(256, 512, 64, 128, 128, 256), 180))
    predict(job)
    row = read_csv(job.out)["part.jpg"]
    assert float(row["seen"]) == pytest.approx(0.5 * np.sin(np.pi / 4), abs=1e-6)
    assert row["sky_view_factor"] == ""


def test_a_tilted_camera_does_not_move_the_sky(job: PredictJob) -> None:
    """The picture's own zenith is not the world's: here its middle looks 90 degrees up."""
    ids = np.full((HEIGHT, WIDTH), ROAD)
    ids[cap(0, 0, 40)] = SKY
    grey = (10 * (ids + 2)).astype(np.uint8)
    picture = Image.fromarray(np.stack((grey, grey, grey), axis=-1))
    picture.save(job.panoramas / "up.jpg", quality=100, xmp=b'GPano:PosePitchDegrees="90"')
    predict(job)
    row = read_csv(job.out)["up.jpg"]
    assert float(row["sky_view_factor"]) == pytest.approx(np.sin(np.radians(40)) ** 2, abs=0.01)


def test_positions_in_all_quarters_and_none_are_rfc_7946(job: PredictJob) -> None:
    predict(job)
    rows, features = read_csv(job.out), read_geojson(job.out / "panoramas.geojson")
    assert {feature["id"] for feature in features} == {f"{name}.png" for name in (*PLACES, "nowhere")}
    for feature in features:
        name = feature["properties"]["path"].removesuffix(".png")
        if name == "nowhere":
            assert feature["geometry"] is None and feature["properties"]["latitude"] is None
            assert rows["nowhere.png"]["latitude"] == ""
            continue
        north, east = PLACES[name]
        assert feature["geometry"]["type"] == "Point"
        assert feature["geometry"]["coordinates"] == pytest.approx([east, north], abs=1e-6)  # longitude first
        assert float(rows[f"{name}.png"]["latitude"]) == pytest.approx(north, abs=1e-6)


def test_gdal_reads_points_and_columns(job: PredictJob) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="GDAL's Python wheel is not installed")
    write_scene(job.panoramas / "walk" / "1.png", exif=exif_with(gps_of(1, 2), {36867: "2026:05:01 12:00:00"}))
    write_scene(job.panoramas / "walk" / "2.png", exif=exif_with(gps_of(1.001, 2), {36867: "2026:05:01 12:00:30"}))
    predict(job)
    found = pyogrio.read_info(job.out / "panoramas.geojson")
    assert (found["driver"], found["features"], found["crs"]) == ("GeoJSON", 7, "EPSG:4326")
    assert {"path", "time", "green_view_index", *share_columns(DENSEPASS_13)} <= set(found["fields"])
    assert found["total_bounds"] == pytest.approx((-74.0, -33.9, 151.2, 52.5), abs=1e-6)
    _, _, points, _ = pyogrio.raw.read(job.out / "panoramas.geojson", columns=[])
    assert sum(point is None for point in points) == 1
    lines = pyogrio.read_info(job.out / "sequences.geojson")
    assert (lines["features"], lines["geometry_type"]) == (1, "LineString")


def test_a_wrong_position_is_reported_once_and_has_no_geometry(job: PredictJob) -> None:
    write_scene(job.panoramas / "wrong.png", exif=exif_with(gps_of(52.5, 13.4) | {2: (95.0, 0.0, 0.0)}))
    events: list[Event] = []
    predict(job, events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == [
        "1 of 6 panoramas have a position in their EXIF that cannot be right (the first: wrong.png, latitude 95) and "
        "none in the tables; --positions can give one"
    ]
    assert [f["geometry"] for f in read_geojson(job.out / "panoramas.geojson") if f["id"] == "wrong.png"] == [None]


def row(path: str, latitude: float, longitude: float, time: str = "") -> PanoramaRow:
    return PanoramaRow(path, Capture(latitude, longitude, time=time), 1.0, (*[1 / 13] * 13, 0.0), None, 0.1)


def lines_of(tmp_path: Path, rows: list[PanoramaRow]) -> list[dict[str, Any]]:
    write_tables(tmp_path, rows, DENSEPASS_13)
    return read_geojson(tmp_path / "sequences.geojson")


def test_a_folder_in_the_order_of_its_times_is_a_line(tmp_path: Path) -> None:
    rows = [row("a/3.jpg", 50.002, 7, "2026-05-01T14:00:40+02:00"), row("a/1.jpg", 50, 7, "2026-05-01T12:00:00+00:00"),
            row("a/2.jpg", 50.001, 7, "2026-05-01T12:00:20"), row("b/1.jpg", 50, 7, "2026-05-01T12:00:10")]  # fmt: skip
    (line,) = lines_of(tmp_path, rows)
    assert line["geometry"] == {"type": "LineString", "coordinates": [[7, 50], [7, 50.001], [7, 50.002]]}
    assert line["properties"]["panoramas"] == 3 and line["properties"]["folder"] == "a"
    assert line["properties"]["metres"] == pytest.approx(222.4, abs=0.1)  # 0.002 degrees of latitude


@pytest.mark.parametrize(("time", "north"), [("2026-05-01T13:00:00", 50.002), ("2026-05-01T12:00:40", 51)])
def test_a_leap_in_time_or_place_ends_a_line(tmp_path: Path, time: str, north: float) -> None:
    rows = [row("1.jpg", 50, 7, "2026-05-01T12:00:00"), row("2.jpg", 50.001, 7, "2026-05-01T12:00:20"),
            row("3.jpg", north, 7, time)]  # fmt: skip
    (line,) = lines_of(tmp_path, rows)
    assert line["properties"]["panoramas"] == 2


def test_without_times_or_places_there_are_no_lines(tmp_path: Path) -> None:
    assert lines_of(tmp_path, [row("1.jpg", 50, 7), row("2.jpg", 50, 7)]) == []
    assert lines_of(tmp_path, []) == []


def test_a_line_over_the_date_line_is_cut_there(tmp_path: Path) -> None:
    rows = [row("1.jpg", 10, 179.999, "2026-05-01T12:00:00"), row("2.jpg", 10.002, -179.999, "2026-05-01T12:00:30")]
    (line,) = lines_of(tmp_path, rows)
    west, east = [[179.999, 10], [180, 10.001]], [[-180, 10.001], [-179.999, 10.002]]
    assert line["geometry"] == {"type": "MultiLineString", "coordinates": [west, east]}


def test_styles_have_the_colours_of_the_label_set(tmp_path: Path) -> None:
    write_tables(tmp_path, [row("1.jpg", 50, 7)], DENSEPASS_13)
    labels = ElementTree.parse(tmp_path / "labels.qml").getroot()
    entries = {e.get("value"): (e.get("label"), e.get("color"), e.get("alpha")) for e in labels.iter("paletteEntry")}
    assert entries["10"] == ("sky", "#4682b4", "255") and entries["255"] == ("not seen", "#000000", "0")
    points = ElementTree.parse(tmp_path / "panoramas.qml").getroot()
    renderer = next(points.iter("renderer-v2"))
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "largest_class")
    categories = {c.get("value"): c.get("symbol") for c in points.iter("category")}
    colours = {s.get("name"): next(o.get("value") for o in s.iter("Option") if o.get("name") == "color")
               for s in points.iter("symbol")}  # fmt: skip
    assert colours[categories["car"]] == "0,0,142,255"
    assert tuple(categories) == DENSEPASS_13.names


@pytest.mark.parametrize(("heading", "told"), [(359.999, 0), (359.99, 359.99), (0.004, 0), (None, None)])
def test_a_heading_a_hair_from_north_is_0_and_not_360(heading: float | None, told: float | None) -> None:
    panorama = replace(row("a.jpg", 1, 2), capture=Capture(heading=heading))
    assert panorama.columns(DENSEPASS_13)["heading"] == told


def test_names_of_classes_become_columns_of_their_own(tmp_path: Path) -> None:
    labels = LabelSet("odd", ("traffic light", "Traffic-Light", "路", "path"), ((0, 0, 0),) * 4, ())
    columns = share_columns(labels)
    assert columns == ["share_traffic_light_0", "share_traffic_light_1", "share_2", "share_path"]


def test_a_picture_alone_is_predicted_like_a_folder_of_one(job: PredictJob) -> None:
    alone = replace(job, panoramas=job.panoramas / "rio.png", out=job.out.with_name("alone"))
    summary = predict(alone)
    assert (summary.done, list(read_csv(alone.out))) == (1, ["rio.png"])
    assert (alone.out / "labels" / "rio.png").is_file()
    assert predict(alone).skipped == 1


def test_a_picture_alone_that_is_none_is_reported(job: PredictJob) -> None:
    (job.panoramas / "text.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"none of 1 panorama could be predicted \(.*text\.jpg cannot be opened"):
        predict(replace(job, panoramas=job.panoramas / "text.jpg"))


def test_overlays_have_the_pictures_size_place_and_time(job: PredictJob) -> None:
    write_scene(job.panoramas / "here.jpg", quality=95, exif=exif_with(gps_of(1, 2), {36867: "2026:05:01 12:00:00"}))
    predict(replace(job, overlays=True, panorama=PanoramaConfig(width=WIDTH // 2)))
    with Image.open(job.out / "overlays" / "here.jpg") as overlay, Image.open(job.panoramas / "here.jpg") as source:
        assert overlay.size == source.size == (WIDTH, HEIGHT)
        assert capture_of(overlay) == capture_of(source) != Capture()
        assert b'GPano:ProjectionType="equirectangular"' in overlay.info["xmp"]
