"""What the assistant is shown at each step, and what it learns from; a function of (seed, step) alone.

A panorama is turned by a multiple of 1/32 of the circle and mirrored, which both are exact; then images are cut from it
as stage one cuts them. Steps show windows, perspective views and the whole image in turn. Of windows and views two are
shown that overlap.

Legend: K images of a batch, C classes, N pixels of all images, H W panorama, h w image, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.adapt.config import AdaptConfig
from pipeline.adapt.losses import AdaptTargets
from pipeline.adapt.visibility import VisiblePixels, overlap, visible_pixels
from pipeline.arrays import ImageArray
from pipeline.panorama.config import GRID
from pipeline.panorama.views import View
from pipeline.student.augment import jitter_colours
from pipeline.student.epochs import Epochs
from pipeline.student.pooling import decode
from pipeline.student.sample import PanoramaSample
from pipeline.teacher.rectification import resized

_STREAM = 3
"""Random stream of what is shown; stage two has 0 to 2."""
_LEAST_OVERLAP = 0.1
"""Share of an image's pixels that another one must see to be its partner."""


@dataclass(frozen=True)
class Way:
    """One way in which stage one shows a panorama to the assistant."""

    name: str
    """For messages: windows, views, whole."""
    views: tuple[View, ...]
    """The images, of one size."""
    scale: float
    """Images are resized by this factor for the network."""
    from_source: bool = False
    """Whether they are cut from the panorama at its own resolution (`views.source_width`)."""


@dataclass(frozen=True)
class AdaptSample:
    """One panorama."""

    learned: PanoramaSample
    """The image at the working size, and stage one's results; of the assistant's own nothing is used."""
    source_HW3: ImageArray
    """The panorama that perspective views are cut from, at any size."""


AdaptReader = Callable[[str], AdaptSample]
"""Reads the sample of a panorama's id; raises a GoodSAMError where it cannot."""


@dataclass(frozen=True)
class AdaptBatch:
    """Images of one size, and what is learned from at the pixels that they see."""

    images_KHW3: ImageArray
    """As the network sees them."""
    scale: float
    """By which factor they were resized for it."""
    places: tuple[Tensor, ...]
    """Of each image, where its pixels lie in it (`VisiblePixels.places_N2`)."""
    ensemble_CN: Tensor
    """uint8 codes of E (`pooling.decode`) at the pixels of all images, one image after the other."""
    reliable_N: Tensor
    """bool: where E is reliable."""
    valid_N: Tensor
    """bool: pixels that are not ignored."""
    overlaps_2O: tuple[Tensor, Tensor] | None
    """Positions among the N pixels of those that two images of a panorama see; None where none do."""

    def targets(self, device: torch.device) -> AdaptTargets:
        """What is learned from, decoded on a device."""
        probabilities_CN = decode(self.ensemble_CN.to(device)[None, :, None])[0, :, 0]
        return AdaptTargets(probabilities_CN, self.reliable_N.to(device).float(), self.valid_N.to(device).float())


