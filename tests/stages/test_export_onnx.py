"""The student as an ONNX file gives torch's labels at any size, says what it is, and is refused where it does not."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pipeline.classes import DENSEPASS_13
from pipeline.errors import CacheError, InputError, WeightsError
from pipeline.student.model import load_student, predict_logits
from pipeline.student.onnx_graph import OPSET, PanoramaGraph
from stages import cli
from stages import export_onnx as stage
from stages.export_onnx import ExportJob, ExportReport, export_onnx
from stages.models import open_model
from stages.onnx_predictor import geometry_of_training, load_onnx_student, student_facts
from tests.stages.tiny_student import write_tiny_student

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow  # the export alone takes ten seconds of a core and more

TRAINING = {
    "parameters": 12_345, "panoramas": 7, "working_size": [48, 128], "vertical_fov": 135.0, "steps": 9,
    "losses": {"total": 1.25}, "seed": 3, "torch": "2",
    "settings": {"distill": {"batch_size": 2, "learning_rate": 1e-4}},
}  # fmt: skip


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_student(tmp_path_factory.mktemp("run") / "student" / "final")
    (folder / "training.json").write_text(json.dumps(TRAINING))
    return folder


@pytest.fixture(scope="module")
def exported(student: Path) -> ExportReport:
    return export_onnx(ExportJob(student))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_it_is_compared_at_the_working_size_and_lies_in_the_students_folder(
    student: Path, exported: ExportReport
) -> None:
    assert exported.path == student / "onnx" / "model.onnx"
    assert exported.path.stat().st_size == exported.size
    assert exported.agreement > 0.9999
    assert (exported.width, exported.height, exported.pixels) == (128, 48, 2 * 48 * 128)
    assert "labels equal to torch's on 100" in str(exported)
    assert f"opset {OPSET}" in str(exported)


@pytest.mark.parametrize(("height", "width"), [(32, 64), (64, 64), (96, 160), (160, 96), (256, 512)])
def test_any_size_gives_torchs_logits(student: Path, exported: ExportReport, height: int, width: int) -> None:
    image = noise(height, width)
    expected = predict_logits(load_student(student), torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(load_onnx_student(exported.path)(image), expected, atol=1e-4)


def test_a_student_that_enlarges_panoramas_does_so_inside_the_graph(student: Path, tmp_path: Path) -> None:
    enlarging = Path(shutil.copytree(student, tmp_path / "enlarging"))
    config = json.loads((enlarging / "config.json").read_text())
    (enlarging / "config.json").write_text(json.dumps(config | {"panorama_scale": 1.5}))
    exported = load_onnx_student(export_onnx(ExportJob(enlarging)).path)
    for height, rows in ((64, 24), (100, 38)):  # 100 rows enlarged are no whole cells
        image = noise(height, 192)
        expected = predict_logits(load_student(enlarging), torch.from_numpy(image)[None])[0].numpy()
        assert expected.shape == (13, rows, 72)
        np.testing.assert_allclose(exported(image), expected, atol=1e-4)


def test_a_batch_gives_what_its_images_give_alone(exported: ExportReport) -> None:
    predictor = load_onnx_student(exported.path)
    images = [noise(64, 96, seed) for seed in range(3)]
    batch = np.stack(images).transpose(0, 3, 1, 2)
    together = np.asarray(predictor.session.run(None, {"images": np.ascontiguousarray(batch)})[0])
    np.testing.assert_allclose(together, np.stack([predictor(image) for image in images]), atol=1e-4)


def test_predictions_go_on_over_the_seam(exported: ExportReport) -> None:
    """The global attention moves a little with rolls; without wrapping the columns at the seam would jump."""
    logits = load_onnx_student(exported.path)(np.roll(np.repeat(noise(8, 16).repeat(8, 0), 16, 1), 5, axis=1))
    steps = np.abs(np.diff(np.concatenate((logits[..., -1:], logits), axis=2), axis=2)).mean(axis=(0, 1))
    assert steps[0] < 2 * np.median(steps)


def test_the_file_says_what_it_is(student: Path, exported: ExportReport) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["classes"]) == list(DENSEPASS_13.names)
    assert json.loads(facts["palette"])[0] == [128, 64, 128]
    assert (facts["label_set"], json.loads(facts["working_size"])) == ("densepass13", [48, 128])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    sizes = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, "height", "width"]
    predictor = load_onnx_student(exported.path)
    assert predictor.label_set == DENSEPASS_13
    found = student_facts(predictor.session)
    assert found is not None and geometry_of_training(found).height == 48


def test_the_card_beside_it_says_how_to_use_it(exported: ExportReport) -> None:
    card = (exported.path.parent / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: onnx\n")
    assert "| 12 | car | #00008e |" in card and 'InferenceSession("model.onnx")' in card
    assert "7 unlabelled panoramas, resized to 128x48" in card


def test_a_file_with_other_labels_is_refused_and_nothing_is_written(
    exported: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tiny_student(tmp_path / "other", seed=1)
    Image.fromarray(noise(64, 128)).save(tmp_path / "street.png")
    monkeypatch.setattr(stage, "student_onnx", lambda *_: exported.path.read_bytes())
    monkeypatch.setattr(stage, "UNTOLD_WIDTH", 128)
    with pytest.raises(
        WeightsError, match=r"gives the student's labels on only \d+\.\d\d % of the pixels.*nothing was"
    ):
        export_onnx(ExportJob(other, tmp_path / "out", pictures=tmp_path))
    assert not (tmp_path / "out").exists()


def test_pictures_of_which_none_can_be_used_are_refused_before_the_export(student: Path, tmp_path: Path) -> None:
    (tmp_path / "street.png").write_bytes(b"none")
    with pytest.raises(InputError, match=r"street\.png cannot be opened"):
        export_onnx(ExportJob(student, tmp_path / "out", pictures=tmp_path))


@pytest.mark.parametrize("out", ["taken/model.onnx", "folder.onnx"])
def test_a_file_that_cannot_be_written_is_refused_before_the_export(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder.onnx").mkdir()
    monkeypatch.setattr(stage, "student_onnx", lambda *_: pytest.fail("it was exported"))
    with pytest.raises(CacheError, match=r"onnx cannot be written"):
        export_onnx(ExportJob(student, tmp_path / out))


def test_floats_of_0_to_1_are_the_same_picture(student: Path) -> None:
    graph = PanoramaGraph(load_student(student))
    images = torch.from_numpy(noise(64, 96).transpose(2, 0, 1)[None].copy())
    with torch.no_grad():
        torch.testing.assert_close(graph(images.float() / 255), graph(images))


def test_without_onnxscript_it_says_how_to_install_it(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    Image.fromarray(noise(48, 128)).save(tmp_path / "street.png")
    with pytest.raises(WeightsError, match=r"onnxscript is not installed.*pip install onnx onnxscript"):
        export_onnx(ExportJob(student, pictures=tmp_path))


def test_another_network_is_no_student(exported: ExportReport, tmp_path: Path) -> None:
    model = onnx.load(exported.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(WeightsError, match=r"other\.onnx is an ONNX file, but not of a student"):
        load_onnx_student(tmp_path / "other.onnx")


def test_an_odd_size_is_one_sentence(exported: ExportReport) -> None:
    with pytest.raises(WeightsError, match=r"cannot predict a panorama of 32x32 pixels.*multiples of 32.*--width"):
        load_onnx_student(exported.path)(noise(32, 32))


def predicted(model: Path, folder: Path, *options: str) -> np.ndarray:
    """Labels of the panorama of `folder`, as the command line writes them."""
    out = folder.parent / f"out-{model.name}"
    arguments = ["predict", str(folder), str(out), "--model", str(model), "--device", "cpu", *options]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exception is None, result.output
    return np.asarray(Image.open(out / "labels" / "street.png"))


def test_predict_takes_the_file_with_the_size_of_the_training(
    student: Path, exported: ExportReport, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(96, 256)).save(tmp_path / "in" / "street.png")
    of_torch, of_onnx = predicted(student, tmp_path / "in"), predicted(exported.path, tmp_path / "in")
    assert of_onnx.shape == (96, 256) and len(np.unique(of_onnx)) > 1
    assert (of_torch == of_onnx).mean() >= 0.999


def test_another_file_predicts_anew(exported: ExportReport, tmp_path: Path) -> None:
    model = onnx.load(exported.path)
    model.doc_string = "another file"
    onnx.save(model, tmp_path / "another.onnx")
    assert open_model(str(tmp_path / "another.onnx")).identity != open_model(str(exported.path)).identity


@pytest.mark.parametrize(
    ("model", "told"), [("nowhere.onnx", "nowhere.onnx does not exist"), ("nowhere", "nowhere does not exist")]
)
def test_a_model_that_is_not_there_is_reported(tmp_path: Path, model: str, told: str) -> None:
    result = CliRunner().invoke(cli.app, ["predict", str(tmp_path), str(tmp_path / "out"), "--model", model])
    assert isinstance(result.exception, WeightsError) and told in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "path"), [("a.onnx", "a.onnx"), ("folder", "folder/model.onnx")])
def test_out_is_a_file_or_a_folder(tmp_path: Path, name: str, path: str) -> None:
    assert ExportJob(tmp_path, tmp_path / name).path == tmp_path / path


def test_a_folder_without_a_student_is_reported(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["export-onnx", str(tmp_path)])
    assert isinstance(result.exception, WeightsError) and "holds no student" in str(result.exception)
