"""Parts of torch's bilinear interpolation: which pixels they need, and that they are torch's to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pipeline.teacher.generator import interpolation
from pipeline.teacher.generator.interpolation import Axis, Kernel, axis, resize

sides, sources = st.integers(1, 40), st.integers(1, 90)
kernels = st.sampled_from(Kernel)


pytestmark = pytest.mark.usefixtures("threads")


def looked_at(one: Axis) -> np.ndarray:
    """Which sources [target, source] have weight by torch: the targets of images of a single bright line."""
    lines = torch.eye(one.source_size)[:, None]
    return functional.interpolate(lines, one.target_size, mode="linear", align_corners=False)[:, 0].T.numpy() > 1e-6


@given(sides, sides, kernels)
def test_weights_are_those_of_torch(source: int, target: int, kernel: Kernel) -> None:
    one = axis(source, target, kernel)
    ours = np.zeros((target, source), np.float32)
    np.add.at(ours, (np.arange(target), one.first_source), one.first_weight.numpy())
    np.add.at(ours, (np.arange(target), one.second_source), one.second_weight.numpy())
    lines = torch.eye(source)[:, None]
    torchs = functional.interpolate(lines, target, mode="linear", align_corners=False)[:, 0].T.numpy()
    np.testing.assert_allclose(ours, torchs, atol=1e-5)
    assert one.is_identity == (source == target)


@given(st.data(), sides, sides, kernels)
def test_a_span_of_targets_needs_all_sources_that_it_looks_at(
    data: st.DataObject, source: int, target: int, kernel: Kernel
) -> None:
    one = axis(source, target, kernel)
    start, stop = sorted(data.draw(st.lists(st.integers(0, target), min_size=2, max_size=2, unique=True)))
    seen = np.flatnonzero(looked_at(one)[start:stop].any(axis=0))
    first, last = one.sources_of((start, stop))
    assert first <= seen[0] and seen[-1] < last
    assert last - first <= seen[-1] - seen[0] + 3  # and little more


@given(st.data(), sides, sides, kernels)
def test_every_target_that_looks_at_a_span_of_sources_is_reached(
    data: st.DataObject, source: int, target: int, kernel: Kernel
) -> None:
    one = axis(source, target, kernel)
    start, stop = sorted(data.draw(st.lists(st.integers(0, source), min_size=2, max_size=2, unique=True)))
    looking = np.flatnonzero(looked_at(one)[:, start:stop].any(axis=1))
    first, last = one.targets_of((start, stop))
    assert set(looking) <= set(range(first, last))


@given(st.data(), st.integers(2, 20), st.sampled_from((1, 2, 3, 4, 8)), st.integers(1, 30), kernels)
def test_blocks_cover_a_span_once_and_their_groups_share_their_sources(
    data: st.DataObject, source: int, factor: int, size: int, kernel: Kernel
) -> None:
    one = axis(source, source * factor, kernel)
    span = sorted(data.draw(st.lists(st.integers(0, one.target_size), min_size=2, max_size=2, unique=True)))
    covered: list[int] = []
    for block, period in one.blocks((span[0], span[1]), size):
        targets = np.arange(block.start, block.stop)
        covered += targets.tolist()
        assert len(targets) % period == 0
        groups = one.first_source[targets].reshape(-1, period)
        assert (groups == groups[:, :1]).all()
    assert covered == list(range(*span))


targets = st.tuples(st.integers(1, 300), st.integers(1, 300))


def assert_part_is_that_of_the_whole(data: st.DataObject, source: tuple[int, int], target: tuple[int, int]) -> None:
    step, is_exact = resize(source, target, 3)
    if not is_exact:
        pytest.skip("torch's kernels on this machine round in another order: parts are not used here")
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 9, source).astype(np.float32))
    spans = [sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True))) for side in target]
    (top, bottom), (left, right) = spans
    rows, columns = step.rows.sources_of((top, bottom)), step.columns.sources_of((left, right))
    part = step.tile(values[slice(*rows), slice(*columns)], (rows[0], columns[0]), (top, bottom), (left, right))
    whole = functional.interpolate(values.expand(1, 3, *source).contiguous(), target, mode="bilinear")[0, 0]
    assert torch.equal(part, whole[top:bottom, left:right])


@pytest.mark.parametrize(("source", "target"), [((1, 1), (150, 1)), ((1, 1), (3, 7)), ((2, 1), (90, 2))])
def test_a_kernel_that_rounds_a_few_pixels_as_torch_does_is_not_taken_for_torchs(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    step, is_exact = resize(source, target, 3)
    if not is_exact:
        pytest.skip("torch's kernels on this machine round in another order: parts are not used here")
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = torch.from_numpy(rng.normal(0, 8, source).astype(np.float32))
        part = step.tile(values, (0, 0), (0, target[0]), (0, target[1]))
        assert torch.equal(part, step.whole(values))


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data(), st.tuples(sources, sources), targets)
def test_a_part_has_the_bits_of_the_whole_where_the_kernel_is_known(
    data: st.DataObject, source: tuple[int, int], target: tuple[int, int]
) -> None:
    assert_part_is_that_of_the_whole(data, source, target)


@settings(max_examples=40)
@given(
    st.data(), st.integers(2, 40), st.sampled_from((2, 3, 4, 5, 8)), st.tuples(sources, sources), st.integers(64, 2048)
)
def test_so_has_a_part_of_an_image_enlarged_by_a_whole_factor(
    data: st.DataObject, rows: int, factor: int, columns: tuple[int, int], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # small blocks, so that there are several
        patch.setattr(interpolation, "BLOCK_PIXELS", block)
        assert_part_is_that_of_the_whole(data, (rows, columns[0]), (rows * factor, columns[1]))


def test_parts_are_exact_at_the_sizes_of_sam_with_any_number_of_threads() -> None:
    """What makes the generator fast: where they are not, whole masks are upsampled."""
    for source, target in [((256, 256), (1024, 1024)), ((64, 64), (256, 256)), ((768, 1024), (720, 960))]:
        assert resize(source, target, 3)[1], (source, target)


@pytest.mark.parametrize(
    ("source", "target", "period"), [(64, 256, 4), (256, 1024, 4), (24, 60, 1), (64, 64, 1), (1, 4, 1), (90, 30, 1)]
)
def test_rows_share_their_sources_where_the_factor_is_sams(source: int, target: int, period: int) -> None:
    assert all(axis(source, target, kernel).group_size == period for kernel in Kernel)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_is_torchs(channels: int) -> None:
    image_hw = torch.from_numpy(np.random.default_rng(0).normal(0, 9, (12, 9)).astype(np.float32))
    step, _ = resize((12, 9), (31, 40), channels)
    assert torch.equal(step.whole(image_hw), _whole(image_hw, (31, 40), channels))


def test_a_kernel_that_rounds_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch of another version, say."""
    stock = functional.interpolate
    monkeypatch.setattr(functional, "interpolate", lambda *a, **k: torch.nextafter(stock(*a, **k), torch.tensor(9e9)))
    step, is_exact = resize((12, 9), (31, 40), 3)
    assert not is_exact
    assert not step.agrees_with_torch()


def test_what_keeps_its_size_is_itself() -> None:
    step, is_exact = resize((7, 5), (7, 5), 3)
    image_hw = torch.arange(35.0).view(7, 5)
    assert step.is_identity and is_exact
    assert torch.equal(step.tile(image_hw, (0, 0), (0, 7), (0, 5)), image_hw)
    assert not resize((7, 5), (7, 6), 3)[0].is_identity


def _whole(image_hw: Tensor, target: tuple[int, int], channels: int) -> Tensor:
    batch = image_hw.expand(1, channels, *image_hw.shape).contiguous()
    return functional.interpolate(batch, target, mode="bilinear", align_corners=False)[0, 0]
