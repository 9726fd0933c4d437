"""A recipe for a folder of panoramas, from what is found in it: sizes, bands, rigs, positions, GPU."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.classes import LABEL_SETS, folded
from pipeline.errors import InputError, counted
from pipeline.panorama.capture import capture_of
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import require_folder, survey_folder
from pipeline.panorama.gpano import placement_from_tags
from pipeline.panorama.images import ASPECT_TOLERANCE, Picture, picture_header, read_picture
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES
from pipeline.recipe import parse_recipe
from stages.data_sets import DataSet, recognise
from stages.fetch_weights import CHECKPOINTS
from stages.files import write_whole
from stages.runs import RESERVED, open_recipe, refuse_reserved

_SAMPLE = 12
"""Pictures that are decoded to look for what is the same in all of them, and for tags."""
_RIG_WIDTH, _RIG_HEIGHT = 64, 32
_RIG_SPREAD = 6.0
"""Standard deviation of brightness, 0..255, below which rows count as the same in all pictures."""
_LEAST_FOR_RIG = 4
_STREET = "cityscapes19"
_WIDTHS = (1024, 2048)
"""Working widths that are proposed: the largest that is not above the pictures'."""


_OFF_HORIZON = 0.01
"""Share of the sphere's height by which the middle of a band may lie off the horizon."""
_BLACK = 16
"""Grey value below which a row is black ground, as JPEG leaves it."""


@dataclass(frozen=True)
class FoundPictures:
    """What a folder of panoramas holds."""

    folder: str
    """The folder."""
    panoramas: int
    """Pictures that may be panoramas."""
    set_aside: int
    """Files that cannot be used."""
    sizes: dict[str, int]
    """Number of pictures by WIDTHxHEIGHT, the most frequent first."""
    vertical_fov: float
    """Vertical field of view of most, degrees; 180 where most are parts of the sphere."""
    others: int
    """Pictures of another shape than most."""
    positions: int
    """Of the sampled pictures, those with a position in their EXIF."""
    sampled: int
    """Pictures that were sampled."""
    parts: int
    """Of these, those that GPano tags place elsewhere on the sphere than a band around the horizon lies."""
    rig_share: float
    """Share of the rows, from below, that look the same in all sampled pictures; 0 for none, or where they are black,
    which is ignored without a mask."""
    gpu: str
    """Name of the GPU; empty for none."""


@dataclass(frozen=True)
class WrittenRecipe(FoundPictures):
    """A recipe that was written, and what it was written for."""

    data_set: str
    """The data set that was recognised; empty for none."""
    recipe: str
    """The file."""


def write_recipe_for(folder: Path, out: Path, name: str, checkpoint: Path | None) -> WrittenRecipe:
    """Look at a folder of panoramas, or the root of a known data set, and write a recipe for it.

    Args:
        folder: where to look.
        out: the recipe's file, where there is none.
        name: of the run; empty for that of the file, or one like it where no run may have that.
        checkpoint: file of SAM's weights; None for where `goodsam fetch-weights` puts the proposed SAM's.

    Raises:
        InputError: `out` does not end with .toml; or as `survey_pictures` and `write_recipe`.
        RecipeError: no run may have that name.
        CacheError: it cannot be written.
    """
    refuse_reserved(name)
    if out.suffix != ".toml":
        raise InputError(f"{out} does not end with .toml", "commands know the files of recipes by that ending",
                         "Choose another name")  # fmt: skip
    data_set = recognise(folder)
    found = survey_pictures(data_set.panoramas, data_set.panoramas_only) if data_set else survey_pictures(folder)
    usual_name = re.sub(r"[^0-9A-Za-z_.-]+", "-", out.stem).strip(".-") or "my"
    usual_name = f"my-{usual_name}" if usual_name in RESERVED else usual_name
    weights = checkpoint or Path("cache", "weights", CHECKPOINTS["vit_b" if found.gpu else "vit_t"].name)
    write_recipe(out, recipe_text(found, name or usual_name, str(weights.absolute()), data_set))
    return WrittenRecipe(**asdict(found), data_set=data_set.name if data_set else "", recipe=str(out))


