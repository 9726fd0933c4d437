"""The assistant over windows: agreement, stitching, merging, scales and features, with assistants made of colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LabelSet
from pipeline.errors import WeightsError
from pipeline.panorama.config import ViewsConfig, WindowConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.windows import Window, cut, window_grid
from pipeline.teacher.assistant import AssistantOutput
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.rectification import Agreement, blend_over_seam, seam_margin, stitch_assistant

Images = npt.NDArray[np.uint8]
TWO = LabelSet("two", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)), ())
WINDOWS = WindowConfig(height=64, width=64, stride_y=32, stride_x=32)
PLAIN = AssistantConfig(feature_levels=())


class ColourAssistant:
    """Logits and features are functions of the pixels alone, averaged over the cells of the stride."""

    identity = "colour"
    feature_levels = (1, 2, 3, 4)
    notes = ()

    def __init__(
        self,
        label_set: LabelSet = TWO,
        logits: Callable[[torch.Tensor], torch.Tensor] | None = None,
        stride: int = 1,
    ) -> None:
        self.label_set = label_set
        self.shapes: list[tuple[int, ...]] = []
        self._logits = logits or (lambda images_K3HW: torch.cat((-images_K3HW[:, :1], images_K3HW[:, :1]), 1) * 10)
        self._stride = stride

    def __call__(self, images_KHW3: Images, levels: Sequence[int] = ()) -> AssistantOutput:
        self.shapes.append(images_KHW3.shape)
        images = torch.from_numpy(images_KHW3).permute(0, 3, 1, 2).float() / 127.5 - 1
        height, width = images.shape[2:]
        padded = torch.nn.functional.pad(images, (0, -width % 32, 0, -height % 32), mode="replicate")

        def pooled(stride: int) -> torch.Tensor:
            cells = torch.nn.functional.avg_pool2d(padded, stride)
            return cells[..., : -(-height // stride), : -(-width // stride)]

        return AssistantOutput(
            self._logits(pooled(self._stride)), {level: pooled(2 ** (level + 1)) for level in levels}
        )


def noise(height: int, width: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth_panorama(height: int, width: int) -> Images:
    """A picture of low frequencies that closes over the seam."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(2 * np.pi * columns / width + phase) * np.cos(rows / height * 2) for phase in (0, 1, 2)]
    return np.stack([127.5 + 120 * w for w in waves], axis=-1).astype(np.uint8)


def test_a_pixelwise_assistant_gives_the_same_in_windows_as_on_the_whole() -> None:
    image = noise(64, 128)
    view = stitch_assistant(image, window_grid(64, 128, WINDOWS), ColourAssistant(), PLAIN, TWO)
    np.testing.assert_allclose(view.assistant_CHW, view.whole_CHW, atol=1e-5)
    np.testing.assert_allclose(view.agreement_HW, 1, atol=1e-4)
    expected = 1 / (1 + np.exp(-20 * (image[..., 0] / 127.5 - 1)))
    np.testing.assert_allclose(view.assistant_CHW[1], expected, atol=1e-4)


def test_windows_of_several_shapes_stitch_to_the_same_and_keep_their_labels() -> None:
    image = noise(64, 128)
    windows = window_grid(64, 128, WindowConfig(32, 64, 32, 32, ((64, 32, 32, 32),)))
    assistant = ColourAssistant()
    view = stitch_assistant(image, windows, assistant, PLAIN, TWO)
    np.testing.assert_allclose(view.assistant_CHW, view.whole_CHW, atol=1e-5)
    assert [shape[:3] for shape in assistant.shapes[:-1]] == [(4, 32, 64), (4, 32, 64), (4, 64, 32)]
    for window, labels_hw in zip(windows, view.view_labels_Khw, strict=True):
        np.testing.assert_array_equal(labels_hw, cut(image, window)[..., 0] >= 128)