@dataclass(frozen=True)
class Turn:
    """How a panorama is moved: its columns rolled, then perhaps mirrored."""

    turns: int
    """By how many 1/32 of the circle it is rolled to the right."""
    mirror: bool

    def image(self, image_HW3: ImageArray) -> ImageArray:
        """The moved panorama; W is a multiple of 32."""
        rolled = np.roll(image_HW3, self.turns * image_HW3.shape[1] // GRID, axis=1)
        return np.ascontiguousarray(rolled[:, ::-1]) if self.mirror else rolled

    def origin(self, pixels_N: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
        """Where pixels of the moved panorama, row * W + column, lie in the panorama itself."""
        rows_N, columns_N = np.divmod(pixels_N, width)
        unmirrored_N = width - 1 - columns_N if self.mirror else columns_N
        return rows_N * width + (unmirrored_N - self.turns * width // GRID) % width


class AdaptSet:
    """Endless shuffled batches of a set of panoramas; unreadable ones are set aside and replaced."""

    def __init__(self, ids: Sequence[str], read: AdaptReader, ways: Sequence[Way], config: AdaptConfig) -> None:
        """`ids` in an order that does not change between runs; `ways` are shown in turn."""
        self._epochs, self._ways, self._config = Epochs(ids, read, config.seed), tuple(ways), config
        self.failed = self._epochs.failed
        """Ids that could not be read, with the reason."""

    def batch(self, step: int) -> AdaptBatch:
        """The batch of `step`.

        Raises:
            CacheError: no panorama can be read.
        """
        config, way = self._config, self._ways[step % len(self._ways)]
        numbers = range(step * config.batch_size, (step + 1) * config.batch_size)
        return join([self._shown(number, way) for number in numbers], way.scale)

    def _shown(self, number: int, way: Way) -> ShownPanorama:
        """The images of the `number`-th panorama, from 0."""
        rng = np.random.default_rng((self._config.seed, _STREAM, number))
        return show(self._epochs.sample(number), way, self._config, rng)


@dataclass(frozen=True)
class ShownPanorama:
    """The images that are shown of one panorama."""

    images: tuple[ImageArray, ...]
    """As the network sees them."""
    visible: tuple[VisiblePixels, ...]
    """What each sees, of the moved panorama."""
    origins: tuple[npt.NDArray[np.int64], ...]
    """The same pixels in the panorama itself."""
    learned: PanoramaSample
    """What is learned from, of the panorama itself."""


def show(sample: AdaptSample, way: Way, config: AdaptConfig, rng: np.random.Generator) -> ShownPanorama:
    """Cut two overlapping images, or the only one, from a panorama that is moved at random."""
    turn = Turn(int(rng.integers(GRID)), bool(rng.integers(2)) and config.mirror)
    height, width = sample.learned.image_HW3.shape[:2]
    moved_HW3 = turn.image(sample.source_HW3 if way.from_source else sample.learned.image_HW3)
    views = choose_pair(way.views, height, width, rng)
    images = [_jittered(resized(view.cut_image(moved_HW3), way.scale), config.colour_jitter, rng) for view in views]
    visible = [visible_pixels(view, height, width) for view in views]
    origins = [turn.origin(own.pixels_N, width) for own in visible]
    return ShownPanorama(tuple(images), tuple(visible), tuple(origins), sample.learned)


def choose_pair(views: Sequence[View], height: int, width: int, rng: np.random.Generator) -> tuple[View, ...]:
    """A view, and one that overlaps it, any other where none does, nothing more where there is none."""
    order = rng.permutation(len(views))
    first, *others = (views[index] for index in order)
    if not others:
        return (first,)
    seen = visible_pixels(first, height, width)
    enough = _LEAST_OVERLAP * len(seen.pixels_N)
    near = (other for other in others if len(overlap(seen, visible_pixels(other, height, width))[0]) >= enough)
    return first, next(near, others[0])


def join(shown: Sequence[ShownPanorama], scale: float) -> AdaptBatch:
    """The images of several panoramas as one batch."""
    begin, overlaps = 0, list[tuple[Tensor, Tensor]]()
    for panorama in shown:
        sizes = [len(own.pixels_N) for own in panorama.visible]
        if len(sizes) == 2:
            in_first, in_second = overlap(*panorama.visible)
            overlaps.append((in_first + begin, in_second + begin + sizes[0]))
        begin += sum(sizes)
    overlaps = [pair for pair in overlaps if len(pair[0])]
    firsts, seconds = zip(*overlaps, strict=True) if overlaps else ((), ())
    both = [(p.learned, origin) for p in shown for origin in p.origins]
    return AdaptBatch(
        images_KHW3=np.stack([image for p in shown for image in p.images]),
        scale=scale,
        places=tuple(torch.tensor(own.places_N2) for p in shown for own in p.visible),
        ensemble_CN=torch.from_numpy(
            np.concatenate(
                [of.ensemble_CHW.reshape(len(of.ensemble_CHW), -1)[:, origin] for of, origin in both], axis=1
            )
        ),
        reliable_N=_flags([of.reliable_HW.reshape(-1)[origin] for of, origin in both]),
        valid_N=_flags([~of.ignored_HW.reshape(-1)[origin] for of, origin in both]),
        overlaps_2O=(torch.cat(firsts), torch.cat(seconds)) if overlaps else None,
    )


def _flags(parts: Sequence[npt.NDArray[np.bool_]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))


def _jittered(image_HW3: ImageArray, strength: float, rng: np.random.Generator) -> ImageArray:
    """The image with other brightness, contrast and saturation, drawn in any case so that what follows is the same."""
    colours_13 = torch.from_numpy(1 + rng.uniform(-strength, strength, (1, 3)).astype(np.float32))
    if strength == 0:
        return image_HW3
    unit_13HW = torch.from_numpy(np.array(image_HW3)).permute(2, 0, 1)[None].float() / 255
    return (jitter_colours(unit_13HW, colours_13)[0].permute(1, 2, 0) * 255).round().byte().numpy()
