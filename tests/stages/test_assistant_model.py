"""Any semantic network makes maps: it is shown the views of a recipe, as in stage one, and needs no student."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pipeline.errors import GoodSAMError, RecipeError, WeightsError
from pipeline.panorama.windows import window_grid
from pipeline.recipe import load_recipe
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.identity import DEMO_FOLDER
from pipeline.teacher.rectification import stitch_assistant
from stages import cli
from stages.assistant_model import AssistantModel
from stages.models import StudentModel, open_model
from tests.stages.small_run import RECIPE, write_panorama
from tests.stages.tiny_student import write_tiny_student
from tests.teacher.test_assistant_onnx import Convolutions, export

pytest.importorskip("onnxruntime")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Which has windows and weights of its own; its network is not used."""
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    write_panorama(tmp_path / "in" / "street.png", 3)
    return path


def predicted(tmp_path: Path, *options: object) -> np.ndarray:
    out = tmp_path / "out"
    arguments = ["predict", tmp_path / "in", out, "--device", "cpu", *options]
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return np.asarray(Image.open(out / "labels" / "street.png"))


def test_a_network_of_transformers_sees_the_windows_of_the_recipe(tmp_path: Path, recipe: Path) -> None:
    found = predicted(tmp_path, "--model", DEMO_FOLDER, "--recipe", recipe)
    settings = load_recipe(recipe)
    image = np.asarray(Image.open(tmp_path / "in" / "street.png"))
    windows = window_grid(image.shape[0], image.shape[1], settings.windows)
    assistant = load_assistant(settings.assistant, torch.device("cpu"))
    stitched = stitch_assistant(image, windows, assistant, settings.assistant, settings.classes)
    np.testing.assert_array_equal(found, stitched.assistant_CHW.argmax(axis=0))
    table = (tmp_path / "out" / "panoramas.csv").read_text().splitlines()
    doubt = float(table[1].split(",")[table[0].split(",").index("doubt")])
    assert 0 < doubt < 1 - 1 / 13


def test_another_onnx_file_predicts_the_classes_that_it_is_said_to_have(tmp_path: Path, recipe: Path) -> None:
    torch.manual_seed(0)
    network = Convolutions(torch.randn(6, 3, 4, 4) / 7, torch.randn(8, 6, 2, 2) / 5, torch.randn(13, 6, 1, 1))
    path = export(network, tmp_path / "mine.onnx")
    assert len(np.unique(predicted(tmp_path, "--model", path, "--recipe", recipe))) > 3
    with pytest.raises(WeightsError, match=r"predicts 13 classes; .* has 19\. Set --label-set to the classes"):
        predicted(tmp_path, "--model", path, "--recipe", recipe, "--label-set", "cityscapes19")


def test_a_rerun_keeps_the_map_and_another_recipe_makes_it_anew(tmp_path: Path, recipe: Path) -> None:
    def identity(text: str, folder: Path = DEMO_FOLDER) -> str:
        recipe.write_text(text)
        return open_model(str(folder), str(recipe)).identity

    moved = tmp_path / DEMO_FOLDER.name
    shutil.copytree(DEMO_FOLDER, moved)
    usual = identity(RECIPE)
    assert identity(RECIPE, moved) == usual
    assert identity(RECIPE.replace("stride_x = 64", "stride_x = 32")) != usual
    assert identity(RECIPE.replace('kind = "demo"', 'kind = "demo"\nwindow_scale = 2')) != usual


def test_what_was_distilled_is_shown_the_whole_panorama(tmp_path: Path) -> None:
    folder = write_tiny_student(tmp_path / "final")
    assert isinstance(open_model(str(folder)), AssistantModel)
    (folder / "training.json").write_text("{}")
    assert isinstance(open_model(str(folder)), StudentModel)


def test_classes_come_from_the_networks_own_config(tmp_path: Path) -> None:
    model = open_model(str(write_tiny_student(tmp_path / "final")))
    assert isinstance(model, AssistantModel)
    assert model.recipe.classes.name == "densepass13"
    assert (model.usual.width, model.recipe.assistant.whole_weight) == (2048, 0.5)  # of the recipe street


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model", "nowhere"), "nowhere does not exist; --model is a student's folder"),
        (("--model", "{in}"), "in holds no network; a network of transformers has a config.json"),
        (("--model", "{in}/street.png"), r"street\.png cannot be loaded .*it must be an ONNX network"),
        (("--model", DEMO_FOLDER, "--recipe", "{mine}", "--width", "96"), r"divisor of panorama\.width \(96\)"),
        (("--model", DEMO_FOLDER, "--recipe", "{mine}", "--label-set", "cityscapes19"), "predicts 13 classes"),
        (("--model", DEMO_FOLDER, "--label-set", "mine"), r"--label-set is 'mine'"),
        (("--model", DEMO_FOLDER, "--student", DEMO_FOLDER), "one network predicts"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    tmp_path: Path, recipe: Path, options: tuple[object, ...], told: str
) -> None:
    texts = [str(option).format_map({"in": tmp_path / "in", "mine": recipe}) for option in options]
    with pytest.raises(GoodSAMError, match=told):
        predicted(tmp_path, *texts)
    assert not (tmp_path / "out" / "labels").exists()


def test_a_recipe_that_is_not_there_is_reported() -> None:
    with pytest.raises(RecipeError, match="nowhere"):
        open_model(str(DEMO_FOLDER), "nowhere.toml")