def test_window_labels_are_the_argmax_of_each_window() -> None:
    image, windows = noise(64, 128), window_grid(64, 128, WINDOWS)
    view = stitch_assistant(image, windows, ColourAssistant(), PLAIN, TWO)
    assert len(view.view_labels_Khw) == len(windows)
    wrapped = np.roll(image, 32, axis=1)[:, :64, 0]
    np.testing.assert_array_equal(view.view_labels_Khw[3], wrapped >= 128)


def test_windows_are_shown_in_small_batches_and_the_whole_once() -> None:
    assistant = ColourAssistant()
    stitch_assistant(noise(64, 160), window_grid(64, 160, WINDOWS), assistant, PLAIN, TWO, batch=2)
    assert assistant.shapes == [(2, 64, 64, 3), (2, 64, 64, 3), (1, 64, 64, 3), (1, 64, 160, 3)]


def test_a_batch_that_does_not_fit_into_memory_is_shown_in_halves() -> None:
    def fits_two(images_K3HW: torch.Tensor) -> torch.Tensor:
        if len(images_K3HW) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.cat((-images_K3HW[:, :1], images_K3HW[:, :1]), 1) * 10

    image, windows = noise(64, 160), window_grid(64, 160, WINDOWS)
    assistant = ColourAssistant(logits=fits_two)
    halved, free = (stitch_assistant(image, windows, one, PLAIN, TWO) for one in (assistant, ColourAssistant()))
    assert [shape[0] for shape in assistant.shapes] == [4, 2, 2, 1, 1]
    np.testing.assert_array_equal(halved.assistant_CHW, free.assistant_CHW)


def test_scales_change_what_the_network_sees_but_not_the_result_size() -> None:
    assistant = ColourAssistant()
    config = AssistantConfig(window_scale=1.5, whole_scale=0.5, feature_levels=())
    view = stitch_assistant(smooth_panorama(64, 128), window_grid(64, 128, WINDOWS), assistant, config, TWO)
    assert assistant.shapes == [(4, 96, 96, 3), (1, 32, 64, 3)]
    assert view.assistant_CHW.shape == view.whole_CHW.shape == (2, 64, 128)
    assert np.abs(view.assistant_CHW - view.whole_CHW).mean() < 0.02


@pytest.mark.parametrize(("height", "scale"), [(64, 1.0), (50, 1.0), (50, 1.3), (64, 0.7)])
def test_coarse_logits_are_put_back_where_they_belong(height: int, scale: float) -> None:
    """A coarse network's softmax on a vertical ramp must rise where the ramp does, also when cells reach beyond."""
    ramp = np.linspace(0, 255, height).astype(np.uint8)
    image = np.broadcast_to(ramp[:, None, None], (height, 64, 3)).copy()
    linear = ColourAssistant(logits=lambda x: torch.cat((-x[:, :1], x[:, :1]), 1), stride=4)
    config = AssistantConfig(window_scale=scale, feature_levels=())
    view = stitch_assistant(image, window_grid(height, 64, WINDOWS), linear, config, TWO)
    logit = np.log(view.assistant_CHW[1] / view.assistant_CHW[0])[:, 32] / 2
    np.testing.assert_allclose(logit[5:-5], (ramp / 127.5 - 1)[5:-5], atol=0.02)


SPHERE = perspective_views(64, 128, 180.0, ViewsConfig(size=64))
LEVEL = perspective_views(64, 128, 180.0, ViewsConfig(down=0, up=0, nadir=0, zenith=0, size=64))


def test_perspective_views_are_laid_back_where_they_were_cut() -> None:
    config = AssistantConfig(views_weight=1.0, feature_levels=())
    image = smooth_panorama(64, 128)
    image[:] = image.mean(axis=2, keepdims=True).astype(np.uint8)
    rows = np.linspace(0, 1, 64)[:, None, None]  # the poles are one place: they have one colour
    image = (image * np.sin(np.pi * rows) ** 2).astype(np.uint8)
    views = stitch_assistant(image, window_grid(64, 128, WINDOWS), ColourAssistant(), config, TWO, more_views=SPHERE)
    np.testing.assert_allclose(views.assistant_CHW.sum(axis=0), 1, atol=1e-4)
    assert (views.assistant_CHW.argmax(axis=0) == views.whole_CHW.argmax(axis=0)).mean() > 0.98
    assert views.agreement_HW.mean() > 0.98


