"""Corrected labels come back to the pixel, are matched to the right picture, and are learned from and measured on."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.class_tables import colour_table
from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.panorama.level import unlevel_values
from pipeline.panorama.placement import Placement
from pipeline.recipe import merge_recipe
from pipeline.settings import file_digest
from stages.corrections import Correction, correction_reader, find_corrections
from stages.distill import distill, distill_job
from stages.events import Event, ItemFailed, Note, silent
from stages.export import ExportJob, export
from stages.import_labels import import_labels
from stages.label_files import read_notes, write_labels
from stages.measure_corrections import measure_corrections
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import all_panoramas, learning_panoramas
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import read_product, small_run

CAR = DENSEPASS_13.names.index("car")


@dataclass(frozen=True)
class Team:
    """A run, and a folder where people correct its ensemble."""

    run: Run
    work: Path

    @property
    def corrections(self) -> Path:
        return self.work / "corrections"

    def exported(self, format_: str, **options: str) -> Path:
        out = self.work / format_
        outputs = frozenset(("labels",)) if format_ == "masks" else frozenset[str]()
        export(ExportJob(self.run, out, outputs, format_, **options))  # type: ignore[arg-type]
        return out

    def corrected(self, name: str) -> np.ndarray:
        """Labels of a panorama with a car painted into them, and a part that nobody has labelled."""
        labels = read_product(self.run, "ensemble", f"panoramas/{name}")["ensemble_labels"].copy()
        labels[10:20, 30:50] = CAR
        labels[40:44, :9] = IGNORE
        return labels

    def imported(self, source: Path, events: list[Event] | None = None) -> int:
        return import_labels(self.run, source, self.corrections, (events if events is not None else []).append).stored

    def stored(self, name: str) -> np.ndarray:
        return np.asarray(Image.open(self.corrections / "panoramas" / f"{name}.png"))


@pytest.fixture
def team(finished: Path, tmp_path: Path) -> Team:
    shutil.copytree(finished, tmp_path / "run")
    return Team(small_run(tmp_path / "run"), tmp_path / "work")


def repaint(team: Team, path: Path, name: str) -> None:
    """Save a corrected map as an editor does: the palette stays, notes are lost."""
    palette = Image.open(path).getpalette()
    picture = Image.fromarray(team.corrected(name))
    assert palette
    picture.putpalette(palette)
    picture.save(path)


def untouched(count: int) -> Note:
    """What is said of label maps that nobody has corrected."""
    maps = f"{count} label map{'s' * (count != 1)}"
    return Note("import-labels", f"{maps} left out, as nobody has corrected them since they were exported")


def test_corrected_pngs_come_back_and_untouched_ones_are_left_out(team: Team) -> None:
    out = team.exported("masks")
    repaint(team, out / "labels" / "1.png", "1")
    events: list[Event] = []
    assert team.imported(out, events) == 1
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))
    assert [path.name for path in team.corrections.rglob("*.png")] == ["1.png"]
    assert untouched(2) in events


def test_colours_count_as_their_classes(team: Team) -> None:
    out = team.exported("masks")
    colours = Image.fromarray(colour_table(DENSEPASS_13)[team.corrected("1")])
    colours.save(out / "labels" / "1.png")
    team.imported(out)
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))
    pixels = np.asarray(colours).copy()
    pixels[0, 0] = (1, 2, 3)
    Image.fromarray(pixels).save(out / "labels" / "1.png")
    events: list[Event] = []
    team.imported(out, events)
    told = next(event.error for event in events if isinstance(event, ItemFailed))
    assert "1.png has 1 pixel whose colour is not that of a class, such as #010203" in told
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", ["original", "working"])
def test_a_cvat_export_comes_back_to_the_pixel(team: Team, zipped: bool, size: str) -> None:
    from pipeline.exchange.cvat import image_xml, masks_xml

    out = team.exported("cvat", size=size)
    name = "1.png" if size == "original" else "images/1.jpg"
    image = image_xml(1, name, 64, 128, masks_xml(team.corrected("1"), DENSEPASS_13))
    source = team.work / "annotations.xml"
    assert name in (out / "annotations.xml").read_text()
    source.write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    if zipped:
        with zipfile.ZipFile(team.work / "task.zip", "w") as archive:
            archive.write(source, "annotations.xml")
        source = team.work / "task.zip"
    assert team.imported(source) == 1
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))
    assert read_notes(team.corrections / "panoramas" / "1.png")["size"] == size


def test_a_label_studio_export_comes_back_to_the_pixel(team: Team) -> None:
    from pipeline.exchange.labelstudio import results

    out = team.exported("labelstudio")
    tasks = json.loads((out / "tasks.json").read_text())
    tasks[1]["annotations"] = [{"result": results(team.corrected("1"), DENSEPASS_13), "was_cancelled": False}]
    tasks[1]["data"]["image"] = "/data/upload/7/3fe1-1.png"
    (team.work / "export.json").write_text(json.dumps(tasks))
    assert team.imported(team.work / "export.json") == 1
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))
    tasks[1]["data"]["sha256"] = "0" * 64
    (team.work / "export.json").write_text(json.dumps(tasks))
    with pytest.raises(InputError, match=r"were made on another picture than.*nothing was changed"):
        team.imported(team.work / "export.json")


@pytest.mark.parametrize("size", ["original", "working"])
def test_of_an_export_that_comes_back_only_what_people_have_changed_counts(team: Team, size: str) -> None:
    out = team.exported("cvat", size=size)
    events: list[Event] = []
    assert team.imported(out, events) == 0
    assert untouched(3) in events and not list(team.corrections.rglob("*.png"))
    source, row = out / "annotations.xml", 'label="sky"'
    source.write_text(source.read_text().replace(row, 'label="car"', 1))
    assert team.imported(out, events) == 1
    assert untouched(2) in events
    (path,) = team.corrections.rglob("*.png")
    cached = read_product(team.run, "ensemble", f"panoramas/{path.stem}")["ensemble_labels"]
    assert (team.stored(path.stem) != cached).any()
    assert team.imported(out) == 0, "the same again changes nothing"


def test_labels_that_were_corrected_and_are_as_exported_again_replace_the_correction(team: Team) -> None:
    out = team.exported("cvat")
    (team.work / "in").mkdir(parents=True)
    Image.fromarray(team.corrected("1")).save(team.work / "in" / "1.png")
    assert team.imported(team.work / "in") == 1
    assert team.imported(out) == 1
    cached = read_product(team.run, "ensemble", "panoramas/1")["ensemble_labels"]
    np.testing.assert_array_equal(team.stored("1"), cached)


def test_without_the_cache_all_that_comes_back_counts(team: Team) -> None:
    out = team.exported("cvat")
    team.run.manifest.unlink()
    assert team.imported(out) == 3


def test_a_later_correction_replaces_one_of_before_which_is_kept(team: Team) -> None:
    (team.work / "in").mkdir(parents=True)
    Image.fromarray(team.corrected("1")).save(team.work / "in" / "1.png")
    team.imported(team.work / "in")
    again = team.corrected("1")
    again[:5] = 0
    Image.fromarray(again).save(team.work / "in" / "1.png")
    assert team.imported(team.work / "in") == 1
    np.testing.assert_array_equal(team.stored("1"), again)
    kept = [path for path in team.corrections.rglob("1.png") if ".replaced" in path.parts]
    np.testing.assert_array_equal(np.asarray(Image.open(kept[0])), team.corrected("1"))
    assert len(find_corrections(str(team.corrections)).by_source) == 1


def test_a_later_correction_replaces_one_of_before_under_another_name(team: Team) -> None:
    (team.work / "in").mkdir(parents=True)
    Image.fromarray(team.corrected("1")).save(team.work / "in" / "1.png")
    team.imported(team.work / "in")
    photos = Path(team.run.recipe.data.panoramas)
    (photos / "1.png").rename(photos / "0a.png")  # sorts before it
    (team.work / "in" / "1.png").rename(team.work / "in" / "0a.png")
    assert team.imported(team.work / "in") == 0, "it is known"
    again = team.corrected("1")
    again[:5] = 0
    Image.fromarray(again).save(team.work / "in" / "0a.png")
    assert team.imported(team.work / "in") == 1
    (found,) = find_corrections(str(team.corrections)).by_source.values()
    np.testing.assert_array_equal(np.asarray(Image.open(found.path)), again)
    kept = [path for path in team.corrections.rglob("*.png") if ".replaced" in path.parts]
    np.testing.assert_array_equal(np.asarray(Image.open(kept[0])), team.corrected("1"))


def test_pictures_that_swap_their_names_keep_their_corrections(team: Team) -> None:
    correct_all(team)
    photos = Path(team.run.recipe.data.panoramas)
    for before, after in (("1", "swap"), ("2", "1"), ("swap", "2")):
        (photos / f"{before}.png").rename(photos / f"{after}.png")
    again = {name: np.roll(team.corrected(name), 9) for name in "12"}
    for name, labels in again.items():  # one after another
        shutil.rmtree(team.work / "in")
        (team.work / "in").mkdir()
        Image.fromarray(labels).save(team.work / "in" / f"{name}.png")
        assert team.imported(team.work / "in") == 1
        assert len(find_corrections(str(team.corrections)).by_source) == 4
    found = find_corrections(str(team.corrections)).by_source
    for name, labels in again.items():
        path = found[file_digest(photos / f"{name}.png")].path
        np.testing.assert_array_equal(np.asarray(Image.open(path)), labels)


def test_two_files_that_correct_one_picture_differently_are_refused(team: Team) -> None:
    correct_all(team)
    of_one = team.corrections / "panoramas" / "1.png"
    shutil.copy(of_one, team.corrections / "copy.png")
    assert len(find_corrections(str(team.corrections)).by_source) == 4, "a copy contradicts nothing"
    write_labels(team.corrections / "copy.png", team.corrected("0"), DENSEPASS_13, read_notes(of_one))
    with pytest.raises(InputError, match=r"copy\.png and .*1\.png correct the same picture.*Delete the older one"):
        find_corrections(str(team.corrections))


def test_different_labels_of_two_copies_of_a_picture_are_set_aside(team: Team) -> None:
    photos = Path(team.run.recipe.data.panoramas)
    shutil.copy(photos / "1.png", photos / "1 copy.png")
    (team.work / "in").mkdir(parents=True)
    Image.fromarray(team.corrected("1")).save(team.work / "in" / "1.png")
    Image.fromarray(team.corrected("0")).save(team.work / "in" / "1 copy.png")
    with pytest.raises(InputError, match=r"1 copy\.png, 1\.png are different labels of one picture"):
        team.imported(team.work / "in")


def test_what_cannot_be_used_is_set_aside_with_one_sentence_each(team: Team) -> None:
    folder = team.work / "in"
    folder.mkdir(parents=True)
    Image.fromarray(team.corrected("1")).save(folder / "1.png")
    Image.fromarray(team.corrected("0")[:60]).save(folder / "0.png")
    Image.fromarray(np.full((64, 128), 77, np.uint8)).save(folder / "2.png")
    Image.fromarray(team.corrected("1")).save(folder / "stranger.png")
    (folder / "9.png").write_bytes(b"\x89PNG no more")
    events: list[Event] = []
    assert team.imported(folder, events) == 1
    told = {event.item: event.error for event in events if isinstance(event, ItemFailed)}
    assert "labels of 0.png are 128x60; its picture is 128x64" in told["0.png"]
    assert "2.png holds the class id 77; densepass13 has the ids 0 to 12" in told["2.png"]
    assert "stranger.png is not a panorama of this run" in told["stranger.png"]
    assert "9.png is broken" in told["9.png"]
    Image.fromarray(np.full((64, 128), IGNORE, np.uint8)).save(folder / "1.png")
    events = []
    with pytest.raises(InputError, match="has no corrections that can be used"):
        team.imported(folder, events)
    assert any(isinstance(event, ItemFailed) and "1.png labels no pixel" in event.error for event in events)
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"), "it would have taken its place")


def test_of_different_labels_of_one_panorama_none_is_taken(team: Team) -> None:
    for folder, name in (("a", "1"), ("b", "0"), ("b", "1"), ("c", "0")):
        path = team.work / "in" / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(team.corrected(name)).save(path)
    assert team.imported(team.work / "in") == 2, "the same twice is no contradiction"
    changed = team.corrected("1")
    changed[:5] = 3
    Image.fromarray(changed).save(team.work / "in" / "b" / "1.png")
    events: list[Event] = []
    team.imported(team.work / "in", events)
    told = {event.item: event.error for event in events if isinstance(event, ItemFailed)}
    assert told.keys() == {"a/1.png", "b/1.png"}
    assert "a/1.png, b/1.png are different labels of one picture" in told["a/1.png"]
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))
    Image.fromarray(np.full((64, 128), IGNORE, np.uint8)).save(team.work / "in" / "a" / "1.png")
    assert team.imported(team.work / "in") == 1, "what labels nothing contradicts nothing"


def test_a_damaged_export_changes_nothing(team: Team) -> None:
    out = team.exported("cvat")
    text = (out / "annotations.xml").read_text()
    broken = team.work / "cut.xml"
    broken.write_text(text[: len(text) * 2 // 3])
    with pytest.raises(InputError, match="is damaged"):
        team.imported(broken)
    broken.write_text(text.replace('label="road"', 'label="lava"'))
    with pytest.raises(InputError, match="has the class 'lava'"):
        team.imported(broken)
    assert not list(team.corrections.rglob("*.png"))
    (team.work / "task.zip").write_bytes(b"PK no more")
    with pytest.raises(InputError, match="cannot be unpacked"):
        team.imported(team.work / "task.zip")
    with pytest.raises(InputError, match="does not exist; it must be a folder of PNGs, or an export of CVAT"):
        team.imported(team.work / "nowhere")


def test_a_damaged_export_leaves_corrections_of_before(team: Team) -> None:
    out = team.exported("masks")
    repaint(team, out / "labels" / "1.png", "1")
    assert team.imported(out) == 1
    (team.work / "cut.json").write_text('[{"id": 1, "annotations": [')
    with pytest.raises(InputError, match=r"cut\.json is damaged"):
        team.imported(team.work / "cut.json")
    np.testing.assert_array_equal(team.stored("1"), team.corrected("1"))


def with_corrections(team: Team, corrections_held_out: float = 0.2, **tables: object) -> Run:
    folder = team.run.folder.parent.parent
    data = {"corrections": str(team.corrections), "corrections_held_out": corrections_held_out}
    return small_run(folder, data=data, **tables)


def correct_all(team: Team) -> None:
    folder = team.work / "in" / "panoramas"
    folder.mkdir(parents=True)
    for name in "012":
        Image.fromarray(team.corrected(name)).save(folder / f"{name}.png")
    (team.work / "in" / "evaluation").mkdir()
    truth = np.full((64, 128), IGNORE, np.uint8)
    truth[40:] = 0
    Image.fromarray(truth).save(team.work / "in" / "evaluation" / "9.png")
    assert team.imported(team.work / "in") == 4


def test_the_student_of_corrections_is_another_and_without_them_the_same(team: Team) -> None:
    def name_of(run: Run) -> str:
        return distill_job(run, RunReader.open(run, learning_panoramas(run.recipe))).fingerprint

    before = name_of(team.run)
    assert name_of(small_run(team.run.folder.parent.parent, losses={"stride": 4, "corrections": 9.0})) == before
    correct_all(team)
    corrected = name_of(with_corrections(team, corrections_held_out=0.0))
    assert corrected != before
    assert name_of(with_corrections(team, corrections_held_out=1.0)) == before, "nothing of them is learned from"
    changed = team.corrected("0")
    changed[0, 0] = 3
    Image.fromarray(changed).save(team.work / "in" / "panoramas" / "0.png")
    team.imported(team.work / "in")
    assert name_of(with_corrections(team, corrections_held_out=0.0)) not in (before, corrected)


def test_a_moved_picture_keeps_its_correction_and_a_changed_one_loses_it(team: Team) -> None:
    correct_all(team)
    run = with_corrections(team, corrections_held_out=0.0)
    reader = RunReader.open(run, all_panoramas(run.recipe))
    found = correction_reader(run.recipe, reader)
    np.testing.assert_array_equal(found("panoramas/1"), team.corrected("1"))
    assert found("evaluation/9") is None, "what is evaluated on is not learned from"
    (team.corrections / "panoramas" / "1.png").rename(team.corrections / "panoramas" / "any name.png")
    np.testing.assert_array_equal(correction_reader(run.recipe, reader)("panoramas/1"), team.corrected("1"))


def test_what_is_evaluated_on_is_not_learned_from_under_another_name(team: Team) -> None:
    folder = team.run.folder.parent.parent
    shutil.copy(folder / "held_out" / "9.png", folder / "photos" / "copy.png")
    teacher_cache(team.run, silent)
    correct_all(team)
    run = with_corrections(team, corrections_held_out=0.0)

    def learned(run: Run) -> set[str]:
        reader = RunReader.open(run, learning_panoramas(run.recipe))
        found = correction_reader(run.recipe, reader)
        return {panorama_id for panorama_id in reader.ids if found(panorama_id) is not None}

    assert learned(run) == {"panoramas/0", "panoramas/1", "panoramas/2"}
    (folder / "held_out").rename(folder / "away")
    assert learned(run) == {"panoramas/0", "panoramas/1", "panoramas/2"}, "the cache knows it"
    without = replace(run, recipe=merge_recipe(run.recipe, {"data": {"evaluation": ""}}))
    assert learned(without) == {"panoramas/0", "panoramas/1", "panoramas/2", "panoramas/copy"}


def test_corrections_of_a_part_or_a_tilted_picture_lie_where_the_student_sees_them(team: Team) -> None:
    correct_all(team)
    correction = next(
        one for one in find_corrections(str(team.corrections)).by_source.values() if one.path.name == "1.png"
    )
    canvas = correction.on_canvas(team.run.recipe, Placement(128, 256, 32, 64, 64, 128))
    np.testing.assert_array_equal(canvas[16:48, 32:96], team.corrected("1")[1::2, 1::2])
    assert (canvas[:16] == IGNORE).all() and (canvas[:, :32] == IGNORE).all()


TILTED = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"
GPano:ProjectionType="equirectangular" GPano:PosePitchDegrees="25" GPano:PoseRollDegrees="-10"/>
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("size", ["original", "working"])
@pytest.mark.parametrize("folder", ["", "images/"])
@pytest.mark.parametrize("format_", ["masks", "cvat", "labelstudio"])
def test_an_export_tells_the_size_of_its_labels_where_both_are_the_same(
    team: Team, format_: str, folder: str, size: str
) -> None:
    photos = Path(team.run.recipe.data.panoramas)
    (photos / "images").mkdir()
    Image.open(photos / "1.png").convert("RGB").save(photos / f"{folder}1.jpg", xmp=TILTED)
    (photos / "1.png").unlink()
    teacher_cache(team.run, silent)
    source = team.exported(format_, size=size)
    if format_ == "masks":
        (repainted,) = (path for path in (source / "labels").rglob("1.png"))
        picture = Image.open(repainted)
        picture.save(repainted, pnginfo=None)  # its notes are lost
    if format_ == "labelstudio":
        tasks = json.loads((source / "tasks.json").read_text())
        annotated = [{**task, "annotations": [{"result": task["predictions"][0]["result"]}]} for task in tasks]
        source = team.work / "export.json"
        source.write_text(json.dumps(annotated))
    assert team.imported(source) == 0, "nobody has changed them"


def test_a_correction_of_the_level_canvas_follows_the_setting_of_levelling(team: Team) -> None:
    photos = Path(team.run.recipe.data.panoramas)
    Image.open(photos / "1.png").convert("RGB").save(photos / "1.jpg", xmp=TILTED)
    (photos / "1.png").unlink()
    teacher_cache(team.run, silent)
    out = team.exported("masks", size="working")
    labels = np.zeros((64, 128), np.uint8)
    labels[:32] = CAR
    Image.fromarray(labels).save(out / "labels" / "1.png")
    assert team.imported(out) == 1
    place = RunReader.open(team.run, all_panoramas(team.run.recipe)).placement("panoramas/1")
    (correction,) = find_corrections(str(team.corrections)).by_source.values()
    assert correction.canvas == {"pitch": 25, "roll": -10, "vertical_fov": 180}
    np.testing.assert_array_equal(correction.on_canvas(team.run.recipe, place), labels)
    as_it_stands = replace(place, pitch=0, roll=0)
    np.testing.assert_array_equal(correction.on_canvas(team.run.recipe, as_it_stands), unlevel_values(labels, place))
    notes = {key: value for key, value in read_notes(correction.path).items() if key != "canvas"}
    write_labels(correction.path, labels, DENSEPASS_13, notes)
    (of_before,) = find_corrections(str(team.corrections)).by_source.values()
    np.testing.assert_array_equal(of_before.on_canvas(team.run.recipe, as_it_stands), labels)
    assert team.imported(out) == 0, "a correction that does not say it is not made anew"


def test_a_correction_of_the_level_canvas_follows_the_field_of_view(team: Team) -> None:
    labels = np.repeat(np.arange(8, dtype=np.uint8), 8)[:, None].repeat(128, axis=1)
    write_labels(team.work / "a.png", labels, DENSEPASS_13, {})
    of_sphere = Correction(team.work / "a.png", "ab", "working", "cd", {"pitch": 0, "roll": 0, "vertical_fov": 180})
    band = merge_recipe(team.run.recipe, {"panorama": {"vertical_fov": 90}})
    place = Placement.whole(32, 128)
    seen = of_sphere.on_canvas(band, replace(place, vertical_fov=90))
    np.testing.assert_array_equal(seen, labels[16:48])
    write_labels(team.work / "a.png", seen, DENSEPASS_13, {})
    of_band = replace(of_sphere, canvas={**of_sphere.canvas, "vertical_fov": 90})
    back = of_band.on_canvas(team.run.recipe, Placement.whole(64, 128))
    np.testing.assert_array_equal(back[16:48], labels[16:48])
    assert (back[:16] == IGNORE).all() and (back[48:] == IGNORE).all()


@pytest.mark.slow
def test_a_student_learns_corrections_and_eval_measures_those_held_out(team: Team) -> None:
    correct_all(team)
    run = with_corrections(team, corrections_held_out=0.0)
    events: list[Event] = []
    student = distill(run, events.append)
    logged = [event.values for event in events if hasattr(event, "values")]  # type: ignore[union-attr]
    assert any("corrections" in values and values["corrections"] > 0 for values in logged)
    table = measure_corrections(run, student, silent)
    record = json.loads((run.evaluation / "corrections.json").read_text())
    assert record["panoramas"] == 1 and record["learned_from"] == 3
    truth_is_road = read_product(run, "ensemble", "evaluation/9")["ensemble_labels"][40:] == 0
    assert record["rungs"]["ensemble"]["pixel_accuracy"] == pytest.approx(truth_is_road.mean())
    assert "student" in record["rungs"] and "On the corrections of 1 panorama that" in table
