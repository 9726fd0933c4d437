"""Composition: E, soft E and M from labelled regions and the assistant's probabilities, without networks."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.arrays import FloatArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.compose import compose, compose_view, mask_thresholds
from pipeline.ensemble.config import FusionConfig
from pipeline.ensemble.regions import NO_MASK, Regions, Votes
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import Window, window_grid

TWO = LabelSet("two", ("road", "wall"), ((0, 0, 0), (9, 9, 9)), thin=())
ROAD, WALL = range(2)
NOTHING = np.zeros((1, 4), np.bool_)
CERTAIN = np.ones((1, 4), np.float32)


def regions(owners: list[int], winners: list[int], coverage: list[float]) -> Regions:
    votes = Votes(np.array(winners, np.uint8), np.array(coverage, np.float32), np.ones(len(winners), np.int64))
    return Regions(np.array([owners], np.int32), votes)


def probabilities(*of_road: float) -> FloatArray:
    """[2, 1, W] from the probabilities of road."""
    road = np.array([of_road], np.float32)
    return np.stack((road, 1 - road))


def test_masks_get_their_winners_and_the_rest_keeps_the_assistants_labels() -> None:
    found = compose_view(
        probabilities(0.9, 0.9, 0.1, 0.6),
        CERTAIN,
        NOTHING,
        regions([0, 0, NO_MASK, NO_MASK], [WALL], [0.75]),
        FusionConfig(),
    )
    assert found.labels_HW.tolist() == [[WALL, WALL, WALL, ROAD]]
    np.testing.assert_allclose(found.ensemble_CHW[WALL], [[0.75 + 0.25 * 0.1] * 2 + [0.9, 0.4]], atol=1e-6)
    assert found.reliable_HW.tolist() == [[True, True, True, False]]  # 0.6 is below uncovered_confidence


@pytest.mark.parametrize(("unreliable", "label"), [("paint", WALL), ("keep", ROAD)])
def test_an_unreliable_mask_is_painted_or_kept(unreliable: str, label: int) -> None:
    config = FusionConfig(theta=0.7, unreliable=unreliable)
    found = compose_view(probabilities(*[0.9] * 4), CERTAIN, NOTHING, regions([0] * 4, [WALL], [0.69]), config)
    assert found.labels_HW.tolist() == [[label] * 4]
    assert not found.reliable_HW.any()


def test_levels_measure_each_mask_by_those_of_like_size_anywhere_in_the_panorama() -> None:
    """Large masks of 0.9 and 0.5, a small one of 0.6 and one of 0.2 without votes to count: means 0.7, 0.6."""
    view = Window(0, 0, 1, 100)
    small, medium, large = 1, 5, 20

    def of(*masks: tuple[int, float]) -> Regions:
        areas, coverage = zip(*masks, strict=True)
        owners = np.full((1, 100), NO_MASK, np.int32)
        owners[0, :2] = (0, 1)
        votes = Votes(np.zeros(2, np.uint8), np.array(coverage, np.float32), np.array(areas))
        return Regions(owners, votes)

    views = [of((large, 0.9), (small, 0.6)), of((large, 0.5), (medium, 0.0))]
    first, second = mask_thresholds(views, FusionConfig(theta_by="levels"))
    assert first is not None and second is not None
    np.testing.assert_allclose(first, [0.7, 0.6])
    np.testing.assert_allclose(second, [0.7, 1.0])
    assert mask_thresholds(views, FusionConfig()) == [None, None]
    one, no = np.ones((1, 100), np.float32), np.zeros((1, 100), np.bool_)
    found = compose_view(probabilities(*[0.9] * 100), one, no, views[0], FusionConfig(theta_by="levels"), first)
    assert found.reliable_HW[0, :2].tolist() == [True, True]
    found = compose_view(probabilities(*[0.9] * 100), one, no, views[1], FusionConfig(theta_by="levels"), second)
    assert found.reliable_HW[0, :2].tolist() == [False, False]
    assert compose(np.full((2, 1, 100), 0.5, np.float32), one, no, [view], views[:1], TWO,
                   FusionConfig(theta_by="levels")).reliable_HW[0, :2].all()  # fmt: skip


def test_ignored_pixels_have_no_label_and_are_unreliable() -> None:
    ignored = np.array([[True, False, False, True]])
    found = compose_view(probabilities(*[0.9] * 4), CERTAIN, ignored, regions([0] * 4, [WALL], [1.0]), FusionConfig())
    assert found.labels_HW.tolist() == [[IGNORE, WALL, WALL, IGNORE]]
    assert found.reliable_HW.tolist() == [[False, True, True, False]]


def test_views_are_blended_and_the_heavier_label_wins() -> None:
    """Where windows overlap, the one that sees a pixel nearer its middle weighs more."""
    views = [Window(0, column, 1, 4) for column in (0, 2, 4, 6)]
    own = [regions([0] * 4, [winner], [1.0]) for winner in (WALL, ROAD, ROAD, ROAD)]
    ignored = np.zeros((1, 8), np.bool_)
    found = compose(probabilities(*[0.5] * 8), np.ones((1, 8), np.float32), ignored, views, own, TWO, FusionConfig())
    assert found.labels_HW.tolist() == [[ROAD, WALL, WALL, *[ROAD] * 5]]
    assert 0.5 < found.ensemble_CHW[WALL, 0, 1] < 1
    np.testing.assert_allclose(found.ensemble_CHW.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "width", "kind"),
    [(3, 4, np.bool_), (2, 5, np.bool_), (2, 4, np.uint8)],
    ids=["classes", "size", "type"],
)
def test_inputs_that_do_not_fit_together_are_refused(classes: int, width: int, kind: type[np.generic]) -> None:
    with pytest.raises(ValueError, match="2 classes of two"):
        compose(np.ones((classes, 1, width), np.float32), CERTAIN, np.zeros((1, 4), kind), [], [], TWO, FusionConfig())  # type: ignore[arg-type]


def test_masks_that_share_one_lcr_are_as_reliable_as_their_mean_says() -> None:
    """Masks joined to one region share its Lcr, of which a mean in float32 can be higher than each of them."""
    random = np.random.default_rng(0)
    for number in range(2, 40):
        coverage = np.full(number, random.uniform(0.3, 1), np.float32)
        own = Regions(np.zeros((1, 4), np.int32), Votes(np.zeros(number, np.uint8), coverage, np.full(number, 4)))
        (thresholds,) = mask_thresholds([own], FusionConfig(theta_by="levels"))
        assert thresholds is not None and (coverage >= thresholds).all(), number


@pytest.mark.parametrize(("of_wide", "of_narrow"), [(ROAD, WALL), (WALL, ROAD)])
def test_rounding_does_not_decide_between_views_that_weigh_alike(of_wide: int, of_narrow: int) -> None:
    """Windows of two shapes that overlap by half: each shape has half of the weight at every pixel."""
    height, width = 64, 2048
    views = window_grid(height, width, WindowConfig(height, 512, 32, 256, more=((height, 256, 32, 128),)))
    own = []
    for view in views:
        winner, coverage = (of_wide, 0.9) if view.width == 512 else (of_narrow, 0.5)
        votes = Votes(np.array([winner], np.uint8), np.array([coverage], np.float32), np.array([view.width * height]))
        own.append(Regions(np.zeros((height, view.width), np.int32), votes))
    even, one = np.full((2, height, width), 0.5, np.float32), np.ones((height, width), np.float32)
    found = compose(even, one, one == 0, views, own, TWO, FusionConfig())
    assert (found.labels_HW == ROAD).all(), "the lowest on ties"
    assert found.reliable_HW.all(), "half of the weight is a majority"


def test_masks_that_weigh_more_count_more_in_soft_e_and_m_too() -> None:
    """Two views of the same four pixels; the second's mask weighs a third of the first's."""
    views = [Window(0, 0, 1, 4), Window(0, 0, 1, 4)]
    own = [
        Regions(np.zeros((1, 4), np.int32), Votes(np.array([winner], np.uint8), np.array([lcr], np.float32),
                                                  np.array([4]), np.array([weight], np.float32)))
        for winner, lcr, weight in ((WALL, 0.6, 0.9), (ROAD, 0.8, 0.3))
    ]  # fmt: skip
    even = probabilities(*[0.5] * 4)
    found = compose(even, CERTAIN, NOTHING, views, own, TWO, FusionConfig(weigh_by="predicted_iou"))
    assert (found.labels_HW == WALL).all() and not found.reliable_HW.any()
    np.testing.assert_allclose(found.ensemble_CHW[WALL], 0.75 * (0.6 + 0.4 * 0.5) + 0.25 * (0.2 * 0.5), atol=1e-6)
    np.testing.assert_allclose(found.ensemble_CHW.sum(axis=0), 1, atol=1e-6)