def test_where_perspective_views_see_nothing_the_windows_have_their_weight() -> None:
    """Constant predictions that differ: views see what is square and small, windows see 64x64 too, but first."""

    def by_count(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        sign = 1.0 if len(calls) <= window_batches else -1.0
        return torch.cat((-torch.ones_like(images[:, :1]), torch.ones_like(images[:, :1])), 1) * sign

    windows = window_grid(64, 128, WINDOWS)
    calls: list[int] = []
    window_batches = -(-len(windows) // 4)
    config = AssistantConfig(views_weight=0.5, feature_levels=())
    mixed = stitch_assistant(noise(64, 128), windows, ColourAssistant(logits=by_count), config, TWO, more_views=LEVEL)
    bright = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(mixed.assistant_CHW[1, 0], bright, atol=1e-5)  # the zenith: windows alone
    np.testing.assert_allclose(mixed.assistant_CHW[1, 32], 0.5, atol=0.02)  # the horizon: half and half
    assert (np.diff(mixed.assistant_CHW[1, :32], axis=0) < 0.1).all()  # it fades, no edge


def test_where_windows_have_no_weight_the_whole_image_stands_in_for_views_that_see_nothing() -> None:
    """Three constant predictions: windows 0, views 1, the whole image 2, as logits of the second class."""

    def by_shape(images: torch.Tensor) -> torch.Tensor:
        value = 2.0 if images.shape[3] > 64 else float(len(shown) >= window_batches)
        shown.append(value)
        return torch.cat((torch.zeros_like(images[:, :1]), torch.full_like(images[:, :1], value)), 1)

    windows = window_grid(64, 128, WINDOWS)
    shown: list[float] = []
    window_batches = -(-len(windows) // 4)
    config = AssistantConfig(views_weight=0.5, whole_weight=0.5, feature_levels=())
    mixed = stitch_assistant(noise(64, 128), windows, ColourAssistant(logits=by_shape), config, TWO, more_views=LEVEL)
    of_windows, of_views, of_whole = (1 / (1 + np.exp(-value)) for value in (0, 1, 2))
    np.testing.assert_allclose(mixed.assistant_CHW[1, 0], of_whole, atol=1e-4)
    np.testing.assert_allclose(mixed.assistant_CHW[1, 32], (of_views + of_whole) / 2, atol=1e-3)
    assert mixed.assistant_CHW[1].min() > of_windows + 0.1


def test_perspective_views_without_weight_are_not_shown() -> None:
    assistant = ColourAssistant()
    stitch_assistant(noise(64, 128), window_grid(64, 128, WINDOWS), assistant, PLAIN, TWO, more_views=SPHERE)
    assert len(assistant.shapes) == 2


def test_the_whole_image_enters_with_its_weight() -> None:
    def relative(images: torch.Tensor) -> torch.Tensor:
        """Depends on the mean of the picture, so windows and whole differ."""
        return torch.cat((-images[:, :1], images.mean(dim=(2, 3), keepdim=True)[:, :1] + 0 * images[:, :1]), 1)

    image, windows = noise(64, 128), window_grid(64, 128, WINDOWS)
    image[:, :40] //= 4
    alone = stitch_assistant(image, windows, ColourAssistant(logits=relative), PLAIN, TWO)
    config = AssistantConfig(whole_weight=0.25, feature_levels=())
    mixed = stitch_assistant(image, windows, ColourAssistant(logits=relative), config, TWO)
    margin = seam_margin(128)
    wider = np.pad(image, ((0, 0), (margin, margin), (0, 0)), mode="wrap")
    windows = window_grid(64, wider.shape[1], WINDOWS)
    seen = stitch_assistant(wider, windows, ColourAssistant(logits=relative), PLAIN, TWO)
    whole = blend_over_seam(seen.whole_CHW, margin)
    np.testing.assert_allclose(mixed.assistant_CHW, 0.75 * alone.assistant_CHW + 0.25 * whole, atol=1e-6)
    assert np.abs(mixed.assistant_CHW - alone.assistant_CHW).max() > 0.01
    np.testing.assert_array_equal(mixed.agreement_HW, alone.agreement_HW)


@pytest.mark.parametrize(("width", "margin"), [(32, 16), (128, 32), (1024, 64), (2048, 128)])
def test_the_panorama_continues_over_the_seam_by_a_sixteenth(width: int, margin: int) -> None:
    assert seam_margin(width) == margin


@pytest.mark.parametrize("margin", [16, 64])
def test_predictions_that_differ_at_both_ends_meet_in_the_middle_at_the_seam(margin: int) -> None:
    """The left end of the continued panorama says 0, the right one 1, and between them it rises."""
    wider = np.linspace(0, 1, 128 + 2 * margin, dtype=np.float32)[None, None].repeat(2, axis=1)
    ends = wider[0, 0, [0, -1]]
    whole = blend_over_seam(wider.copy(), margin)
    assert whole.shape == (1, 2, 128)
    inside = slice(margin, 128 - margin)
    np.testing.assert_array_equal(whole[..., inside], wider[..., 2 * margin : 128])
    steps = np.abs(np.diff(whole[0, 0], append=whole[0, 0, :1]))
    assert steps.max() < 2 / margin  # without blending the seam is a step of 128 / (128 + 2 margin)
    assert ends[0] < whole.min() and whole.max() < ends[1]


def test_the_whole_image_has_no_seam_where_it_is_mixed_in() -> None:
    def by_the_border(images: torch.Tensor) -> torch.Tensor:
        """Bright at the left and right border of what it sees, dark elsewhere: padding, as networks know it."""
        bright = torch.full_like(images[:, :1], -5.0)
        bright[..., :8] = bright[..., -8:] = 5
        return torch.cat((-bright, bright), 1)

    image, windows = noise(64, 128), window_grid(64, 128, WINDOWS)
    config = AssistantConfig(whole_weight=1.0, feature_levels=())
    view = stitch_assistant(image, windows, ColourAssistant(logits=by_the_border), config, TWO)
    assert view.whole_CHW[1, :, :8].min() > 0.99  # the naive use has it
    assert view.assistant_CHW[1].max() < 0.01


def test_classes_are_merged_after_the_softmax() -> None:
    """Person 0.3 and rider 0.3 beat road's 0.4 as one class, though neither does alone."""
    shares = torch.full((19,), 1e-9)
    shares[[0, 11, 12]] = torch.tensor([0.4, 0.3, 0.3])
    assistant = ColourAssistant(
        CITYSCAPES_19, lambda x: shares.log()[None, :, None, None].expand(len(x), 19, *x.shape[2:])
    )
    view = stitch_assistant(noise(64, 64), window_grid(64, 64, WINDOWS), assistant, PLAIN, DENSEPASS_13)
    assert view.assistant_CHW.shape == (13, 64, 64)
    np.testing.assert_allclose(view.assistant_CHW[11], 0.6, atol=1e-5)
    assert (view.view_labels_Khw[0] == 11).all()


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 2**16))
def test_agreement_is_one_minus_the_normalised_divergence(k: int, classes: int, seed: int) -> None:
    """Against scipy, for two distributions; against the definition by Kullback-Leibler for more."""
    said_KC = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), k).astype(np.float32)
    agreement = Agreement(1, 1, classes)
    for p_C in said_KC:
        agreement.add(Window(0, 0, 1, 1), p_C[:, None, None])
    mean_C = said_KC.mean(axis=0)
    logs = np.log(np.maximum(said_KC, 1e-30) / np.maximum(mean_C, 1e-30))
    divergence = (said_KC * logs).sum(axis=1).mean()
    found = float(agreement.result()[0, 0])
    assert found == pytest.approx(1 - divergence / np.log(k), abs=1e-4)
    if k == 2:
        assert found == pytest.approx(1 - jensenshannon(*said_KC.astype(np.float64)) ** 2 / np.log(2), abs=1e-4)


