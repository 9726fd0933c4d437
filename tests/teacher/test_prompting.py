"""Prompts that the assistant gives SAM, and what becomes of the answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from pipeline.arrays import FloatArray, LabelArray
from pipeline.classes import DENSEPASS_13, LABEL_SETS
from pipeline.errors import RecipeError
from pipeline.panorama.windows import Window
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.embeddings import KeptEmbeddings
from pipeline.teacher.generator.prompts import FurtherPrompts
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.prompting import (
    SMALLEST,
    doubt,
    further_prompts,
    masks_with_prompts,
    points_in_doubt,
    things,
    two_points,
    without_duplicates,
)
from pipeline.teacher.sam import SamMaskGenerator

ROAD, POLE, CAR = (DENSEPASS_13.names.index(name) for name in ("road", "pole", "car"))
ANY = SamConfig(pred_iou_thresh=0.0, stability_score_thresh=0.0, points_per_side=2)
THINGS = replace(ANY, prompt_things=True)


def street() -> LabelArray:
    """A road with a pole, a car in two pieces, and a speck of pole."""
    labels_hw = np.full((64, 96), ROAD, np.uint8)
    labels_hw[5:45, 10:13] = POLE
    labels_hw[30:40, 40:55] = CAR
    labels_hw[30:40, 60:66] = CAR
    labels_hw[60:62, 90:93] = POLE
    return labels_hw


def certain(labels_hw: LabelArray) -> FloatArray:
    return np.eye(len(DENSEPASS_13), dtype=np.float32)[:, labels_hw]


def image(seed: int = 0, height: int = 64, width: int = 96) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_every_piece_of_a_thing_or_a_thin_class_is_prompted_and_specks_are_not() -> None:
    pieces = things(street(), DENSEPASS_13)
    assert sorted(int(piece.sum()) for piece in pieces) == [60, 120, 150]
    prompts = further_prompts(certain(street()), MaskSet.from_dense(np.zeros((0, 64, 96))), DENSEPASS_13, THINGS)
    assert {tuple(box) for box in prompts.boxes_B4} == {(10, 5, 13, 45), (40, 30, 55, 40), (60, 30, 66, 40)}
    for box, points in zip(prompts.boxes_B4, prompts.inside_B22, strict=True):
        assert (points > box[:2]).all() and (points < box[2:]).all()
    assert len(prompts.points_P2) == 0


def test_a_set_that_does_not_tell_what_is_stuff_has_its_thin_classes_prompted_alone() -> None:
    indoors = LABEL_SETS["stanford8"]
    labels_hw = np.zeros((20, 20), np.uint8)
    labels_hw[:8, :8], labels_hw[12:, 12:] = indoors.names.index("chair"), 5
    assert [int(piece.sum()) for piece in things(labels_hw, indoors)] == [64]


def test_pieces_of_the_least_size_are_prompted() -> None:
    labels_hw = np.full((40, 40), ROAD, np.uint8)
    labels_hw[0, :SMALLEST], labels_hw[20, : SMALLEST - 1] = POLE, POLE
    assert len(things(labels_hw, DENSEPASS_13)) == 1


def test_two_points_lie_inside_and_apart() -> None:
    piece_hw = np.zeros((30, 60), np.bool_)
    piece_hw[10:15, 5:55] = True
    (x, y), (far_x, far_y) = two_points(piece_hw)
    assert piece_hw[int(y), int(x)] and piece_hw[int(far_y), int(far_x)]
    assert y == 12.5 and abs(far_y - y) <= 1 and abs(far_x - x) > 20
    single_hw = np.zeros((5, 5), np.bool_)
    single_hw[3, 1] = True
    np.testing.assert_array_equal(two_points(single_hw), [[1.5, 3.5], [1.5, 3.5]])


def test_doubt_is_entropy_and_contradiction() -> None:
    labels_hw = street()
    unsure_Chw = certain(labels_hw)
    unsure_Chw[:, :10, 80:] = 1 / len(DENSEPASS_13)
    mask_hw = np.zeros((64, 96), np.bool_)
    mask_hw[20:64, 30:70] = True  # mostly road, two pieces of car in it
    found_hw = doubt(unsure_Chw, labels_hw, MaskSet.from_dense(mask_hw[None]), DENSEPASS_13)
    np.testing.assert_allclose(found_hw[:10, 80:], 1, atol=1e-5)
    np.testing.assert_allclose(found_hw[30:40, 40:55], 1, atol=1e-5)
    assert found_hw[50, 50] == pytest.approx(0, abs=1e-5) and found_hw[20, 11] == pytest.approx(0, abs=1e-5)


def test_points_lie_where_doubt_is_and_not_twice_at_a_place() -> None:
    doubt_hw = np.zeros((64, 64))
    doubt_hw[10:30, 40:60] = 1
    points_P2 = points_in_doubt(doubt_hw, 6)
    assert 2 <= len(points_P2) <= 6
    assert ((points_P2 > (35, 5)) & (points_P2 < (65, 35))).all()
    distances = np.linalg.norm(points_P2[:, None] - points_P2, axis=2) + 99 * np.eye(len(points_P2))
    assert distances.min() > 8
    assert points_in_doubt(np.zeros((8, 8)), 4).shape == (0, 2)
    assert len(points_in_doubt(np.ones((64, 64)), 6)) == 6


def test_things_are_answered_as_segment_anythings_predictor_answers_them(sam: Sam) -> None:
    """Box and two points in one prompt, three masks."""
    boxes_B4 = np.array([[10.0, 5, 30, 45], [40, 30, 80, 60]])
    inside_B22 = np.array([[[15.5, 20.5], [20.5, 40.5]], [[60.5, 45.5], [50.5, 35.5]]])
    further = FurtherPrompts(boxes_B4, inside_B22, np.empty((0, 2)))
    source = SamMaskGenerator(sam, replace(ANY, box_nms_thresh=1.0))
    (found,) = source.answers([image()], [further])
    predictor = SamPredictor(sam)
    predictor.set_image(image())
    expected: list[tuple[float, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]] = []
    for box, points in zip(boxes_B4, inside_B22, strict=True):
        masks, scores, _ = predictor.predict(points, np.ones(2), box)
        answers = zip(np.asarray(scores), np.asarray(masks, np.bool_), strict=True)
        expected += [(float(s), m) for s, m in answers if s > 0 and m.any()]
    own = sorted(zip(found.predicted_iou_M.tolist(), found.dense(), strict=True), key=lambda one: one[0])
    own = [one for one in own if one[1].any()]
    assert len(own) == len(expected) > 0
    for (score, mask_hw), (known, known_hw) in zip(own, sorted(expected, key=lambda one: one[0]), strict=True):
        assert score == pytest.approx(known, abs=1e-4)
        assert (mask_hw == known_hw).mean() > 0.999


def test_points_are_answered_as_those_of_the_grid(sam: Sam) -> None:
    grid = SamMaskGenerator(sam, ANY)
    points_P2 = np.array([[x * 96, y * 64] for y in (0.25, 0.75) for x in (0.25, 0.75)])
    further = FurtherPrompts(np.empty((0, 4)), np.empty((0, 2, 2)), points_P2)
    (found,) = grid.answers([image()], [further])
    expected = grid(image())
    np.testing.assert_array_equal(found.dense(), expected.dense())
    np.testing.assert_array_equal(found.predicted_iou_M, expected.predicted_iou_M)


def test_images_without_prompts_are_not_looked_at(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SamMaskGenerator(sam, ANY)
    seen: list[int] = []
    embed = source.generator.embed
    monkeypatch.setattr(source.generator, "embed", lambda views: (seen.append(len(views)), embed(views))[1])
    none = FurtherPrompts(np.empty((0, 4)), np.empty((0, 2, 2)), np.empty((0, 2)))
    one = replace(none, points_P2=np.array([[30.5, 30.5]]))
    found = source.answers([image(0), image(1), image(2)], [none, one, none])
    assert sum(seen) == 1 and [len(own) for own in found][::2] == [0, 0]
    np.testing.assert_array_equal(found[1].dense(), source.answers([image(1)], [one])[0].dense())


@pytest.mark.parametrize(("limit", "again"), [(1 << 30, 0), (0, 3)], ids=["kept", "no room"])
def test_pictures_whose_embeddings_were_kept_are_not_embedded_again(
    sam: Sam, monkeypatch: pytest.MonkeyPatch, limit: int, again: int
) -> None:
    source = SamMaskGenerator(sam, replace(ANY, crop_n_layers=1))  # crops have embeddings of their own
    seen: list[int] = []
    embed = source.generator.embed
    pictures, kept = [image(0), image(1), image(2)], KeptEmbeddings(limit)
    none = FurtherPrompts(np.empty((0, 4)), np.empty((0, 2, 2)), np.empty((0, 2)))
    point = replace(none, points_P2=np.array([[30.5, 30.5]]))
    thing = replace(none, boxes_B4=np.array([[10.0, 5, 30, 45]]), inside_B22=np.array([[[15.5, 20.5], [20.5, 40.5]]]))
    further = [thing, point, thing]
    expected, before = source.answers(pictures, further), source.many(pictures)
    after = source.many(pictures, kept)
    monkeypatch.setattr(source.generator, "embed", lambda views: (seen.append(len(views)), embed(views))[1])
    found = source.answers(pictures, further, kept)
    assert sum(seen) == again
    for one, other in zip([*expected, *before], [*found, *after], strict=True):
        np.testing.assert_array_equal(one.dense(), other.dense())
        np.testing.assert_array_equal(one.predicted_iou_M, other.predicted_iou_M)
    assert not any(place in kept for place in range(3)), "what is taken takes no memory"


def test_as_many_embeddings_are_kept_as_there_is_room_for() -> None:
    kept = KeptEmbeddings(limit=2 * 4 * 100)
    for place in range(3):
        kept.keep(place, torch.full((1, 4, 5, 5), float(place)))
    assert [place in kept for place in range(3)] == [True, True, False]
    assert float(kept.take(1, torch.device("cpu")).mean()) == 1.0 and 1 not in kept


def test_of_masks_that_resemble_each_other_the_one_that_sam_likes_best_stays() -> None:
    mask_hw = np.zeros((20, 20), np.bool_)
    mask_hw[2:12, 2:12] = True
    other_hw = np.roll(mask_hw, 8, axis=1)
    ours = MaskSet.from_dense([mask_hw, other_hw], [0.5, 0.9])
    theirs = MaskSet.from_dense([mask_hw, other_hw], [0.8, 0.7])
    both = without_duplicates(ours, theirs, 0.7)
    np.testing.assert_allclose(both.predicted_iou_M, [0.9, 0.8])
    np.testing.assert_array_equal(both.dense(), [other_hw, mask_hw])


def test_masks_of_all_views_get_those_of_their_prompts(sam: Sam) -> None:
    views = [Window(0, 0, 64, 96), Window(0, 48, 64, 96)]
    source = SamMaskGenerator(sam, THINGS)
    labels_HW = np.hstack([street(), np.full((64, 96), ROAD, np.uint8)])
    panorama_HW3 = image(3, width=192)
    pictures = [view.cut_image(panorama_HW3) for view in views]
    grid = source.many(pictures)
    found = masks_with_prompts(source, pictures, views, grid, certain(labels_HW), DENSEPASS_13, THINGS)
    assert [len(own) for own in found] != [len(own) for own in grid]
    unchanged = masks_with_prompts(source, pictures, views, grid, certain(labels_HW), DENSEPASS_13, ANY)
    for before, after in zip(grid, unchanged, strict=True):
        assert sorted(before.areas()) == sorted(after.areas())


def test_prompts_are_refused_where_they_cannot_be_answered_so() -> None:
    for other in (SamConfig(kind="stock"), SamConfig(refine=1), SamConfig(jitter=0.01), SamConfig(keep_levels=True)):
        with pytest.raises(RecipeError, match=r"sam\.prompt_things is True.*off unless sam\.kind is sam"):
            replace(other, prompt_things=True)
    with pytest.raises(RecipeError, match=r"sam\.points_in_doubt is -1"):
        SamConfig(points_in_doubt=-1)