def survey_pictures(folder: Path, only: Sequence[str] = ()) -> FoundPictures:
    """Sizes, positions and blind areas of the pictures in a folder of panoramas; `only` as of `survey_folder`.

    Raises:
        InputError: it is not there, or holds no panorama.
    """
    require_folder(folder)
    contents = survey_folder(folder, only=only)
    headers = {panorama.path: picture_header(panorama.path) for panorama in contents.panoramas}
    known = {path: header for path, header in headers.items() if header is not None}
    if not known:
        raise InputError(f"none of {counted(len(headers), 'picture')} in {folder} can be opened",
                         "at least one must be an image", "Check the folder")  # fmt: skip
    sizes = Counter(f"{header.width}x{header.height}" for header in known.values())
    fovs = {path: 360 * header.height / header.width for path, header in known.items()}
    fov = _usual_fov([value for value in fovs.values() if value <= 180 * (1 + ASPECT_TOLERANCE)])
    alike = [path for path, value in fovs.items() if abs(value / fov - 1) <= ASPECT_TOLERANCE]
    usual = alike or list(known)
    sampled = usual[:: max(1, len(usual) // _SAMPLE)][:_SAMPLE]
    pictures, positions, parts = _sample(sampled)
    fov = FULL_SPHERE_DEGREES if _are_most(parts, len(sampled)) else fov
    return FoundPictures(str(folder), len(headers), len(contents.set_aside), dict(sizes.most_common()), round(fov, 1),
                         len(headers) - len(alike), positions, len(sampled), parts, _rig_share(pictures),
                         _gpu())  # fmt: skip


def _usual_fov(fovs: Sequence[float]) -> float:
    """The field of view of most pictures; 180 where most are full spheres or none has a possible shape."""
    if not fovs:
        return 180.0
    rounded = Counter(180.0 if abs(fov / 180 - 1) <= ASPECT_TOLERANCE else round(fov, 1) for fov in fovs)
    return rounded.most_common(1)[0][0]


def _sample(paths: Sequence[Path]) -> tuple[list[np.ndarray], int, int]:
    """(Small grey versions of some pictures, how many of them have a position, how many are parts of the sphere)."""
    pictures: list[np.ndarray] = []
    positions = parts = 0
    for path in paths:
        try:
            picture = read_picture(path, lambda width, height: None, (_RIG_WIDTH * 2, _RIG_HEIGHT * 2))
        except InputError:
            continue
        image = picture.image
        positions += capture_of(image).latitude is not None
        parts += _is_part(picture, path.name)
        small = image.convert("RGB").resize((_RIG_WIDTH, _RIG_HEIGHT), Image.Resampling.BOX)
        pictures.append(np.asarray(small.convert("L"), np.float32))
    return pictures, positions, parts


def _is_part(picture: Picture, name: str) -> bool:
    """Whether GPano tags place a picture where a band all the way round, the horizon in its middle, does not lie."""
    try:
        place = placement_from_tags(picture.image.info.get("xmp", b""), name, picture.width, picture.height,
                                    PanoramaConfig())  # fmt: skip
    except InputError:
        return False
    if place is None:
        return False
    off_horizon = abs(2 * place.top + place.height - place.canvas_height) / (2 * place.canvas_height)
    return place.width < place.canvas_width or off_horizon > _OFF_HORIZON


def _are_most(parts: int, sampled: int) -> bool:
    return 2 * parts > sampled


def _rig_share(pictures: Sequence[np.ndarray]) -> float:
    """Share of the rows, from below, that look the same in all pictures; 0 where all of these are black."""
    if len(pictures) < _LEAST_FOR_RIG:
        return 0.0
    spread_H = np.stack(pictures).std(axis=0).mean(axis=1)
    differing = np.flatnonzero(spread_H[::-1] >= _RIG_SPREAD)
    rows = int(differing[0]) if differing.size else 0
    brightest_H = np.stack(pictures).max(axis=(0, 2))
    bright = np.flatnonzero(brightest_H[::-1] >= _BLACK)
    black = int(bright[0]) if bright.size else len(spread_H)
    return 0.0 if black and black >= rows - 1 else rows / len(spread_H)  # the row at the edge holds both


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def recipe_text(found: FoundPictures, name: str, checkpoint: str, data_set: DataSet | None = None) -> str:
    """A commented recipe for what was found, as TOML.

    Args:
        found: of `survey_pictures`.
        name: of the run.
        checkpoint: file of SAM's weights.
        data_set: of `recognise`; None for a plain folder of panoramas.
    """
    label_set = data_set.label_set if data_set else _STREET
    width = _working_width(found)
    sizes = ", ".join(f"{number} of {size}" for size, number in list(found.sizes.items())[:3])
    more = ", ..." if len(found.sizes) > 3 else ""
    blocks = [
        _block(f"Written by `goodsam init` for {counted(found.panoramas, 'panorama')} ({sizes}{more}). "
               "All other settings: `goodsam recipe street`.",
               f"name = {_text(name)}", f"label_set = {_text(label_set)}"),
        _data_block(found, data_set),
        _block(_about_shape(found), "[panorama]", f"width = {width}",
               *([f"vertical_fov = {found.vertical_fov:g}"] if found.vertical_fov < 180 else []),
               *(["find_constant_border = false"] if data_set and not data_set.black_poles else _about_rig(found))),
        _block("", "[windows]", *_windows(width)),
        _sam_block(checkpoint),
        _block(*_assistant_lines(data_set), "window_scale = 2.0",
               "whole_weight = 0.5", "views_weight = 0.5", 'precision = "auto"'),
        _block("Level views alone: the assistant knows nothing like those that look up or down.", "[views]", "down = 0",
               "up = 0", "nadir = 0", "zenith = 0", "fov = 100", "size = 768"),
        _fusion_block(label_set),
        _block("", "[student]", 'size = "b0"', 'weights = "nvidia/mit-b0"'),
        _block("", "[losses]", "stride = 4"),
    ]  # fmt: skip
    if found.gpu:
        blocks.append(_block(f"For {found.gpu}; less memory: a smaller batch_size or a crop_width.", "[distill]",
                             "batch_size = 4"))  # fmt: skip
    else:
        blocks.append(_block("No GPU was found: small batches of crops. Maps need no student: `goodsam export`.",
                             "[distill]", "batch_size = 2", "crop_width = 512"))  # fmt: skip
    text = "\n".join(blocks)
    parse_recipe(tomllib.loads(text))  # what is written must be a recipe
    return text


def _sam_block(checkpoint: str) -> str:
    """The SAM whose published file has this name, else ViT-B."""
    model = next((model for model, known in CHECKPOINTS.items() if known.name == Path(checkpoint).name), "vit_b")
    is_small = model == "vit_t"
    about = ("MobileSAM's weights: for machines without a GPU; with one, the larger vit_b and 32 points are affordable."
             if is_small else "SAM's weights.")  # fmt: skip
    return _block(f"`goodsam fetch-weights {model}` brings {about}", "[sam]", f'model = "{model}"',
                  f"checkpoint = {_text(checkpoint)}", f"points_per_side = {16 if is_small else 32}",
                  "prompt_things = true", 'precision = "auto"')  # fmt: skip


def _fusion_block(classes: str) -> str:
    """Fusion as in the recipe `street`, with those of its confusions that a label set knows."""
    street, known = open_recipe("street").fusion, {folded(name) for name in LABEL_SETS[classes].names}
    confused = [pair for pair in street.give_back if {folded(name) for name in pair.split(" in ")} <= known]
    given_back = [f"give_back = [{', '.join(map(_text, confused))}]"] if confused else []
    about = ("As measured with a real SAM on pictures of streets: it draws thin things itself, the assistant is right "
             "where it is sure, and large masks swallow what looks like them.")  # fmt: skip
    return _block(about, "[fusion]", f"protect_thin = {str(street.protect_thin).lower()}",
                  f"votes = {_text(street.votes)}", f"keep_confidence = {street.keep_confidence:g}",
                  *given_back)  # fmt: skip


def _data_block(found: FoundPictures, data_set: DataSet | None) -> str:
    if data_set is None:
        return _block(_about_positions(found), "[data]", f"panoramas = {_text(str(Path(found.folder).absolute()))}",
                      "# evaluation = \"...\"  # a folder of panoramas with labels, if you have one",
                      '# labels = "..."')  # fmt: skip
    paths = {"panoramas": data_set.panoramas, "evaluation": data_set.evaluation, "labels": data_set.labels,
             "labels_index": data_set.labels_index}  # fmt: skip
    lines = [f"{key} = {_text(str(path.absolute()))}" for key, path in paths.items() if path is not None]
    chosen = {"panoramas_only": data_set.panoramas_only, "evaluation_only": data_set.evaluation_only}
    lines += [f"{key} = [{', '.join(map(_text, patterns))}]" for key, patterns in chosen.items() if patterns]
    if data_set.labels and data_set.labels_set:
        lines.append(f"labels_set = {_text(data_set.labels_set)}")
    if data_set.labels and data_set.labels_from_one:
        lines.append("labels_from_one = true")
    return _block(f"{data_set.name}. {data_set.about}", "[data]", *lines)


def _assistant_lines(data_set: DataSet | None) -> list[str]:
    """About the assistant, and the lines that name it."""
    if data_set and data_set.assistant:
        about = (f"No public network is known that predicts {data_set.assistant}: train one on perspective pictures, "
                 f"with `goodsam train-assistant`, and name its folder here.")  # fmt: skip
        name, label_set = f"cache/assistants/{data_set.assistant}", data_set.assistant
    else:
        about, label_set = "Downloaded from the Hugging Face hub on first use.", _STREET
        name = "nvidia/segformer-b5-finetuned-cityscapes-1024-1024"
    return [about, "[assistant]", 'kind = "transformers"', f"name = {_text(name)}", f"label_set = {_text(label_set)}"]


def write_recipe(path: Path, text: str) -> None:
    """Write a recipe where there is none.

    Raises:
        InputError: there is a file.
        CacheError: it cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} already exists", "a recipe is never overwritten", "Name another file with --out")
    write_whole(path, text)


def _working_width(found: FoundPictures) -> int:
    usual = int(next(iter(found.sizes)).partition("x")[0])
    return max((width for width in _WIDTHS if width <= usual), default=_WIDTHS[0])


def _windows(width: int) -> list[str]:
    """Square windows of a quarter of the width that overlap by half; in bands they are cut to the height."""
    size, stride = width // 4, width // 8
    return [f"height = {size}", f"width = {size}", f"stride_y = {stride}", f"stride_x = {stride}"]


def _about_positions(found: FoundPictures) -> str:
    where = f"{found.positions} of {found.sampled} sampled pictures have a position in their EXIF"
    if found.positions == found.sampled:
        return f"{where}: maps will have points."
    return f"{where}; for the others, `goodsam export` and `predict` take a table: --positions FILE.csv."


def _about_shape(found: FoundPictures) -> str:
    if _are_most(found.parts, found.sampled):
        return ("Parts of the sphere: GPano tags say where each lies, and the rest of the sphere is ignored. Pictures "
                "without such tags are set aside unless they are 2:1.")  # fmt: skip
    what = ("Full spheres (2:1)." if found.vertical_fov == 180 else
            f"Bands of {found.vertical_fov:g} degrees all the way round, the horizon in the middle row.")  # fmt: skip
    if found.others:
        what += f" {found.others} pictures have another shape: they are set aside unless GPano tags explain it."
    return what


def _about_rig(found: FoundPictures) -> list[str]:
    if not found.rig_share:
        return ['# ignore_mask = "rig.png"  # black except where to ignore: a camera rig, a vehicle']
    percent = f"{100 * found.rig_share:.0f}"
    about = (f"The lowest {percent} % of the rows look the same in all {found.sampled} sampled pictures: a camera rig, "
             "a vehicle or a logo? Paint a PNG that is black except there and name it here:")  # fmt: skip
    return [*(f"# {line}" for line in textwrap.wrap(about, 117, break_on_hyphens=False)), '# ignore_mask = "rig.png"']


def _block(about: str, *lines: str) -> str:
    return "\n".join([*(f"# {line}" for line in textwrap.wrap(about, 117, break_on_hyphens=False)), *lines]) + "\n"


def _text(value: str) -> str:
    """A text as TOML has it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