def test_full_contradiction_is_zero_and_a_single_window_agrees_with_itself() -> None:
    agreement = Agreement(1, 64, 2)
    yes = np.zeros((2, 1, 40), np.float32)
    yes[0] = 1
    agreement.add(Window(0, 0, 1, 40), yes)
    agreement.add(Window(0, 32, 1, 40), yes[::-1])
    result = agreement.result()[0]
    seen_twice = (np.arange(64) < 8) | ((np.arange(64) >= 32) & (np.arange(64) < 40))
    np.testing.assert_allclose(result[seen_twice], 0, atol=1e-5)
    np.testing.assert_array_equal(result[~seen_twice], 1)


def test_aligned_features_are_stitched_as_if_the_panorama_had_been_seen_whole() -> None:
    image = noise(64, 128)
    view = stitch_assistant(image, window_grid(64, 128, WINDOWS), ColourAssistant(), AssistantConfig(), TWO)
    whole = ColourAssistant()(image[None], (1, 2, 3, 4)).features
    for level in (1, 2, 3, 4):
        np.testing.assert_allclose(view.features[level], whole[level][0].numpy(), atol=1e-4)


@pytest.mark.parametrize(("scale", "height"), [(2.0, 64), (0.5, 64), (1.0, 80)])
def test_resized_or_moved_up_windows_give_features_on_the_panoramas_grid(scale: float, height: int) -> None:
    image = smooth_panorama(height, 256)
    config = AssistantConfig(window_scale=scale, feature_levels=(1, 2))
    view = stitch_assistant(image, window_grid(height, 256, WINDOWS), ColourAssistant(), config, TWO)
    whole = ColourAssistant()(image[None], (1, 2)).features
    for level in (1, 2):
        assert view.features[level].shape == whole[level][0].shape
        assert np.abs(view.features[level] - whole[level][0].numpy())[:, 1:-1].max() < 0.08


