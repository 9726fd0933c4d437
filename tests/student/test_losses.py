from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from pipeline.student.config import LOSSES, LossConfig
from pipeline.student.losses import (
    FeatureProjections,
    assistant_loss,
    boundary_loss,
    divergence,
    edge_weights,
    feature_loss,
    mka_losses,
    rarity,
    soft_boundary,
    total,
)
from pipeline.student.model import StudentOutput
from pipeline.student.targets import MkaTargets

# B batch, C classes, h w the losses' resolution; here equal to the student's own, so that no resize stands in between.
B, C, HEIGHT, WIDTH = 2, 5, 6, 8


def random_probabilities(seed: int, shape: tuple[int, ...] = (B, C, HEIGHT, WIDTH)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


def some_targets() -> MkaTargets:
    generator = torch.Generator().manual_seed(7)
    valid = (torch.rand(B, HEIGHT, WIDTH, generator=generator) < 0.8).float()
    return MkaTargets(
        assistant_BChw=random_probabilities(1), ensemble_BChw=random_probabilities(2),
        reliable_Bhw=(torch.rand(B, HEIGHT, WIDTH, generator=generator) < 0.5).float() * valid,
        valid_Bhw=valid,
        boundary_Bhw=(torch.rand(B, HEIGHT, WIDTH, generator=generator) < 0.3).float(),
        boundary_valid_Bhw=valid,
        features={level: torch.randn(B, 4, HEIGHT // level, WIDTH // level, generator=generator) for level in (1, 2)},
        features_known_B=torch.ones(B),
    )  # fmt: skip


def some_output(logits: Tensor | None = None) -> StudentOutput:
    generator = torch.Generator().manual_seed(9)
    levels = tuple(torch.randn(B, 3, HEIGHT // s, WIDTH // s, generator=generator) for s in (1, 2, 2, 2))
    logits = torch.randn(B, C, HEIGHT, WIDTH, generator=generator) if logits is None else logits
    return StudentOutput(logits, levels)


def some_projections() -> FeatureProjections:
    torch.manual_seed(3)
    return FeatureProjections([3, 3, 3, 3], {1: 4, 2: 4})


def test_soft_divergence_is_torch_kl_div_times_squared_temperature() -> None:
    logits, target, t = torch.randn(B, C, HEIGHT, WIDTH), random_probabilities(5), 2.5
    softened = (target.log() / t).softmax(dim=1)
    expected = t * t * functional.kl_div((logits / t).log_softmax(1), softened, reduction="none").sum(1)
    torch.testing.assert_close(divergence(logits, target, LossConfig(temperature=t)), expected)


def test_soft_divergence_has_the_gradient_of_soft_cross_entropy() -> None:
    logits, target = torch.randn(B, C, HEIGHT, WIDTH, requires_grad=True), random_probabilities(5)
    (ours,) = torch.autograd.grad(divergence(logits, target, LossConfig()).sum(), logits)
    (theirs,) = torch.autograd.grad(functional.cross_entropy(logits, target, reduction="sum"), logits)
    torch.testing.assert_close(ours, theirs)


def test_hard_divergence_is_cross_entropy_with_the_argmax_whatever_the_temperature() -> None:
    logits, target = torch.randn(B, C, HEIGHT, WIDTH), random_probabilities(5)
    expected = functional.cross_entropy(logits, target.argmax(1), reduction="none")
    torch.testing.assert_close(divergence(logits, target, LossConfig(hard=True, temperature=3.0)), expected)


def test_a_class_of_a_quarter_of_the_pixels_weighs_as_much_more_as_its_share_is_smaller() -> None:
    labels = torch.tensor([[[0, 0, 0, 1]]])  # shares 3/4 and 1/4
    targets = functional.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    weights = rarity(targets, exponent=0.5)
    torch.testing.assert_close(weights[0, 0, 3] / weights[0, 0, 0], torch.tensor(3**0.5))
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


def test_doubtful_pixels_weigh_the_mean_of_their_classes_and_pixels_without_target_nothing() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]]).T[None, :, None]
    first, _, second, doubtful, ignored = rarity(targets, exponent=1.0)[0, 0]
    torch.testing.assert_close(doubtful, (first + second) / 2)
    assert ignored == 0
    torch.testing.assert_close(rarity(targets, exponent=1.0).sum() / 4, torch.tensor(1.0))


@pytest.mark.parametrize("hard", [False, True])
def test_balanced_divergence_is_the_plain_one_times_the_rarity_and_still_least_at_the_target(hard: bool) -> None:
    plain, balanced = LossConfig(hard=hard), LossConfig(hard=hard, class_balance=0.5)
    logits, targets = torch.randn(B, C, HEIGHT, WIDTH), random_probabilities(4)
    expected = divergence(logits, targets, plain) * rarity(targets, 0.5)
    torch.testing.assert_close(divergence(logits, targets, balanced), expected)
    if not hard:
        assert divergence(targets.log(), targets, balanced).abs().max() < 1e-5


def test_hard_assistant_loss_is_cross_entropy_that_ignores_255() -> None:
    targets = some_targets()
    labels = torch.where(targets.valid_Bhw > 0, targets.assistant_BChw.argmax(1), 255)
    logits = torch.randn(B, C, HEIGHT, WIDTH)
    expected = functional.cross_entropy(logits, labels, ignore_index=255)
    divergence_BHW = divergence(logits, targets.assistant_BChw, LossConfig(hard=True))
    torch.testing.assert_close(assistant_loss(divergence_BHW, targets), expected)


def test_window_terms_are_one_divergence_with_pixel_weight_one_plus_m() -> None:
    targets, output, config = some_targets(), some_output(), LossConfig()
    losses = mka_losses(output, targets, some_projections(), config, wrap=True)
    weight = (1 + targets.reliable_Bhw) * targets.valid_Bhw
    per_pixel = divergence(output.logits_BChw, targets.ensemble_BChw, config)
    torch.testing.assert_close(
        losses["ensemble"] + losses["reliable"], (per_pixel * weight).sum() / targets.valid_Bhw.sum()
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_label_losses_are_zero_where_the_student_agrees(temperature: float) -> None:
    targets = some_targets()
    targets = dataclasses.replace(targets, ensemble_BChw=targets.assistant_BChw)
    config = LossConfig(boundary=0, features=0, temperature=temperature)
    losses = mka_losses(some_output(targets.assistant_BChw.log()), targets, some_projections(), config, wrap=True)
    assert sorted(losses) == ["assistant", "ensemble", "reliable"]
    assert all(abs(float(loss)) < 1e-5 for loss in losses.values())


def test_ignored_pixels_have_no_gradient_in_any_loss_on_logits() -> None:
    targets = some_targets()
    for name in ("assistant", "ensemble", "reliable", "boundary"):
        logits = torch.randn(B, C, HEIGHT, WIDTH, requires_grad=True)
        mka_losses(some_output(logits), targets, some_projections(), LossConfig(), wrap=True)[name].backward()
        assert logits.grad is not None
        gradient = logits.grad.abs().sum(1)
        assert gradient[targets.valid_Bhw == 0].sum() == 0, name
        assert gradient.sum() > 0, name


def test_reliable_loss_has_gradient_only_where_m_is_one() -> None:
    targets, logits = some_targets(), torch.randn(B, C, HEIGHT, WIDTH, requires_grad=True)
    mka_losses(some_output(logits), targets, some_projections(), LossConfig(), wrap=True)["reliable"].backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(1) > 0, targets.reliable_Bhw > 0)


@pytest.mark.parametrize("class_balance", [0.0, 0.5])
def test_a_batch_without_valid_pixels_costs_nothing(class_balance: float) -> None:
    nothing, zeros = torch.zeros(B, HEIGHT, WIDTH), torch.zeros(B, C, HEIGHT, WIDTH)
    targets = dataclasses.replace(some_targets(), valid_Bhw=nothing, reliable_Bhw=nothing, boundary_valid_Bhw=nothing,
                                  assistant_BChw=zeros, ensemble_BChw=zeros)  # fmt: skip
    config = LossConfig(temperature=2.0, class_balance=class_balance)
    losses = mka_losses(some_output(), targets, some_projections(), config, wrap=True)
    assert all(loss.item() == 0 for loss in losses.values())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_weight_zero_is_not_computed(name: str) -> None:
    config = dataclasses.replace(LossConfig(), **{name: 0.0})
    losses = mka_losses(some_output(), some_targets(), some_projections(), config, wrap=True)
    assert sorted(losses) == sorted(set(LOSSES) - {name})


def test_total_is_the_weighted_sum() -> None:
    config = LossConfig(assistant=1, ensemble=2, reliable=3, boundary=4, features=5)
    losses = mka_losses(some_output(), some_targets(), some_projections(), config, wrap=True)
    expected = sum(weight * losses[name].item() for weight, name in zip((1, 2, 3, 4, 5), LOSSES, strict=True))
    assert total(losses, config).item() == pytest.approx(expected, rel=1e-5)


def test_losses_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = some_output(torch.randn(B, C, HEIGHT, WIDTH).bfloat16())
        losses = mka_losses(output, some_targets(), some_projections(), LossConfig(), wrap=True)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


# Boundary


def halves(height: int = 6, width: int = 12, at: int = 4) -> Tensor:
    """Certain probabilities [1, 2, h, w]: class 1 from column `at` on, class 0 before."""
    labels = (torch.arange(width) >= at).long().expand(height, width)
    return functional.one_hot(labels, 2).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(("wrap", "columns"), [(False, [3, 4]), (True, [0, 3, 4, 11])])
def test_soft_boundary_marks_both_sides_of_an_edge_and_of_the_seam(wrap: bool, columns: list[int]) -> None:
    boundary = soft_boundary(halves(), wrap)[0]
    assert torch.equal(boundary, torch.isin(torch.arange(12), torch.tensor(columns)).float().expand(6, 12))


def test_soft_boundary_of_certain_labels_is_the_morphological_gradient() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (9, 11))
    probabilities = functional.one_hot(torch.from_numpy(labels), 3).permute(2, 0, 1)[None].float()
    mode: Any = ("nearest", "wrap")
    highest, lowest = (f(labels, 3, mode=mode) for f in (ndimage.maximum_filter, ndimage.minimum_filter))
    np.testing.assert_array_equal(soft_boundary(probabilities, wrap=True)[0].numpy() > 0, highest != lowest)


def test_constant_doubt_is_no_boundary() -> None:
    assert soft_boundary(torch.full((1, 4, 5, 6), 0.25), wrap=True).sum() == 0


def test_boundary_loss_is_zero_on_the_boundary_within_a_cell_and_near_one_far_from_it() -> None:
    valid, boundary = torch.ones(1, 6, 12), torch.zeros(1, 6, 12)
    boundary[..., 4] = 1
    assert float(boundary_loss(halves(at=4), boundary, valid, wrap=False)) == pytest.approx(0, abs=1e-6)
    assert float(boundary_loss(halves(at=9), boundary, valid, wrap=False)) > 0.9
    assert float(boundary_loss(torch.full((1, 2, 6, 12), 0.5), boundary, valid, wrap=False)) > 0.8


def test_boundary_loss_of_a_panorama_is_the_same_after_a_roll() -> None:
    probabilities, boundary = random_probabilities(4), (torch.rand(B, HEIGHT, WIDTH) < 0.3).float()
    valid = torch.ones(B, HEIGHT, WIDTH)
    rolled = boundary_loss(probabilities.roll(3, -1), boundary.roll(3, -1), valid, wrap=True)
    torch.testing.assert_close(rolled, boundary_loss(probabilities, boundary, valid, wrap=True))


def test_descending_the_boundary_loss_moves_the_student_to_the_boundary() -> None:
    boundary, valid = torch.zeros(1, 6, 12), torch.ones(1, 6, 12)
    boundary[..., 6] = 1
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(1, 2, 6, 12)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        boundary_loss(logits.softmax(1), boundary, valid, wrap=False).backward()
        optimizer.step()
    found = soft_boundary(logits.softmax(1), wrap=False)[0].mean(0)
    assert found[5:8].max() > 0.9
    assert found[[0, 1, 2, 10, 11]].max() < 0.2


# Features


def test_feature_loss_is_one_minus_the_mean_cosine() -> None:
    targets = dataclasses.replace(some_targets(), boundary_valid_Bhw=torch.ones(B, HEIGHT, WIDTH))
    projected = {1: torch.randn(B, 4, HEIGHT, WIDTH), 2: torch.randn(B, 4, 3, 4)}
    cosines = [functional.cosine_similarity(projected[level], targets.features[level]).mean() for level in (1, 2)]
    torch.testing.assert_close(feature_loss(projected, targets, LossConfig()), 1 - torch.stack(cosines).mean())


def test_feature_loss_is_zero_for_equal_directions_of_another_resolution_and_scale() -> None:
    targets = dataclasses.replace(some_targets(), features={1: torch.ones(B, 4, 2 * HEIGHT, 2 * WIDTH)})
    loss = feature_loss({1: torch.full((B, 4, HEIGHT, WIDTH), 0.1)}, targets, LossConfig())
    assert float(loss) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("form", ["mse", "channels"])
def test_other_forms_of_the_feature_loss_are_zero_for_equal_features(form: str) -> None:
    targets = some_targets()
    same = {level: features.clone() for level, features in targets.features.items()}
    assert float(feature_loss(same, targets, LossConfig(feature_form=form))) == pytest.approx(0, abs=1e-6)


def test_the_mse_of_features_is_their_square_difference_over_the_assistants_square() -> None:
    targets = some_targets()
    projected = {1: torch.randn(B, 4, HEIGHT, WIDTH)}
    targets = dataclasses.replace(targets, features={1: targets.features[1]})
    above, below = 0.0, 0.0
    for b, y, x in np.ndindex(B, HEIGHT, WIDTH):
        if targets.valid_Bhw[b, y, x] > 0:
            above += float(((projected[1][b, :, y, x] - targets.features[1][b, :, y, x]) ** 2).sum())
            below += float((targets.features[1][b, :, y, x] ** 2).sum())
    loss = feature_loss(projected, targets, LossConfig(feature_form="mse"))
    assert float(loss) == pytest.approx(above / below, rel=1e-5)


def channel_kl_by_the_loop(student: Tensor, assistant: Tensor, valid: Tensor, temperature: float) -> float:
    """CWD's formula in double precision: T^2 / C sum over channels of KL(softmax of the assistant's || student's)."""
    total = 0.0
    for b, d in np.ndindex(student.shape[0], student.shape[1]):
        seen = valid[b].numpy() > 0
        p, q = (np.exp(maps[b, d].double().numpy()[seen] / temperature) for maps in (student, assistant))
        p, q = p / p.sum(), q / q.sum()
        total += temperature**2 * float((q * np.log(q / p)).sum())
    return total / (student.shape[0] * student.shape[1])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_channels_form_is_cwds_formula_over_the_valid_cells(temperature: float) -> None:
    targets = some_targets()
    projected = {1: 3 * torch.randn(B, 4, HEIGHT, WIDTH)}
    targets = dataclasses.replace(targets, features={1: targets.features[1]})
    config = LossConfig(feature_form="channels", feature_temperature=temperature)
    expected = channel_kl_by_the_loop(projected[1], targets.features[1], targets.valid_Bhw, temperature)
    assert float(feature_loss(projected, targets, config)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["cosine", "mse", "channels"])
def test_where_no_sample_has_features_of_its_own_the_loss_is_zero(form: str) -> None:
    targets = dataclasses.replace(some_targets(), features_known_B=torch.zeros(B))
    projected = {level: torch.randn(B, 4, HEIGHT // level, WIDTH // level, requires_grad=True) for level in (1, 2)}
    loss = feature_loss(projected, targets, LossConfig(feature_form=form))
    loss.backward()
    assert loss.item() == 0
    assert all(features.grad is not None and not features.grad.any() for features in projected.values())


def test_edges_have_their_share_of_the_label_losses_however_few_they_are() -> None:
    """The mean over edge pixels and that over the others, by the loop: B_ref and its neighbours, over the seam."""
    boundary = torch.zeros(B, HEIGHT, WIDTH)
    boundary[0, 2, 0] = boundary[1, 5, 3] = 1
    targets = dataclasses.replace(some_targets(), boundary_Bhw=boundary)
    output, share = some_output(), 0.3
    losses = mka_losses(output, targets, some_projections(), LossConfig(edge_share=share), wrap=True)
    for name, target in (("assistant", targets.assistant_BChw), ("ensemble", targets.ensemble_BChw)):
        per_pixel = divergence(output.logits_BChw, target, LossConfig())
        sums, counts = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
        for b, y, x in np.ndindex(B, HEIGHT, WIDTH):
            rows = slice(max(y - 1, 0), y + 2)
            near = bool(boundary[b, rows][:, [(x - 1) % WIDTH, x, (x + 1) % WIDTH]].any())
            sums[near] += float(per_pixel[b, y, x] * targets.valid_Bhw[b, y, x])
            counts[near] += float(targets.valid_Bhw[b, y, x])
        expected = share * sums[True] / counts[True] + (1 - share) * sums[False] / counts[False]
        assert float(losses[name]) == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_edges_or_without_anything_else_all_pixels_count_alike(value: float) -> None:
    targets = dataclasses.replace(some_targets(), boundary_Bhw=torch.full((B, HEIGHT, WIDTH), value))
    plain, apart = (
        mka_losses(some_output(), targets, some_projections(), LossConfig(edge_share=share), wrap=True)
        for share in (0.0, 0.3)
    )
    torch.testing.assert_close(apart, plain)


def test_edges_at_a_finer_resolution_than_the_boundarys_are_its_cells() -> None:
    targets = some_targets()
    finer = torch.ones(B, 4 * HEIGHT, 4 * WIDTH)
    coarse = edge_weights(dataclasses.replace(targets, valid_Bhw=torch.ones(B, HEIGHT, WIDTH)), 0.4, wrap=True)
    fine = edge_weights(dataclasses.replace(targets, valid_Bhw=finer), 0.4, wrap=True)
    torch.testing.assert_close(fine, coarse.repeat_interleave(4, 1).repeat_interleave(4, 2))


@pytest.mark.parametrize("form", ["cosine", "mse", "channels"])
def test_features_of_mirrored_samples_and_ignored_cells_have_no_gradient(form: str) -> None:
    targets = dataclasses.replace(some_targets(), features_known_B=torch.tensor([1.0, 0.0]))
    projected = torch.randn(B, 4, HEIGHT, WIDTH, requires_grad=True)
    feature_loss({1: projected, 2: torch.randn(B, 4, 3, 4)}, targets, LossConfig(feature_form=form)).backward()
    assert projected.grad is not None
    gradient = projected.grad.abs().sum(1)
    assert gradient[1].sum() == 0
    assert torch.equal(gradient[0] > 0, targets.valid_Bhw[0] > 0)


def test_feature_loss_trains_projections_and_encoder_but_no_logits() -> None:
    output, projections = some_output(torch.randn(B, C, HEIGHT, WIDTH, requires_grad=True)), some_projections()
    level = output.levels[0].requires_grad_()
    mka_losses(output, some_targets(), projections, LossConfig(), wrap=True)["features"].backward()
    assert level.grad is not None and level.grad.abs().sum() > 0
    assert all(p.grad is not None for p in projections.parameters())
    assert output.logits_BChw.grad is None


@pytest.mark.parametrize(
    ("output", "projections", "config", "message"),
    [
        (some_output(torch.zeros(B, 3, HEIGHT, WIDTH)), some_projections(), LossConfig(hard=True), "3 classes"),
        (some_output(torch.zeros(B, 9, HEIGHT, WIDTH)), some_projections(), LossConfig(hard=True), "9 classes"),
        (some_output(), FeatureProjections([3, 3, 3, 3], {1: 4}), LossConfig(), "1, 2.* of .1."),
        (StudentOutput(torch.zeros(B, C, HEIGHT, WIDTH), ()), some_projections(), LossConfig(), "of .."),
    ],
)
def test_a_student_that_does_not_fit_its_targets_is_refused(
    output: StudentOutput, projections: FeatureProjections, config: LossConfig, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mka_losses(output, some_targets(), projections, config, wrap=True)


def test_a_student_may_have_any_resolution_and_without_features_no_levels() -> None:
    logits = torch.randn(B, C, HEIGHT, WIDTH)
    larger = logits.repeat_interleave(4, -1).repeat_interleave(4, -2)
    config, none = LossConfig(features=0), FeatureProjections([], {})
    coarse, fine = (
        mka_losses(StudentOutput(of, ()), some_targets(), none, config, wrap=True) for of in (logits, larger)
    )
    assert coarse.keys() == fine.keys() == {"assistant", "ensemble", "reliable", "boundary"}
    torch.testing.assert_close(fine, coarse)  # cells of one value each are the cells again, when they are resized


def test_soft_targets_of_a_low_temperature_are_those_of_the_highest_class() -> None:
    """Powers of a hundred and more leave nothing of probabilities in float32, which must not leave nothing to learn."""
    targets = torch.tensor([0.3, 0.25, *[0.15] * 3]).view(1, C, 1, 1)
    logits = torch.tensor([0.02, 0.01, 0.0, 0.0, 0.0]).view(1, C, 1, 1)
    found = divergence(logits, targets, LossConfig(temperature=0.01))
    at_temperature = (logits / 0.01).log_softmax(dim=1)[0, 0]
    torch.testing.assert_close(found.flatten(), -(0.01**2) * at_temperature.flatten(), atol=1e-9, rtol=1e-3)


def test_a_cell_whose_pixels_are_all_ignored_has_no_features_to_learn_though_the_last_row_reaches_beyond() -> None:
    """400 rows: level 4 has 13 rows of cells of 32, the last of which reaches 16 rows beyond the panorama."""
    quarter_rows, rows, columns = 100, 13, 8
    valid = torch.ones(1, quarter_rows, 64)
    valid[:, 352 // 4 :] = 0  # cells 11 and 12
    targets = dataclasses.replace(some_targets(), boundary_valid_Bhw=valid, features_known_B=torch.ones(1),
                                  features={4: torch.randn(1, 4, rows, columns)})  # fmt: skip
    student = torch.randn(1, 4, rows, columns, requires_grad=True)
    feature_loss({4: student}, targets, LossConfig()).backward()
    assert student.grad is not None
    learned = student.grad.abs().sum((0, 1, 3)) > 0
    assert learned.tolist() == [True] * 11 + [False] * 2
