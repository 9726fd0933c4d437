"""Batches for distillation. The batch of step k is a function of (seed, k) alone, so that resuming is exact.

Legend: B batch, C classes, D feature channels, H W panorama or crop, h w the losses' resolution, 3 = RGB.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.classes import IGNORE
from pipeline.student.augment import Augmentation, draw_augmentation, transform
from pipeline.student.config import DistillConfig
from pipeline.student.epochs import Epochs
from pipeline.student.pooling import PooledSample, pool
from pipeline.student.processes import BatchPart
from pipeline.student.sample import SampleReader

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingBatch:
    """Augmented samples, stacked; probabilities stay encoded until they are on the device."""

    image_BHW3: Tensor
    """uint8 RGB."""
    assistant_BChw: Tensor
    """uint8 codes (`pooling.decode`) of the stitched assistant's probabilities."""
    ensemble_BChw: Tensor
    """uint8 codes of the ensemble's probabilities."""
    valid_Bhw: Tensor
    """uint8: number of pixels of each square that are not ignored."""
    reliable_Bhw: Tensor
    """uint8: number of those with M = 1."""
    boundary_Bhw: Tensor
    """uint8: B_ref, 0 or 1, at the student's own resolution."""
    boundary_valid_Bhw: Tensor
    """uint8: number of valid pixels of each square at that resolution."""
    features: Mapping[int, Tensor]
    """float16 [B, D, rows, columns] by level."""
    mirrored_B: Tensor
    """bool: the sample was mirrored, so that the assistant's features are not its own."""
    colours_B3: Tensor
    """Factors of brightness, contrast and saturation for `jitter_colours`."""
    whole: bool
    """Whether panoramas are whole, so that their first and last columns are neighbours."""
    corrected_Bhw: Tensor | None = None
    """uint8 class ids where people have corrected the ensemble, IGNORE elsewhere; None where no sample has
    corrections."""
    has_features: bool = True
    """Whether the features of any sample of the batch belong to its image."""

    @property
    def stride(self) -> int:
        """Pixels per side of the squares that targets are pooled from."""
        return self.image_BHW3.shape[2] // self.valid_Bhw.shape[2]

    def to(self, device: torch.device) -> TrainingBatch:
        """A copy on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> TrainingBatch:
        """A copy in page-locked memory, from which a GPU copies without waiting."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> TrainingBatch:
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        features = {level: change(value) for level, value in self.features.items()}
        return dataclasses.replace(self, **tensors, features=features)


class TrainingSet:
    """Endless shuffled batches of a set of panoramas; unreadable ones are set aside and replaced."""

    def __init__(
        self,
        ids: Sequence[str],
        read: SampleReader,
        config: DistillConfig,
        stride: int,
        seed: int,
        part: BatchPart | None = None,
        has_corrections: bool = False,
    ) -> None:
        """Nothing is read yet.

        Args:
            ids: in an order that does not change between runs.
            read: reads one of them.
            config: batches and augmentations.
            stride: targets are pooled by it.
            seed: of order and augmentations.
            part: which samples of every batch are wanted; None for all.
            has_corrections: batches have corrections, be they of nothing.

        Raises:
            ValueError: there are no ids.
        """
        if not ids:
            raise ValueError("a training set of no panoramas")
        limit = int(config.sample_memory_gb * 1e9)
        pooled = cached_by_bytes(lambda panorama_id: pool(read(panorama_id), stride), limit)
        self._epochs = Epochs(ids, pooled, seed)
        self._config = config
        self._seed = seed
        self._part = part or BatchPart.of(config.batch_size)
        self._has_corrections = has_corrections
        self.failed = self._epochs.failed
        """Ids that could not be read, with the reason."""

    def sample(self, number: int) -> PooledSample:
        """The `number`-th sample, from 0, as `Epochs.sample`."""
        return self._epochs.sample(number)

    def batch(self, step: int) -> TrainingBatch:
        """The batch of `step`, or this process's part of it, augmented."""
        size, own = self._config.batch_size, slice(self._part.start, self._part.stop)
        samples = [self.sample(step * size + index) for index in range(own.start, own.stop)]
        augmentations = [
            draw_augmentation(self._config, samples[0].width, self._seed, step, index) for index in range(size)
        ]
        batch = collate(samples, augmentations[own], self._has_corrections)
        return dataclasses.replace(batch, has_features=not all(change.mirror for change in augmentations))


def collate(
    samples: Sequence[PooledSample], augmentations: Sequence[Augmentation], has_corrections: bool = False
) -> TrainingBatch:
    """Augment every sample and stack them; with `has_corrections`, corrections even where no sample has any."""
    moved = [transform(sample, change) for sample, change in zip(samples, augmentations, strict=True)]
    return TrainingBatch(
        image_BHW3=_stack([sample.image_HW3 for sample in moved]),
        assistant_BChw=_stack([sample.assistant_Chw for sample in moved]),
        ensemble_BChw=_stack([sample.ensemble_Chw for sample in moved]),
        valid_Bhw=_stack([sample.valid_hw for sample in moved]),
        reliable_Bhw=_stack([sample.reliable_hw for sample in moved]),
        boundary_Bhw=_stack([sample.boundary_hw for sample in moved]),
        boundary_valid_Bhw=_stack([sample.boundary_valid_hw for sample in moved]),
        features={level: _stack([sample.features[level] for sample in moved]) for level in moved[0].features},
        mirrored_B=torch.tensor([change.mirror for change in augmentations]),
        colours_B3=torch.tensor([change.colours for change in augmentations]),
        whole=augmentations[0].width == samples[0].width,
        corrected_Bhw=_stack_corrections(moved, has_corrections),
        has_features=not all(change.mirror for change in augmentations),
    )


def _stack_corrections(samples: Sequence[PooledSample], has_corrections: bool) -> Tensor | None:
    if not has_corrections and all(sample.corrected_hw is None for sample in samples):
        return None
    nothing_hw = np.full_like(samples[0].valid_hw, IGNORE)
    return _stack([nothing_hw if sample.corrected_hw is None else sample.corrected_hw for sample in samples])


def _stack(arrays: Sequence[npt.NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def cached_by_bytes(read: Callable[[str], PooledSample], limit: int) -> Callable[[str], PooledSample]:
    """`read` with a cache of the most recently used samples, of at most `limit` bytes; thread-safe."""
    kept: OrderedDict[str, PooledSample] = OrderedDict()
    lock = Lock()

    def read_cached(panorama_id: str) -> PooledSample:
        with lock:
            sample = kept.pop(panorama_id, None)
        sample = sample or read(panorama_id)
        with lock:
            kept[panorama_id] = sample
            while kept and sum(other.nbytes for other in kept.values()) > limit:
                kept.popitem(last=False)
        return sample

    return read_cached


def read_ahead(load: Callable[[int], T], steps: range, threads: int = 1) -> Generator[T]:
    """`load(step)` for all steps in order, prefetched by background threads: one step per thread, and one more.

    Closing the iterator stops the threads after their current loads; an error of `load` is raised when its step is due.
    """
    pool, ahead = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead"), threads + 1
    waiting: deque[Future[T]] = deque()
    try:
        for step in steps:
            waiting.append(pool.submit(load, step))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