def test_only_the_asked_levels_are_stitched() -> None:
    view = stitch_assistant(
        noise(64, 64), window_grid(64, 64, WINDOWS), ColourAssistant(), AssistantConfig(feature_levels=(3,)), TWO
    )
    assert set(view.features) == {3}


class MisshapenAssistant(ColourAssistant):
    """Its logits or features are of another shape than they should be."""

    def __init__(self, logits_shape: tuple[int, ...], features_shape: tuple[int, ...] = (3, 16, 16)) -> None:
        super().__init__()
        self._logits_shape, self._features_shape = logits_shape, features_shape

    def __call__(self, images_KHW3: Images, levels: Sequence[int] = ()) -> AssistantOutput:
        count = len(images_KHW3)
        features = {level: torch.zeros(count, *self._features_shape) for level in levels}
        return AssistantOutput(torch.zeros(count, *self._logits_shape), features)


@pytest.mark.parametrize(
    ("assistant", "levels", "message"),
    [
        (MisshapenAssistant((2, 21, 21)), (), "logits of 21x21 cells"),  # stride 3 would be laid out as 4
        (MisshapenAssistant((2, 7, 7)), (), "logits of 7x7 cells"),  # floor, not ceil: the last pixels lack
        (MisshapenAssistant((2, 16, 16), (3, 16, 16)), (2,), "features of level 2 of 16x16 cells"),
        (MisshapenAssistant((5, 16, 16)), (), "predicts 5 classes"),
    ],
)
def test_what_cannot_be_laid_over_the_image_is_refused(
    assistant: MisshapenAssistant, levels: tuple[int, ...], message: str
) -> None:
    windows = window_grid(64, 64, WINDOWS)
    with pytest.raises(WeightsError, match=message):
        stitch_assistant(noise(64, 64), windows, assistant, AssistantConfig(feature_levels=levels), TWO)


def test_an_image_of_floats_is_refused() -> None:
    windows = window_grid(64, 64, WINDOWS)
    image = noise(64, 64) / np.float32(255)
    with pytest.raises(ValueError, match="uint8"):
        stitch_assistant(image, windows, ColourAssistant(), PLAIN, TWO)  # type: ignore[arg-type]
