"""Fusion on photographs with people's labels: what it is given, with a made-up network and the demo SAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.classes import CITYSCAPES_19
from scripts.measure_fusion import BLEND, DEFAULT
from scripts.measure_fusion_pictures import main
from scripts.measure_tune_pictures import pictures
from tests.teacher.test_rectification import ColourAssistant

BRIGHT_AND_DARK = torch.tensor([[1.0 if name == "sky" else -1.0 if name == "road" else 0.0]
                                for name in CITYSCAPES_19.names])  # fmt: skip


def sky_and_road(images_K3HW: torch.Tensor) -> torch.Tensor:
    """Logits by which bright pixels are sky, dark ones road."""
    return 20 * torch.einsum("cx,kxhw->kchw", BRIGHT_AND_DARK, images_K3HW[:, :1])


def write_picture(folder: Path, name: str) -> None:
    """A picture of bright sky over a dark road, and its labels in CamVid's classes."""
    image_HW3, labels_HW = np.full((288, 320, 3), 230, np.uint8), np.zeros((288, 320), np.uint8)
    image_HW3[150:], labels_HW[150:] = 30, 3
    for kind, array, ending in (("images", image_HW3, "png"), ("labels", labels_HW, "png")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{name}.{ending}")


def test_other_pictures_can_be_asked_for(tmp_path: Path) -> None:
    for name in "abcdef":
        write_picture(tmp_path, name)
    first, others = ([name for name, *_ in pictures(tmp_path, count, besides)] for count, besides in ((3, 0), (3, 3)))
    assert len(first) == len(others) == 3 and sorted(first + others) == list("abcdef")


@pytest.mark.slow
def test_pictures_are_fused_and_their_masks_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / "data", name)
    network = tmp_path / "network.onnx"
    network.write_bytes(b"made up")
    assistant = ColourAssistant(CITYSCAPES_19, sky_and_road)
    monkeypatch.setattr("scripts.measure_fusion_pictures.load_assistant", lambda *_: assistant)
    sam = {
        "model": "demo",
        "checkpoint": "",
        "points_per_side": 4,
        "pred_iou_thresh": 0.5,
        "stability_score_thresh": 0.5,
    }
    asked = [
        *("--data", str(tmp_path / "data"), "--assistant", str(network), "--pictures", "2"),
        *("--out", str(tmp_path / "out"), "--only", "votes by confidence"),
        *("--set", *(f"sam.{key}={value}" for key, value in sam.items())),
    ]
    main(asked)
    table = (tmp_path / "out" / "fusion.md").read_text()
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] == [
        BLEND, DEFAULT, "votes by confidence"]  # fmt: skip
    assert f"| {BLEND} | 100.0 |" in table, "sky and road are easy, and named as CamVid names them"
    assert float(table.split(f"| {DEFAULT} | ")[1][:4]) == pytest.approx(99.5, abs=0.6), "masks may move the edge"
    kept = sorted((tmp_path / "out").rglob("*.npz"))
    assert [path.name for path in kept] == ["a.npz", "b.npz"]
    monkeypatch.setattr("pipeline.teacher.sam.SamMaskGenerator.many", None)  # is not asked again
    main(asked)
    assert (tmp_path / "out" / "fusion.md").read_text() == table and "2 of 2 pictures" in capsys.readouterr().out
