"""PNGs of class ids or colours, as editors save them, are read as what a person sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.class_tables import colour_table
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from stages.label_files import write_labels
from stages.label_ids import read_ids
from tests.panorama.test_labels import four_bit_grey

LABELS_hw = np.array([[10, 10, 0, 0], [2, 12, 0, IGNORE]], np.uint8)
COLOURS = colour_table(DENSEPASS_13)
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def indexed(path: Path, indices_hw: np.ndarray, palette: np.ndarray, **options: object) -> Path:
    picture = Image.fromarray(indices_hw.astype(np.uint8))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def reindexed(labels_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same colours in an order of an editor's: [h, w] indices, and the palette."""
    used, indices_hw = np.unique(labels_hw, return_inverse=True)
    return len(used) - 1 - indices_hw.reshape(labels_hw.shape), COLOURS[used[::-1]]


def test_ids_in_grey_and_with_the_palette_of_an_export(tmp_path: Path) -> None:
    Image.fromarray(LABELS_hw).save(tmp_path / "grey.png")
    write_labels(tmp_path / "export.png", LABELS_hw, DENSEPASS_13, {})
    for name in ("grey", "export"):
        np.testing.assert_array_equal(read_ids(tmp_path / f"{name}.png", DENSEPASS_13), LABELS_hw)


def test_grey_ids_of_four_bits_are_not_stretched(tmp_path: Path) -> None:
    """Stretched, sidewalk (1) would be motorcycle (17)."""
    ids_hw = np.array([[0, 1, 1, 0], [1, 0, 0, 1]], np.uint8)
    (tmp_path / "a.png").write_bytes(four_bit_grey(ids_hw))
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png", CITYSCAPES_19), ids_hw)


def test_a_palette_in_another_order_counts_by_its_colours(tmp_path: Path) -> None:
    path = indexed(tmp_path / "a.png", *reindexed(LABELS_hw))
    np.testing.assert_array_equal(read_ids(path, DENSEPASS_13), LABELS_hw)
    adaptive = Image.fromarray(COLOURS[LABELS_hw]).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    adaptive.save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "b.png", DENSEPASS_13), LABELS_hw)


@pytest.mark.parametrize("palette", [RAMP, 255 - RAMP, np.roll(RAMP, 1, axis=0) * [1, 0, 1]])
def test_a_palette_of_other_colours_counts_by_its_indices(tmp_path: Path, palette: np.ndarray) -> None:
    path = indexed(tmp_path / "a.png", LABELS_hw, palette)
    np.testing.assert_array_equal(read_ids(path, DENSEPASS_13), LABELS_hw)


def test_a_grey_ramp_counts_by_its_indices_where_all_is_of_the_first_class(tmp_path: Path) -> None:
    path = indexed(tmp_path / "a.png", np.zeros((2, 4)), RAMP)
    assert (read_ids(path, DENSEPASS_13) == 0).all()


def test_a_palette_that_gives_classes_other_colours_is_refused(tmp_path: Path) -> None:
    indices_hw, palette = reindexed(LABELS_hw)
    palette = np.concatenate((palette, [[1, 2, 3]]))
    indices_hw[0, 0] = len(palette) - 1
    path = indexed(tmp_path / "a.png", indices_hw, palette)
    with pytest.raises(InputError, match=r"a\.png .* colour of car at the index 1, and the colour #010203 of no class"):
        read_ids(path, DENSEPASS_13)


def test_what_is_erased_is_not_labelled(tmp_path: Path) -> None:
    erased_hw = LABELS_hw.copy()
    erased_hw[0] = IGNORE
    alpha_hw = np.where(erased_hw == IGNORE, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack((COLOURS[LABELS_hw], alpha_hw))).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "rgba.png", DENSEPASS_13), erased_hw)
    path = indexed(tmp_path / "p.png", LABELS_hw, COLOURS, transparency=10)
    ids_hw = np.where(LABELS_hw == 10, np.uint8(IGNORE), LABELS_hw)
    np.testing.assert_array_equal(read_ids(path, DENSEPASS_13), ids_hw)


def test_a_stored_correction_has_ids_whatever_its_colours(tmp_path: Path) -> None:
    notes = {"classes": list(DENSEPASS_13.names)}
    write_labels(tmp_path / "a.png", LABELS_hw, DENSEPASS_13, notes)
    repainted = replace(DENSEPASS_13, palette=DENSEPASS_13.palette[::-1])
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png", repainted), LABELS_hw)
