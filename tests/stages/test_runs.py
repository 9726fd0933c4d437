"""Run folders and the manifest between the stages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.errors import CacheError, RecipeError
from pipeline.recipe import Recipe
from stages import cli
from stages.results import read_results
from stages.runs import Run, open_recipe, open_run, refuse_old_layout, run_left_in_current_folder

ROOT = Path(__file__).resolve().parents[2]


def test_a_path_without_its_ending_is_not_taken_for_a_recipe_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[data]\npanoramas = "photos"\n')
    assert open_recipe(str(tmp_path / "mine.toml")).data.panoramas == str(tmp_path / "photos")
    with pytest.raises(RecipeError, match="mine does not exist"):
        open_recipe(str(tmp_path / "mine"))


def test_a_run_folder_that_cannot_be_made_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="cannot be written"):
        Run(Recipe(), tmp_path / "file" / "run").record_recipe()


PATHS = """
label_set = "classes.json"
[data]
panoramas = "photos"
evaluation = "../held_out"
labels = "labels"
labels_set = "classes.json"
[panorama]
ignore_mask = "rig.png"
[sam]
model = "vit_b"
checkpoint = "cache/weights/sam.pth"
[assistant]
kind = "onnx"
name = "net.onnx"
label_set = "classes.json"
[student]
weights = "start"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has a recipe in its folder recipes; the current folder is another, here."""
    for folder in ("recipes/start", "here/start", "here/only_here"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "recipes" / "classes.json").write_text('{"id2label": {"0": "wall", "1": "floor"}}')
    (tmp_path / "recipes" / "my.toml").write_text(PATHS)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("name", ["../recipes/my.toml", "{project}/recipes/my.toml"])
def test_all_paths_of_a_recipe_and_its_cache_start_at_its_folder(project: Path, name: str) -> None:
    run = open_run(name.format(project=project))
    recipe, own = run.recipe, (project / "recipes").resolve()
    paths = (recipe.label_set, recipe.data.panoramas, recipe.data.evaluation, recipe.data.labels,
             recipe.data.labels_set, recipe.panorama.ignore_mask, recipe.sam.checkpoint, recipe.assistant.name,
             recipe.assistant.label_set, recipe.student.weights)  # fmt: skip
    assert all(Path(path).is_absolute() for path in paths)
    assert [str(Path(path).resolve().relative_to(project)) for path in paths] == [
        "recipes/classes.json", "recipes/photos", "held_out", "recipes/labels", "recipes/classes.json",
        "recipes/rig.png", "recipes/cache/weights/sam.pth", "recipes/net.onnx", "recipes/classes.json",
        "recipes/start"]  # fmt: skip
    assert run.folder.resolve() == own / "cache" / "run"


def test_paths_of_built_in_recipes_and_overrides_and_their_cache_start_at_the_current_folder(project: Path) -> None:
    here = project / "here"
    run = open_run("street", overrides=("student.weights=start",))
    assert run.folder.resolve() == here / "cache" / "street"
    assert (run.recipe.data.panoramas, run.recipe.student.weights) == (str(here / "panoramas"), str(here / "start"))
    mixed = open_run("../recipes/my.toml", overrides=("data.panoramas=mine", "name=other"))
    assert mixed.recipe.data.panoramas == str(here / "mine")
    assert mixed.folder.resolve() == project / "recipes" / "cache" / "other"


def test_a_named_cache_is_taken_as_named(project: Path) -> None:
    assert open_run("../recipes/my.toml", Path("runs")).folder == Path("runs/run")


def test_the_recipe_that_a_run_recorded_stands_for_that_run(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    run.record_recipe()
    (run.folder / "log.jsonl").touch()
    again = open_run(str(run.folder / "recipe.toml"))
    assert again.recipe == run.recipe
    assert again.folder.resolve() == run.folder.resolve()
    os.chdir(run.folder)  # the fixture goes back
    assert open_run("./recipe.toml").folder.resolve() == Path.cwd()


def test_what_is_written_beside_a_recorded_recipe_belongs_to_the_same_cache(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    run.record_recipe()
    (run.folder / "log.jsonl").touch()
    beside = shutil.copy(run.folder / "recipe.toml", run.folder / "recipe.adapted.toml")
    assert open_run(str(beside)).folder == run.folder / "cache" / "run", "a folder of results, of no cache"
    run.store.mkdir()
    again = open_run(str(beside), overrides=("name=run-adapted",))
    assert again.folder.resolve() == run.folder.resolve().with_name("run-adapted")
    (run.folder / "cache").mkdir()  # of an earlier version, which began anew there
    assert open_run(str(beside)).folder == run.folder / "cache" / "run"


def test_a_network_that_is_only_in_the_current_folder_is_not_taken_silently(project: Path) -> None:
    (project / "recipes" / "my.toml").write_text('[student]\nweights = "only_here"\n')
    with pytest.raises(RecipeError, match=r"student\.weights is 'only_here', which is in the current folder"):
        open_recipe("../recipes/my.toml")
    chosen = open_recipe("../recipes/my.toml", ("student.weights=only_here",))
    assert chosen.student.weights == str(project / "here" / "only_here")


def test_a_cache_in_the_current_folder_is_reported_where_the_recipes_own_place_has_none(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    assert run_left_in_current_folder(run) == ""
    (project / "here" / "cache" / "run").mkdir(parents=True)
    (project / "here" / "cache" / "run" / "teacher.json").touch()
    told = run_left_in_current_folder(run)
    assert str(run.folder) in told and "--cache cache continues with that" in told
    result = CliRunner().invoke(cli.app, ["distill", "../recipes/my.toml"])
    assert f"note: {told}" in result.stderr
    assert run_left_in_current_folder(open_run("../recipes/my.toml", Path("cache"))) == ""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.manifest.touch()
    assert run_left_in_current_folder(run) == ""


def test_a_file_named_without_its_ending_is_offered(project: Path) -> None:
    Path("mine.toml").touch()
    with pytest.raises(RecipeError, match=r"recipe 'mine' is unknown; .* Write mine\.toml"):
        open_recipe("mine")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("Demo", "Perhaps demo is meant"), ("steet", "Perhaps street is meant"), ("", "Check the name"),
     ("mine.txt", "Call the file mine.toml")],
)  # fmt: skip
def test_an_unknown_recipe_is_answered_with_what_may_be_meant(project: Path, name: str, remedy: str) -> None:
    Path("mine.txt").touch()
    with pytest.raises(RecipeError) as caught:
        open_recipe(name)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("pair", ["=3", ".=3", "fusion.=3", ".theta=3"])
def test_an_override_without_a_name_is_reported_as_it_was_written(pair: str) -> None:
    with pytest.raises(RecipeError, match="names no setting") as caught:
        open_recipe("demo", (pair,))
    assert pair in caught.value.found


@pytest.mark.parametrize("pairs", [
    ("fusion.join=0.2", "fusion={theta=0.6}"), ("fusion={theta=0.6}", "fusion.join=0.2"),
    ("fusion={join=0.2}", "fusion={theta=0.6}"), ("fusion.join=0.1", "fusion.theta=0.6", "fusion={join=0.2}"),
])  # fmt: skip
def test_a_table_leaves_other_overrides_of_it_as_they_are(pairs: tuple[str, ...]) -> None:
    fusion = open_recipe("demo", pairs).fusion
    assert (fusion.join, fusion.theta) == (0.2, 0.6)


def test_what_no_path_may_have_is_refused_with_its_setting(project: Path) -> None:
    (project / "recipes" / "my.toml").write_text('[data]\npanoramas = "ph\\u0000tos"\n')
    with pytest.raises(RecipeError, match=r"data\.panoramas is .*; it must be a text without NUL"):
        open_run("../recipes/my.toml")
    with pytest.raises(RecipeError, match="recipes is a folder; a recipe is a TOML file"):
        open_recipe("../recipes")


@pytest.mark.parametrize("name", ["students", "evaluations", "teacher.zarr", "weights"])
def test_names_of_what_runs_share_are_no_names_of_runs(project: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"the cache has a folder of that name.*Choose another name"):
        open_run("../recipes/my.toml", overrides=(f"name={name}",))


def test_results_lead_to_the_latest_and_name_all(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    assert run.student == run.folder / "student"
    for name in ("a", "b", "a"):
        assert run.record_student(name) == run.cache / "students" / name
    run.record_evaluation("e")
    assert run.results.students == ("b", "a")
    assert (run.student, run.evaluation) == (run.cache / "students" / "a", run.cache / "evaluations" / "e")
    (run.student / "final").mkdir(parents=True)
    assert (run.folder / "student" / "final").samefile(run.student / "final")


RECORD_MANY = """
import sys
from pathlib import Path
from stages.runs import Run
run = Run(None, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    run.record_student(f"{sys.argv[2]}-{number}")
    run.record_evaluation(f"{sys.argv[2]}-{number}")
    run.record_assistant(f"{sys.argv[2]}-{number}")
"""


def test_students_side_by_side_are_all_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "my"
    recorders = [
        subprocess.Popen([sys.executable, "-c", RECORD_MANY, str(folder), name], cwd=ROOT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in ("a", "b")
    ]  # fmt: skip
    for recorder in recorders:
        assert recorder.stdout is not None and recorder.stdout.readline() == "ready\n"
    for recorder in recorders:
        assert recorder.stdin is not None
        recorder.stdin.write("go\n")
        recorder.stdin.flush()
    assert [recorder.wait(60) for recorder in recorders] == [0, 0]
    for recorder in recorders:
        recorder.communicate()
    found = read_results(folder)
    assert [len(names) for names in (found.students, found.evaluations, found.assistants)] == [50, 50, 50]


def test_a_lost_or_damaged_list_of_results_is_an_empty_one(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    run.record_student("a")
    (run.folder / "results.json").write_text('{"students": 3')
    assert run.results.students == ()
    run.record_student("b")
    assert run.results.students == ("b",)


def test_a_run_with_a_store_of_its_own_is_refused(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    refuse_old_layout(run.folder)
    (run.folder / "teacher.zarr").mkdir(parents=True)
    with pytest.raises(CacheError, match=r"has a store of its own, as earlier versions.* Delete .*teacher.zarr"):
        refuse_old_layout(run.folder)


def test_a_folder_in_the_place_of_a_link_is_put_aside(project: Path) -> None:
    """As where a cache was copied by a program that follows links."""
    run = open_run("../recipes/my.toml")
    for content in ("first", "second"):
        (run.folder / "eval").mkdir(parents=True)
        (run.folder / "eval" / "metrics.json").write_text(content)
        (run.record_evaluation("e")).mkdir(parents=True, exist_ok=True)
        assert (run.folder / "eval").samefile(run.evaluation)
        assert (run.folder / "eval.copied" / "metrics.json").read_text() == content
        (run.folder / "eval").unlink()
