"""Label maps from elsewhere that a report shows beside its own: people's, and those of other folders of maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pipeline.class_tables import merge_table
from pipeline.classes import IGNORE, LabelSet, can_merge, folded, label_set, named_classes
from pipeline.errors import InputError, counted, first_few
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.labels import survey_labels
from stages.events import Listener, Note, silent
from stages.report.agreement import TRUTH
from stages.report.canvas import LAYER_NAMES
from stages.report.source import AddedMap, ReportSource, SourcePanorama, read_source

STAGE = "report"
_LABELS = "labels"


@dataclass(frozen=True)
class OtherMaps:
    """Maps of the same panoramas that a report shows beside those of its source."""

    truth: Path | None = None
    """Folder of label maps that people made, named as the panoramas."""
    labels_set: str = ""
    """Classes of these files: a known set or a JSON file; empty for those of the source."""
    compare: tuple[Path, ...] = ()
    """Folders that `goodsam export` or `goodsam predict` wrote of the same panoramas."""

    def __post_init__(self) -> None:
        """Raises InputError for classes of no files."""
        if self.labels_set and self.truth is None:
            raise InputError(f"--labels-set {self.labels_set} without --truth",
                             "it names the classes of the files in --truth",
                             "Add --truth, or leave --labels-set out")  # fmt: skip


def with_other_maps(source: ReportSource, others: OtherMaps, listener: Listener = silent) -> ReportSource:
    """The source with further layers.

    Raises:
        InputError: a folder is none of label maps, has none of the source's panoramas, or has other classes.
        RecipeError: there is no such label set.
    """
    if others.truth is not None:
        source = _with_truth(source, others.truth, others.labels_set, listener)
    for number, folder in enumerate(others.compare, 1):
        source = _with_compared(source, folder, f"compared-{number}", listener)
    return source


def _with_truth(source: ReportSource, folder: Path, set_name: str, listener: Listener) -> ReportSource:
    by_stem = _by_stem(source)
    files = [PanoramaFile(stem, panorama.picture or next(iter(panorama.maps.values())))
             for stem, panorama in by_stem.items() if panorama.picture or panorama.maps]  # fmt: skip
    found = survey_labels(folder, files)
    if found.note:
        listener(Note(STAGE, f"{folder}: {found.note}"))
    labels = label_set(set_name, "--labels-set") if set_name else source.labels
    own_class = _own_class(labels, source.labels, f"--truth {folder}", listener)
    maps = {by_stem[stem].id: AddedMap(path, labels, own_class, is_level=False) for stem, path in found.by_id.items()}
    return _with_layer(source, TRUTH, TRUTH, maps)


def _with_compared(source: ReportSource, folder: Path, key: str, listener: Listener) -> ReportSource:
    try:
        other = read_source(folder)
    except InputError as error:
        raise InputError(f"--compare {folder} cannot be used: {error.found}",
                         "it names a folder that `goodsam export` or `goodsam predict` wrote",
                         "Check the path") from error  # fmt: skip
    own_class = _own_class(other.labels, source.labels, f"--compare {folder}", listener)
    by_id, by_stem = {panorama.id: panorama for panorama in other.panoramas}, _by_stem(other)
    maps: dict[str, AddedMap] = {}
    for panorama in source.panoramas:
        found = by_id.get(panorama.id) or by_stem.get(_stem(panorama))
        if found is not None and _LABELS in found.maps:
            maps[panorama.id] = AddedMap(found.maps[_LABELS], other.labels, own_class, other.maps_are_level)
    if not maps:
        of_all = f"none of {counted(len(source.panoramas), 'panorama')} (the first is {source.panoramas[0].path})"
        raise InputError(f"--compare {folder} has a label map of {of_all}",
                         "it holds maps of the same panoramas, by their paths",
                         "Name a folder that was made from the same pictures")  # fmt: skip
    taken = {**LAYER_NAMES, **source.layer_names}.values()
    name = other.title if other.title not in taken else str(folder)
    return _with_layer(source, key, name, maps)


def _with_layer(source: ReportSource, key: str, name: str, maps: Mapping[str, AddedMap]) -> ReportSource:
    panoramas = tuple(
        replace(panorama, added={**panorama.added, key: maps[panorama.id]}) if panorama.id in maps else panorama
        for panorama in source.panoramas
    )
    missing = len(panoramas) - len(maps)
    have = "has" if missing == 1 else "have"
    notes = [f"{missing} of {len(panoramas)} panoramas {have} no map in the layer {name}."] if missing else []
    return replace(source, panoramas=panoramas, layer_names={**source.layer_names, key: name},
                   notes=(*source.notes, *notes))  # fmt: skip


def _own_class(theirs: LabelSet, own: LabelSet, what: str, listener: Listener) -> tuple[int, ...]:
    """The report's class for each of other maps' classes: as known sets merge, else that of the same name.

    Raises:
        InputError: they have no class in common.
    """
    known, known_own = _known(theirs), _known(own)
    if can_merge(known, known_own):
        return tuple(map(int, merge_table(known, known_own)[: len(theirs)]))
    by_name = {folded(name): number for number, name in enumerate(own.names)}
    found = tuple(by_name.get(folded(name), IGNORE) for name in theirs.names)
    strangers = [name for name, number in zip(theirs.names, found, strict=True) if number == IGNORE]
    if len(strangers) == len(theirs):
        raise InputError(f"{what} has the classes {first_few(theirs.names)}",
                         f"the report's are {first_few(own.names)}, and none is the same",
                         "Name maps of the same classes")  # fmt: skip
    if strangers:
        told = f"{what}: {first_few(strangers)} {'is' if len(strangers) == 1 else 'are'} no class of the report"
        listener(Note(STAGE, f"{told}, and what they label counts as unlabelled"))
    return found


def _known(labels: LabelSet) -> LabelSet:
    """The known label set of these names, by which sets merge; else the given one."""
    return named_classes(dict(enumerate(labels.names)), labels.name)


def _by_stem(source: ReportSource) -> dict[str, SourcePanorama]:
    """Panoramas by their path in their folder, without suffix; those whose path another one shares are left out."""
    count = Counter(map(_stem, source.panoramas))
    return {_stem(panorama): panorama for panorama in source.panoramas if count[_stem(panorama)] == 1}


def _stem(panorama: SourcePanorama) -> str:
    return str(PurePosixPath(panorama.path).with_suffix(""))
