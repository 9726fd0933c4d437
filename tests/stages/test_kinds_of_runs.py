"""Runs that are not full spheres with labels: bands as DensePASS has them, no labels, a limit, no SAM at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.cache.schema import ENSEMBLE
from pipeline.cache.store import TeacherStore
from pipeline.recipe import merge_recipe
from pipeline.world import build_scene, render_panorama
from stages.distill import distill
from stages.evaluate import evaluate
from stages.events import Event, StageAdvanced, silent
from stages.manifest import read_manifest
from stages.models import StudentModel
from stages.predict import PredictJob, predict
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.training_record import training_geometry
from tests.stages.small_run import HEIGHT, WIDTH, make_folders, small_run, write_panorama

ROOT = Path(__file__).resolve().parents[2]
BAND = slice(40, 88)
"""Rows of a panorama of twice the size that a band of 67.5 degrees has."""
WITHOUT_SAM = """
import json, sys
sys.modules["segment_anything"] = None  # as where it is not installed: every import of it or from it fails
from stages import cli
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["goodsam", *arguments]
    try:
        cli.main()
    except SystemExit as stop:
        if stop.code:
            raise
"""


def all_stages(run: Run) -> dict[str, object]:
    """Run them; what metrics.json holds."""
    teacher_cache(run, silent)
    distill(run, silent)
    evaluate(run, silent)
    return json.loads((run.evaluation / "metrics.json").read_text())


def write_band(folder: Path, seed: int) -> None:
    """A band with labels, named as DensePASS names them."""
    view = render_panorama(build_scene(seed), 2 * HEIGHT, 2 * WIDTH)
    for path, array in (
        (folder / "leftImg8bit" / "val" / "x" / f"{seed}_.png", view.image_HW3),
        (folder / "gtFine" / "val" / "x" / f"{seed}_labelTrainIds.png", view.labels_HW),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array[BAND]).save(path)


@pytest.mark.slow
def test_bands_with_the_names_of_densepass_go_through_all_stages(tmp_path: Path) -> None:
    make_folders(tmp_path)
    for seed in (0, 9):
        write_band(tmp_path, seed)
    images, labels = str(tmp_path / "leftImg8bit" / "val"), str(tmp_path / "gtFine" / "val")
    run = small_run(
        tmp_path,
        data={"panoramas": images, "evaluation": images, "labels": labels},
        panorama={"width": 2 * WIDTH, "vertical_fov": 67.5},
        windows={"height": 48, "width": 64, "stride_y": 32, "stride_x": 64},
    )
    metrics = all_stages(run)
    assert (metrics["images"], metrics["labelled"]) == (2, 2)
    final = run.student / "final"
    assert (training_geometry(final).width, training_geometry(final).vertical_fov) == (2 * WIDTH, 67.5)
    predict(PredictJob(StudentModel(final), tmp_path / "leftImg8bit", tmp_path / "out", training_geometry(final)))
    with Image.open(tmp_path / "out" / "labels" / "val" / "x" / "9_.png") as found:
        assert np.asarray(found).shape == (BAND.stop - BAND.start, 2 * WIDTH)


@pytest.mark.slow
def test_windows_of_two_shapes_with_the_settings_of_goodsam_plus_plus_go_through_stage_one(tmp_path: Path) -> None:
    make_folders(tmp_path)
    run = small_run(
        tmp_path,
        data={"limit": 1},
        windows={"height": 32, "more": [[64, 32, 32, 32]]},
        fusion={"theta_by": "levels", "votes": "confidence", "lcr_by": "votes"},
        boundary={"agreement": "shapes"},
    )
    teacher_cache(run, silent, device="cpu")
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    shapes = [(own.height, own.width) for own in reader.masks(reader.ids[0])]
    assert shapes == [(32, 64)] * 4 + [(64, 32)] * 4
    teacher = reader.teacher(reader.ids[0])
    np.testing.assert_allclose(teacher.assistant_CHW.sum(axis=0), 1, rtol=1e-5)
    assert teacher.ensemble_HW.shape == (HEIGHT, WIDTH)
    assert len(np.unique(teacher.ensemble_HW)) > 1


@pytest.mark.slow
def test_without_labels_the_evaluation_reports_what_can_be_known(tmp_path: Path) -> None:
    make_folders(tmp_path)
    metrics = all_stages(small_run(tmp_path, data={"labels": "", "evaluation": ""}))
    assert metrics["ladder"] == []
    assert (metrics["images"], metrics["labelled"]) == (3, 0)
    table = (tmp_path / "cache" / "small" / "eval" / "ladder.md").read_text()
    assert "coverage" in table
    assert "student" in table


@pytest.mark.slow
def test_a_limit_that_is_lifted_leaves_what_was_done(tmp_path: Path) -> None:
    make_folders(tmp_path)
    first = small_run(tmp_path, data={"limit": 1})
    teacher_cache(first, silent)
    done = TeacherStore.open(first.store, "r").ids(ENSEMBLE, read_manifest(first)[ENSEMBLE])
    before = {path: path.stat().st_mtime_ns for path in first.store.rglob("c*") if path.is_file()}
    events: list[Event] = []
    teacher_cache(small_run(tmp_path), events.append)
    assert len(done) == 2  # one to learn from, one to evaluate on
    assert sum(isinstance(event, StageAdvanced) for event in events) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_stage_two_evaluation_and_prediction_need_no_segment_anything(tmp_path: Path) -> None:
    make_folders(tmp_path)
    run = small_run(tmp_path)
    teacher_cache(run, silent)
    write_panorama(tmp_path / "in" / "1.png", 5)
    recipe, cache, final = str(tmp_path / "small.toml"), str(run.folder.parent), str(run.student / "final")
    commands = [
        ["distill", recipe, "--cache", cache],
        ["eval", recipe, "--cache", cache],
        ["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--student", final],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SAM, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert training_geometry(run.student / "final").width == WIDTH
    metrics = json.loads((run.evaluation / "metrics.json").read_text())
    assert (metrics["images"], metrics["labelled"]) == (1, 1)
    assert "student" in str(metrics["ladder"])
    with Image.open(tmp_path / "out" / "labels" / "1.png") as found:
        assert found.size == (WIDTH, HEIGHT)


@pytest.mark.slow
def test_an_assistant_without_encoder_levels_goes_through_both_stages(tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make_folders(tmp_path)
    rng = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(rng.standard_normal((13, 3, 4, 4)).astype(np.float32), "w")
    shapes = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", channels, "h" + name, "w" + name])
        for name, channels in (("image", 3), ("logits", 13))
    ]
    node = onnx.helper.make_node("Conv", ["image", "w"], ["logits"], strides=[4, 4])
    graph = onnx.helper.make_graph([node], "four by four", [shapes[0]], [shapes[1]], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "network.onnx"))
    assistant: dict[str, object] = {"kind": "onnx", "name": str(tmp_path / "network.onnx"), "feature_levels": []}
    metrics = all_stages(small_run(tmp_path, assistant=assistant, losses={"features": 0.0}))
    assert metrics["labelled"] == 1


@pytest.mark.slow
def test_a_network_of_other_classes_teaches_them(tmp_path: Path) -> None:
    """As networks for indoor panoramas do: the label set is their own, and the student has it."""
    make_folders(tmp_path)
    names = {0: "wall", 1: "floor", 2: "ceiling", 3: "window", 4: "door"}
    config = SegformerConfig(depths=[1] * 4, hidden_sizes=[8, 16, 16, 16], decoder_hidden_size=16)
    config.id2label, config.label2id = names, {name: class_id for class_id, name in names.items()}
    torch.manual_seed(0)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "net")
    own = str(tmp_path / "net" / "config.json")
    recipe = merge_recipe(small_run(tmp_path).recipe, {
        "label_set": own, "data": {"labels": ""},
        "assistant": {"kind": "transformers", "name": str(tmp_path / "net"), "label_set": own},
    })  # fmt: skip
    run = Run(recipe, tmp_path / "cache" / "indoor")
    metrics: Any = all_stages(run)
    assert set(metrics["agreement"]["class_shares"]["student"]) == set(names.values())
    student = run.student / "final"
    job = PredictJob(StudentModel(student), tmp_path / "held_out", tmp_path / "out", training_geometry(student))
    assert predict(job, silent).done == 1
    header = (tmp_path / "out" / "class_shares.csv").read_text().splitlines()[0]
    assert header == "panorama,wall,floor,ceiling,window,door,ignored"
    assert np.asarray(Image.open(tmp_path / "out" / "labels" / "9.png")).max() < len(names)
