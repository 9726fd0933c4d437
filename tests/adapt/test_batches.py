from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.adapt.batches import AdaptBatch, AdaptSample, AdaptSet, Turn, Way, choose_pair
from pipeline.adapt.config import AdaptConfig
from pipeline.adapt.visibility import LATTICE, visible_pixels
from pipeline.class_tables import colour_table
from pipeline.errors import CacheError
from pipeline.panorama.config import ViewsConfig, WindowConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.windows import Window, window_grid
from tests.student.toy import HEIGHT, TOY, WIDTH, toy_labels, toy_sample

WINDOWS = window_grid(HEIGHT, WIDTH, WindowConfig(height=32, width=32, stride_y=32, stride_x=32))
NARROW = (Window(0, 0, 32, 48), Window(0, 32, 32, 48))
"""Two windows that overlap on both sides, over the seam too."""
WAYS = (Way("windows", WINDOWS, 1.5), Way("whole", (Window(0, 0, HEIGHT, WIDTH),), 1.0))
PLAIN = AdaptConfig(colour_jitter=0.0, batch_size=2, seed=3)


def read(panorama_id: str) -> AdaptSample:
    """Blocks whose colour tells their class."""
    sample = toy_sample(int(panorama_id), levels=())
    exact = replace(sample, image_HW3=colour_table(TOY)[toy_labels(int(panorama_id))])
    return AdaptSample(exact, exact.image_HW3)


def batch(step: int, config: AdaptConfig = PLAIN, ways: tuple[Way, ...] = WAYS) -> AdaptBatch:
    return AdaptSet(("0", "1", "2"), read, ways, config).batch(step)


@pytest.mark.parametrize("step", range(6))
def test_what_is_learned_at_a_pixel_is_what_the_image_shows_there(step: int):
    """Whatever way it is shown, rolled and mirrored: the colour under each pixel is that of E's class."""
    shown = batch(step, ways=(Way("windows", NARROW, 1.0), Way("whole", (Window(0, 0, HEIGHT, WIDTH),), 1.0)))
    begin = 0
    for image_HW3, places_N2 in zip(shown.images_KHW3, shown.places, strict=True):
        end = begin + len(places_N2)
        x_N, y_N = (places_N2.numpy() * (image_HW3.shape[1], image_HW3.shape[0])).astype(int).T
        classes_N = shown.ensemble_CN[:, begin:end].argmax(dim=0).numpy()
        np.testing.assert_array_equal(image_HW3[y_N, x_N], colour_table(TOY)[classes_N])
        begin = end
    assert begin == shown.ensemble_CN.shape[1] == len(shown.valid_N)


def test_ways_are_shown_in_turn_at_their_scale():
    assert [batch(step).images_KHW3.shape for step in range(3)] == [(4, 48, 48, 3), (2, 32, 64, 3), (4, 48, 48, 3)]


def test_overlaps_are_the_same_pixels_of_two_images_of_a_panorama():
    shown = batch(0, ways=(Way("windows", NARROW, 1.0),))
    assert shown.overlaps_2O is not None
    first_O, second_O = shown.overlaps_2O
    assert len(first_O) == 2 * 32 * 32 // LATTICE**2
    torch.testing.assert_close(shown.ensemble_CN[:, first_O], shown.ensemble_CN[:, second_O])
    of_panoramas = np.repeat(
        [0, 1], [len(a) + len(b) for a, b in zip(shown.places[::2], shown.places[1::2], strict=True)]
    )
    np.testing.assert_array_equal(of_panoramas[first_O], of_panoramas[second_O])


def test_whole_panoramas_have_no_overlaps():
    assert batch(1).overlaps_2O is None


def test_ignored_pixels_are_told():
    shown = batch(1)
    assert (~shown.valid_N).sum() == 0  # the last row, which toys ignore, is not on the lattice
    ignored = np.zeros((HEIGHT, WIDTH), np.bool_)
    ignored[10] = True

    def half_ignored(panorama_id: str) -> AdaptSample:
        sample = read(panorama_id)
        return replace(sample, learned=replace(sample.learned, ignored_HW=ignored))

    shown = AdaptSet(("0",), half_ignored, WAYS, PLAIN).batch(1)
    assert (~shown.valid_N).sum() == 2 * WIDTH // LATTICE


