"""The benchmark's own machinery: programs timed in turn, with the same decoder outputs, and reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam

from pipeline.recipe import merge_recipe
from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.generator.decoder import fastest_decoder
from pipeline.teacher.masks import MaskSet
from scripts.bench import gpu, masks, stage
from scripts.bench.__main__ import names
from scripts.bench.decoder_outputs import synthetic_outputs
from scripts.bench.figure import Figure, Timing, skipped
from scripts.bench.report import table, write_report
from scripts.bench.sams import equal_masks, our_masks, our_masks_of_many, stock_masks
from scripts.bench.setup import Setup
from scripts.profile_teacher_cache import demo_run
from stages.runs import Run

POINTS = 3


@pytest.fixture(scope="module")
def small_sam() -> Sam:
    torch.manual_seed(0)
    return build_demo_sam().eval()


def test_both_generators_find_the_masks_of_the_given_outputs(small_sam: Sam) -> None:
    grid = 4 * small_sam.prompt_encoder.image_embedding_size[0]
    outputs, image = (
        synthetic_outputs(POINTS, grid, steepness=40.0),
        masks.noise_picture(small_sam.image_encoder.img_size),
    )
    ours = our_masks(small_sam, outputs, POINTS, image)
    stock = stock_masks(small_sam, outputs, POINTS, image)
    first = ours()
    assert len(first) > 0
    assert equal_masks(stock(), first)
    assert equal_masks(stock(), ours())  # replaced anew for each image
    assert fastest_decoder(small_sam).fallback_reason is None  # the stock's hook is gone when its turn is over


@pytest.mark.slow
def test_a_batch_of_windows_gets_the_same_outputs(small_sam: Sam) -> None:
    grid = 4 * small_sam.prompt_encoder.image_embedding_size[0]
    outputs, image = (
        synthetic_outputs(POINTS, grid, steepness=40.0),
        masks.noise_picture(small_sam.image_encoder.img_size),
    )
    stock = stock_masks(small_sam, outputs, POINTS, image)()
    for batched in (False, True):
        found = our_masks_of_many(small_sam, outputs, POINTS, [image] * 3, batched=batched)()
        assert [equal_masks(stock, own) for own in found] == [True] * 3


@pytest.mark.slow
def test_the_figures_of_a_gpu_are_skipped_without_one_and_work_where_they_are_tried(small_sam: Sam) -> None:
    (left_out,) = gpu.gpu_figures(Setup(frozenset(gpu.NAMES)))
    assert "skipped" in left_out.note
    case = gpu.Case("vit_b", POINTS, torch.float32)
    figure = gpu.case_figure(Setup(frozenset(), repeats=1), "tiny", case, small_sam, gpu.Workload(2, 2, 64))
    assert figure.peer_seconds is not None
    assert figure.our_seconds is not None
    for fact in (f"{1 / figure.our_seconds:.1f} windows/s", "differs for 0 of 2 windows (0.0%)", "not counted"):
        assert fact in figure.note


def test_the_stock_arithmetic_of_a_window_is_encoder_plus_points() -> None:
    assert gpu.CASES["GPU vit_b 32x32 bfloat16"].flops == pytest.approx(972e9 + 3.71e12, rel=1e-2)
    assert gpu.CASES["GPU vit_h 16x16 float32"].flops == pytest.approx(5961e9 + 0.93e12, rel=1e-2)


def test_float32_is_compared_without_tf32_and_the_setting_is_left_as_it_was() -> None:
    before = torch.backends.cudnn.allow_tf32
    for precision, allowed in ((torch.float32, False), (torch.bfloat16, before)):
        with gpu.exact_convolutions(precision):
            assert torch.backends.cudnn.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is before


def test_other_masks_are_not_called_equal() -> None:
    flags = np.zeros((1, 4, 4), np.bool_)
    flags[0, 1:3, 1:3] = True
    record = {"segmentation": flags[0], "predicted_iou": 1.0, "stability_score": 1.0}
    assert equal_masks([record], MaskSet.from_dense(flags))
    assert not equal_masks([record | {"predicted_iou": 0.5}], MaskSet.from_dense(flags))
    assert not equal_masks([record], MaskSet.from_dense(~flags))
    assert not equal_masks([], MaskSet.from_dense(flags))


def test_bfloat16_is_left_out_with_a_reason_where_the_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "has_fast_bfloat16", lambda: False)
    (figure,) = masks.mask_figures(Setup(frozenset({"masks 16x16 bfloat16"})))
    assert figure.ratio is None
    assert "skipped" in figure.note


def test_figures_are_found_by_words_of_their_names() -> None:
    assert names(["confusion"]) == {"confusion matrix"}
    assert names(["no such figure"]) == set()
    assert {"masks 16x16", "class votes", "teacher-cache"} <= names([])


def test_reports_hold_the_ratio_and_what_was_skipped(tmp_path: Path) -> None:
    figures = [Figure("fast", "peer", 3.0, 0.5, 5.0, True), skipped("absent", "peer", "it is not installed", 2.0)]
    write_report(tmp_path, figures, {"cpu": "some"})
    rows = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert [row["ratio"] for row in rows] == [6.0, None]
    assert "| fast | peer | 3.00 s | 500.00 ms | 6.0 | 5 | yes |" in table(figures, {})
    assert "it is not installed" in (tmp_path / "bench.md").read_text()


def test_a_run_of_other_figures_adds_to_the_report_of_its_machine_and_device(tmp_path: Path) -> None:
    def reported(figures: list[Figure], device: str) -> dict[str, float | None]:
        write_report(tmp_path, figures, {"cpu": "some", "device": device})
        rows = json.loads((tmp_path / "bench.json").read_text())["figures"]
        assert all(f"| {row['name']} |" in (tmp_path / "bench.md").read_text() for row in rows)
        return {row["name"]: row["ratio"] for row in rows}

    first, second = Figure("first", "peer", 3.0, 1.0), Figure("second", "peer", 4.0, 1.0)
    assert reported([first], "cuda") == {"first": 3.0}
    assert reported([second], "cuda") == {"first": 3.0, "second": 4.0}
    assert reported([Figure("first", "peer", 6.0, 1.0)], "cuda") == {"first": 6.0, "second": 4.0}
    assert reported([second], "cpu") == {"second": 4.0}


def test_what_bfloat16_costs_is_measured_where_the_figure_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "bfloat16_quality", lambda device: f"measured on {device}")
    timings = {"stock": Timing(2.0, None), "bfloat16": Timing(1.0, None)}
    assert masks.bfloat16_figure("masks", masks.GRIDS[0], timings, "cuda").note.endswith("measured on cuda")


@pytest.mark.slow
def test_masks_of_stage_one_are_compared_with_the_stock_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two small panoramas: the store names its entries by content, so that both runs' are the same."""

    def small_run(folder: Path, panoramas: int, masks: str) -> Run:
        run = demo_run(folder, panoramas, masks)
        small = {"panorama": {"width": 512}, "windows": {"stride_x": 256}, "assistant": {"views_weight": 0.0}}
        return Run(merge_recipe(run.recipe, small), run.folder)

    monkeypatch.setattr(stage, "demo_run", small_run)
    (figure,) = stage.stage_figures(Setup(frozenset({"teacher-cache"}), repeats=1))
    assert figure.identical
    found = re.search(r"; (\d+) of (\d+) masks differ, by (\d+) pixels", figure.note)
    assert found is not None
    different, masks, pixels = map(int, found.groups())
    assert masks > 0
    assert (different, pixels) == (0, 0)
