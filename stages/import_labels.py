"""Take corrected labels back: each is matched to its panorama and stored beside the cache, see `corrections`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.classes import IGNORE
from pipeline.errors import GoodSAMError, InputError, counted, first_few
from pipeline.exchange.regions import LabelledPicture
from pipeline.panorama.finding import folded_name
from pipeline.panorama.images import open_panorama, picture_header
from stages.claims import exclusive_lock
from stages.corrections import ORIGINAL, WORKING, CorrectionFolder, canvas_of, pixels_digest
from stages.events import ItemFailed, Listener, Note, silent
from stages.export_folder import size_of_export
from stages.export_maps import CachedMaps
from stages.export_task import IMAGES
from stages.files import digest
from stages.import_matching import Matcher
from stages.import_sources import Incoming, incoming
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import SplitPanorama, all_panoramas

STAGE = "import-labels"


@dataclass(frozen=True)
class ImportSummary:
    """Result of an import."""

    folder: Path
    """Where corrections lie."""
    stored: int
    """Corrections that are new or differ from those of before."""
    known: int
    """Corrections that were there already."""
    unchanged: int
    """Label maps that are as `goodsam export` wrote them: nobody has corrected them."""
    failed: dict[str, str]
    """Name -> one sentence, for those that were set aside."""


def import_labels(run: Run, source: Path, folder: Path, listener: Listener = silent) -> ImportSummary:
    """Store the corrections of a folder or an export; what cannot be used is set aside, and nothing is lost.

    Args:
        run: whose panoramas they correct.
        source: folder of PNGs, or an export of CVAT or Label Studio.
        folder: where corrections are stored.
        listener: hears what was set aside.

    Raises:
        InputError: the source is nothing that can be imported or is damaged (then nothing is stored), or none of its
            pictures could be used.
        CacheError: corrections cannot be written.
    """
    labels, size = run.recipe.classes, size_of_export(source) or size_of_export(source.parent)
    panoramas = all_panoramas(run.recipe)
    matcher, exports = Matcher(panoramas), _Exports(run, panoramas)
    claims = _claims(incoming(source, labels), matcher)  # an export that is damaged at its end stores nothing
    failed: dict[str, str] = {}
    stored = known = unchanged = 0
    first_reason = ""
    with exclusive_lock(folder, STAGE):
        corrections = CorrectionFolder(folder)
        for item in incoming(source, labels):
            if item.picture is None and item.refused is None:
                unchanged += 1
                continue
            try:
                panorama, picture = matcher.match(item)
                its_size = _require_size(panorama, picture, run, size)
                sha256 = _require_content(panorama, picture)
                is_corrected = corrections.has(sha256)  # by an earlier import
                if not is_corrected and exports.has(panorama.id, picture, its_size):
                    unchanged += 1
                    continue
                _require_labelled(picture)
                _require_one(claims.get(sha256, []))
                canvas = _canvas(panorama, run) if its_size == WORKING else None
            except InputError as error:
                failed[item.name] = str(error)
                first_reason = first_reason or error.found
                listener(ItemFailed(STAGE, item.name, str(error)))
                continue
            changed = corrections.store(panorama.id, picture.labels_hw, labels, sha256, its_size, canvas)
            stored, known = stored + changed, known + (not changed)
    if not stored + known + unchanged:
        reason = first_reason or "nobody has labelled anything in it"
        raise InputError(f"{source} has no corrections that can be used ({reason})", "at least one must be usable",
                         "Correct it and import it again; nothing was changed")  # fmt: skip
    if unchanged:
        maps = counted(unchanged, "label map")
        listener(Note(STAGE, f"{maps} left out, as nobody has corrected them since they were exported"))
    return ImportSummary(folder, stored, known, unchanged, failed)


class _Exports:
    """What `goodsam export` writes of a run's panoramas, by which labels are known that nobody has touched: tools give
    back all that was imported into them."""

    def __init__(self, run: Run, panoramas: list[SplitPanorama]) -> None:
        self._reader: RunReader | None = None
        with suppress(GoodSAMError):  # without its cache, nothing can be compared, and all counts as corrected
            self._reader = RunReader.open(run, panoramas)

    def has(self, panorama_id: str, picture: LabelledPicture, size: str) -> bool:
        """Whether labels are, pixel for pixel, what is exported of a panorama at a size."""
        if self._reader is None or panorama_id not in self._reader.paths:
            return False
        try:
            exported = CachedMaps(self._reader.only(panorama_id), panorama_id, size == ORIGINAL)
            return np.array_equal(exported.labels_hw, picture.labels_hw)
        except GoodSAMError:  # what is damaged is the cache, not the labels
            return False


_Claims = list[tuple[str, str]]
"""Names and contents of the label maps that a picture is given."""


def _claims(items: Iterable[Incoming], matcher: Matcher) -> dict[str, _Claims]:
    """The label maps that label something, by the content of their picture.

    Raises:
        InputError: the source is damaged.
    """
    claims: dict[str, _Claims] = {}
    for item in items:
        with suppress(InputError):  # it is set aside when its turn comes
            panorama, picture = matcher.match(item)
            _require_labelled(picture)
            claims.setdefault(digest(panorama.path), []).append((item.name, pixels_digest(picture.labels_hw)))
    return claims


def _require_one(claims: _Claims) -> None:
    """Refuse labels of a picture that is given different ones.

    Raises:
        InputError: it is.
    """
    if len({content for _, content in claims}) > 1:
        raise InputError(f"{first_few([name for name, _ in claims])} are different labels of one picture",
                         "a picture has one correction", "Leave out all but one")  # fmt: skip


def _require_size(panorama: SplitPanorama, picture: LabelledPicture, run: Run, exported: str) -> str:
    """Whether labels are of the picture's own size or of the working size.

    Raises:
        InputError: they are of neither.
    """
    height, width = picture.labels_hw.shape
    header = picture_header(panorama.path)
    own = (header.height, header.width) if header else (0, 0)
    working = (run.recipe.panorama.height, run.recipe.panorama.width)
    sizes: Mapping[str, tuple[int, int]] = {ORIGINAL: own, WORKING: working}
    first = WORKING if _is_of_working_size(panorama, picture, exported) else ORIGINAL
    for size in (first, *(sizes.keys() - {first})):
        if (height, width) == sizes[size]:
            return size
    raise InputError(f"labels of {picture.name} are {width}x{height}",
                     f"its picture is {own[1]}x{own[0]}, and the working size {working[1]}x{working[0]}",
                     "Label the picture itself, or one of `goodsam export --size working`")  # fmt: skip


def _is_of_working_size(panorama: SplitPanorama, picture: LabelledPicture, exported: str) -> bool:
    """Whether labels are said to be of the working size, whose pictures an export has in a folder of its own."""
    if picture.size:
        return picture.size == WORKING
    own_names = (panorama.id, panorama.id.partition("/")[2])
    is_own_name = folded_name(picture.name.rpartition(".")[0]) in map(folded_name, own_names)
    return exported == WORKING or (picture.name.startswith(f"{IMAGES}/") and not is_own_name)


def _canvas(panorama: SplitPanorama, run: Run) -> Mapping[str, float]:
    """What a correction of the working size notes of the canvas that it was made on.

    Raises:
        InputError: the picture cannot be read.
    """
    return canvas_of(open_panorama(panorama.path, run.recipe.panorama).placement)


def _require_labelled(picture: LabelledPicture) -> None:
    """Refuse what would teach nothing, and take the place of a correction that does.

    Raises:
        InputError: no pixel is labelled.
    """
    if (picture.labels_hw == IGNORE).all():
        raise InputError(f"{picture.name} labels no pixel: it is {IGNORE} everywhere",
                         "a correction labels at least one",
                         "Leave it out; to withdraw a correction, delete its file"
                         )  # fmt: skip


def _require_content(panorama: SplitPanorama, picture: LabelledPicture) -> str:
    """SHA-256 of the panorama's file.

    Raises:
        InputError: the labels are of a picture of this name with another content, or the file cannot be read.
    """
    sha256 = digest(panorama.path)
    if picture.sha256 and picture.sha256 != sha256:
        raise InputError(f"labels of {picture.name} were made on another picture than {panorama.path}",
                         "the picture must be the one that was exported",
                         "Restore the picture, or export and label it again"
                         )  # fmt: skip
    return sha256