def test_a_batch_is_a_function_of_seed_and_step():
    first, again, other = batch(4), batch(4), batch(4, replace(PLAIN, seed=4))
    np.testing.assert_array_equal(first.images_KHW3, again.images_KHW3)
    torch.testing.assert_close(first.ensemble_CN, again.ensemble_CN)
    assert not np.array_equal(first.images_KHW3, other.images_KHW3)


def test_colours_change_in_the_images_alone():
    plain, coloured = batch(0), batch(0, replace(PLAIN, colour_jitter=0.3))
    assert not np.array_equal(plain.images_KHW3, coloured.images_KHW3)
    torch.testing.assert_close(plain.ensemble_CN, coloured.ensemble_CN)


@pytest.mark.parametrize("turn", [Turn(0, False), Turn(5, False), Turn(31, True)])
def test_a_moved_pixel_is_found_where_it_came_from(turn: Turn):
    image_HW3 = np.random.default_rng(0).integers(0, 255, (4, 64, 3), dtype=np.uint8)
    moved = turn.image(image_HW3).reshape(-1, 3)
    pixels = np.arange(len(moved), dtype=np.int64)
    np.testing.assert_array_equal(moved, image_HW3.reshape(-1, 3)[turn.origin(pixels, 64)])


def test_pairs_overlap_where_any_do():
    rng = np.random.default_rng(0)
    left, next_to_it, alone = Window(0, 0, 32, 24), Window(0, 16, 32, 24), Window(0, 40, 32, 24)
    pairs = {choose_pair((left, next_to_it, alone), HEIGHT, WIDTH, rng) for _ in range(30)}
    assert {(left, next_to_it), (next_to_it, left)} < pairs
    assert not pairs & {(left, alone), (next_to_it, alone)}
    assert len(choose_pair(NARROW[:1], HEIGHT, WIDTH, rng)) == 1
    assert len(set(choose_pair(WINDOWS, HEIGHT, WIDTH, rng))) == 2
    assert len(visible_pixels(WINDOWS[0], HEIGHT, WIDTH).pixels_N) == 32 * 32 // LATTICE**2


def test_unreadable_panoramas_are_replaced_and_told():
    def broken(panorama_id: str) -> AdaptSample:
        if panorama_id != "2":
            raise CacheError(f"{panorama_id} is gone", "", "")
        return read(panorama_id)

    data = AdaptSet(("0", "1", "2"), broken, WAYS, PLAIN)
    data.batch(0)
    data.batch(1)
    assert data.failed.keys() == {"0", "1"}
    with pytest.raises(CacheError, match="no panorama can be read"):
        AdaptSet(("0", "1"), broken, WAYS, PLAIN).batch(0)


def test_the_source_is_what_perspective_views_are_cut_from():
    looks = perspective_views(HEIGHT, WIDTH, 180, ViewsConfig(level=4, down=0, up=0, nadir=0, zenith=0, size=16))
    white = np.full((3 * HEIGHT, 3 * WIDTH, 3), 255, np.uint8)  # larger, and of another colour than the image

    def read_with_source(panorama_id: str) -> AdaptSample:
        return AdaptSample(read(panorama_id).learned, white)

    from_source, from_image = Way("views", looks, 1.0, from_source=True), Way("views", looks, 1.0)
    shown = AdaptSet(("0",), read_with_source, (from_source, from_image), PLAIN)
    assert (shown.batch(0).images_KHW3 == 255).all()
    assert not (shown.batch(1).images_KHW3 == 255).all()


def test_images_that_do_not_overlap_have_no_consistency():
    assert batch(0, ways=(Way("windows", WINDOWS, 1.0),)).overlaps_2O is None
