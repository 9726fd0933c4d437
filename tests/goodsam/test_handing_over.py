"""What goes to other programs and comes back: where corrections are stored, and students as ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import goodsam
from pipeline.classes import DENSEPASS_13
from pipeline.errors import InputError, WeightsError
from stages.events import silent
from stages.label_files import write_labels
from tests.stages.small_run import HEIGHT, WIDTH, make_folders


def test_corrected_labels_are_stored_beside_the_run_or_where_one_says(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    run = goodsam.open_run(recipe)
    write_labels(tmp_path / "edited" / "1.png", np.full((HEIGHT, WIDTH), 2, np.uint8), DENSEPASS_13, {})
    first = goodsam.import_labels(run, tmp_path / "edited", listener=silent)
    assert (first.stored, first.known, first.failed) == (1, 0, {})
    assert first.folder == run.folder / "corrections"
    assert (np.asarray(Image.open(first.folder / "panoramas" / "1.png")) == 2).all()
    assert goodsam.import_labels(run, tmp_path / "edited", listener=silent).known == 1
    assert goodsam.import_labels(run, tmp_path / "edited", tmp_path / "mine", silent).folder == tmp_path / "mine"
    own = goodsam.open_run(recipe, settings=[f"data.corrections={tmp_path / 'mine'}"])
    assert goodsam.import_labels(own, tmp_path / "edited", listener=silent).known == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_type": "int8"}, "the input type 'int8'; it is one of uint8, float32"),
        ({"pictures": "nowhere"}, "nowhere"),
        ({}, "holds no student"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_torch_works(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    if options:
        for name in ("config.json", "model.safetensors", "training.json"):
            (tmp_path / name).write_text("{}")
    with pytest.raises((InputError, WeightsError), match=message):
        goodsam.export_onnx(tmp_path, listener=silent, **options)  # type: ignore[arg-type]


def test_an_export_as_onnx_gives_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[Any, Callable[..., Any]]] = []

    def stage(job: Any, listener: Callable[..., Any]) -> SimpleNamespace:
        begun.append((job, listener))
        return SimpleNamespace(agreement=1.0)

    monkeypatch.setattr("stages.export_onnx.export_onnx", stage)
    for name in ("config.json", "model.safetensors", "training.json"):
        (tmp_path / name).write_text("{}")
    assert goodsam.export_onnx(tmp_path, tmp_path / "a.onnx", silent, input_type="float32").agreement == 1
    ((job, listener),) = begun
    assert (job.student, job.path, job.input_type, job.pictures) == (tmp_path, tmp_path / "a.onnx", "float32", None)
    assert listener is silent
