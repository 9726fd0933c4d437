"""The model card of a student, README.md in its folder, as the Hugging Face hub has it: YAML, then Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.classes import LabelSet, named_classes
from stages.cards import CARD, FILL_IN, class_table, loss_table
from stages.files import read_json, write_whole
from stages.runs import EVALUATIONS
from stages.training_record import RECORD

_SEGFORMER = "segformer"
_MARK = "  - goodsam\n"
"""By this line of its header a card is known as one of ours, which may be written anew."""


def write_model_card(student: Path, out: Path | None = None, more: str = "") -> bool:
    """Write the model card of a student.

    Args:
        student: its folder, with config.json and, where it was distilled here, training.json.
        out: folder of the card; by default that of the student.
        more: a chapter that is put before the licence.

    Returns:
        False where there is a README.md that is no card of ours: it stays.

    Raises:
        CacheError: it cannot be written.
    """
    path = (out or student) / CARD
    with suppress(OSError, UnicodeDecodeError):
        if _MARK not in path.read_text(encoding="utf-8"):
            return False
    write_whole(path, model_card(student, "transformers" if out is None else "onnx", more))
    return True


def model_card(student: Path, library: str = "transformers", more: str = "") -> str:
    """The text of the card; arguments as of `write_model_card`."""
    labels, record = _label_set(student), read_json(student / RECORD)
    classes = f"## Classes\n\n{class_table(labels)}\n"
    chapters = [_header(library, _model_type(student)), _introduction(student, record), classes, _data(record),
                _training(record), _figures(student), _usage(), more, _licence()]  # fmt: skip
    return "\n".join(filter(None, chapters))


def _header(library: str, kind: str) -> str:
    return (
        f"---\nlibrary_name: {library}\npipeline_tag: image-segmentation\ntags:\n{_MARK}"
        f"  - semantic-segmentation\n  - panorama\n  - equirectangular\n  - {kind}\n"
        f"# license: {FILL_IN}\n---\n"
    )


def _introduction(student: Path, record: Mapping[str, Any]) -> str:
    size = f"{record['parameters'] / 1e6:.1f} million parameters" if "parameters" in record else "a compact network"
    name = f"Student {record['fingerprint']}" if "fingerprint" in record else student.name
    distilled = (
        f" It was distilled without labels by GoodSAM, in the open ({__version__}) from Segment Anything and a network "
        "that was trained on perspective images."
    )
    return (
        f"# {name or 'A student of GoodSAM'}\n\nA {_architecture(student)} ({size}) that gives every pixel of an "
        "equirectangular 360-degree panorama a class. It sees the whole panorama at once, wrapped around the seam."
        f"{distilled if record else ''}\n"
    )


def _data(record: Mapping[str, Any]) -> str:
    origin = f"Where the panoramas were taken, and who holds rights in them: {FILL_IN}.\n"
    if not record:
        return f"## Data\n\n{origin}"
    height, width = record["working_size"]
    fov = f"{record['vertical_fov']:g}"
    return (
        f"## Data\n\nLearned from {record['panoramas']:,} unlabelled panoramas, resized to {width}x{height} pixels, "
        f"with a vertical field of view of {fov} degrees. {origin}"
    )


def _training(record: Mapping[str, Any]) -> str:
    if not record:
        return ""
    settings = record["settings"]
    distill = settings["distill"]
    return (
        f"## Training\n\n{record['steps']:,} steps of {distill['batch_size']} panoramas, learning rate "
        f"{distill['learning_rate']:g}, seed {record['seed']}, torch {record['torch']}. All settings are in "
        f"`{RECORD}`.\n\n{loss_table(record['losses'])}\n"
    )


def _figures(student: Path) -> str:
    """What `goodsam eval` has measured of this student."""
    metrics = _metrics_of(student)
    rungs = {rung["name"]: rung for rung in metrics.get("ladder", ())}
    if "student" not in rungs:
        return ""
    rung, labelled = rungs["student"], metrics["labelled"]
    by = "a network, with which these figures are agreement" if metrics["labels_by"] == "network" else "people"
    rows = [("mIoU", rung["miou"]), ("mIoU by solid angle", rung["miou_solid_angle"]),
            ("pixels", rung["pixel_accuracy"]), *rung["per_class_iou"].items()]  # fmt: skip
    table = "\n".join(f"| {name} | {100 * value:.1f} |" for name, value in rows if value is not None)
    return (
        f"## Measured\n\nOn {labelled:,} labelled panoramas (labels by {by}); the classes' rows are IoU.\n\n"
        f"| | % |\n| --- | ---: |\n{table}\n"
    )


def _metrics_of(student: Path) -> dict[str, Any]:
    """The latest figures of this student that lie in its cache, measured after it was finished."""
    folder, kind = student.resolve().parent, "best" if student.resolve().name == "best" else "last"
    found: dict[float, dict[str, Any]] = {0.0: {}}
    for path in (folder.parent.parent / EVALUATIONS).glob("*/metrics.json"):
        metrics = read_json(path)
        measured_what = (metrics.get("student_name"), metrics.get("student_checkpoint", {}).get("kind", "last"))
        with suppress(OSError):
            measured = path.stat().st_mtime
            if measured_what == (folder.name, kind) and measured >= (student / RECORD).stat().st_mtime:
                found[measured] = metrics
    return found[max(found)]


def _usage() -> str:
    return (
        "## Use\n\n    goodsam predict PANORAMAS OUT --model FOLDER_OF_THIS_CARD_OR_ONNX_FILE\n\n"
        "Images go in as RGB at the working size above. transformers' own pipelines read the network too, but without "
        "the wrapping around the seam; it is inside ONNX files that `goodsam export-onnx` writes.\n"
    )


def _licence() -> str:
    return (
        f"## Licence\n\n{FILL_IN.capitalize()}: the licences of the panoramas, of the networks that taught it and of "
        "its initial weights decide under which one it may be shared.\n"
    )


def _model_type(student: Path) -> str:
    return str(read_json(student / "config.json").get("model_type", _SEGFORMER))


def _architecture(student: Path) -> str:
    kind = _model_type(student)
    return "SegFormer" if kind == _SEGFORMER else f"network of transformers' type {kind}"


def _label_set(student: Path) -> LabelSet:
    config = read_json(student / "config.json")
    return named_classes({int(number): str(name) for number, name in config["id2label"].items()}, student.name)
