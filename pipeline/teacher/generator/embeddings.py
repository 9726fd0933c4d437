"""Embeddings of pictures that SAM will be prompted on again, so that its encoder looks at each only once.

Legend: C channels, h w grid of the embedding's cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

LIMIT = 1 << 29
"""Bytes that are kept at most: embeddings of 128 pictures of a SAM of the usual size."""


class KeptEmbeddings:
    """Embeddings of the pictures of one panorama by their places, in main memory until they are taken.

    Args:
        limit: bytes; what is beyond them is not kept, and must be computed again.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._left = limit
        self._kept: dict[int, Tensor] = {}

    def __contains__(self, place: int) -> bool:
        return place in self._kept

    def keep(self, place: int, embedding_1Chw: Tensor) -> None:
        """Keep the embedding of the picture at a place, where there is room."""
        if embedding_1Chw.nbytes <= self._left:
            self._left -= embedding_1Chw.nbytes
            self._kept[place] = embedding_1Chw.cpu()

    def take(self, place: int, device: torch.device) -> Tensor:
        """Give away the embedding of the picture at a place.

        Raises:
            KeyError: it was not kept, or is taken.
        """
        return self._kept.pop(place).to(device)
