"""A recipe: all settings of a run in one small TOML file.

A table of the file is a settings dataclass of the code, where every key is documented. Keys that are left out keep
their defaults. Unknown keys and values of the wrong type or out of range are refused, by name and with what is allowed.
"""

from __future__ import annotations

import codecs
import dataclasses
import difflib
import json
import math
import textwrap
import tomllib
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.adapt.config import AdaptConfig
from pipeline.classes import LABEL_SETS, LabelSet, can_merge, label_set
from pipeline.ensemble.config import FusionConfig, given_back
from pipeline.errors import RecipeError
from pipeline.evaluate.categories import Categories, open_categories
from pipeline.panorama.config import VIEW_GROUPS, PanoramaConfig, ViewsConfig, WindowConfig
from pipeline.recipe_paths import anchored
from pipeline.sentences import sentences, summary
from pipeline.settings import require, require_choice, require_fraction
from pipeline.student.config import DistillConfig, LossConfig, StudentConfig
from pipeline.teacher.config import (
    MOST_FURTHER,
    VIEWS,
    AssistantConfig,
    BoundaryConfig,
    FurtherAssistantConfig,
    SamConfig,
    UnknownConfig,
)


@dataclass(frozen=True)
class DataConfig:
    """Where the panoramas are. Relative paths of all settings start at the folder of the recipe's file (for built-in
    recipes, and after --set: at the current folder)."""

    panoramas: str = ""
    """Folder of unlabelled panoramas that the student learns from, nested or flat."""
    panoramas_only: tuple[str, ...] = ()
    """Only the files of `panoramas` that match one of these patterns, such as "area_[12346]/pano/rgb/*": paths below
    the folder, in which * also stands for several folders. Empty for all."""
    evaluation: str = ""
    """Folder of panoramas to evaluate on; empty to evaluate on `panoramas`."""
    evaluation_only: tuple[str, ...] = ()
    """The same patterns for `evaluation`."""
    labels: str = ""
    """Folder of labels of the evaluation panoramas; empty if there are none."""
    labels_set: str = ""
    """Label set of those label files if it differs from the recipe's (merged when read)."""
    labels_from_one: bool = False
    """Whether ids in those label files count from 1: id k is class k - 1, and 0 is ignored like 255."""
    labels_index: str = ""
    """JSON list of names, for label files whose colours are numbers (Stanford2D3D: assets/semantic_labels.json): red *
    65536 + green * 256 + blue is a place in the list, and the class is its name up to the first "_". Empty for files of
    class ids."""
    labels_by: str = "people"
    """Who made the labels: people, or a network; results against a network's labels are reported as agreement."""
    corrections: str = ""
    """Folder of corrected labels, as `goodsam import-labels` writes it; the student learns from them too
    (`losses.corrections`). Empty for none."""
    corrections_held_out: float = 0.2
    """Share of the corrected panoramas whose corrections the student does not learn from and `eval` measures on, beside
    those of `evaluation`."""
    limit: int = 0
    """Use only the first panoramas of each folder, this many; 0 for all."""

    def __post_init__(self) -> None:
        require_fraction("data.corrections_held_out", self.corrections_held_out)
        require_choice("data.labels_by", self.labels_by, ("people", "network"))
        require(self.limit >= 0, "data.limit", self.limit, "0 or a positive number")


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation and pictures."""

    overlays: int = 8
    """Number of panoramas to draw pictures of."""
    student_start: bool = False
    """Also measure the student before distillation (where its initial weights are a whole segmentation network)."""
    categories: str = ""
    """Also measure coarser categories of classes: cityscapes7 (flat, construction, object, nature, sky, human,
    vehicle), or a JSON file that lists the class names of each, {"flat": ["road", "sidewalk"], ...}; empty for none."""
    yaw_panoramas: int = 0
    """For how many panoramas stage one is computed twice more, with the camera turned, to tell what that changes; each
    takes twice its time in teacher-cache."""

    controls: tuple[str, ...] = ()
    """Further rungs to compare with, measured where there are labels: sam_only (SAM's masks with their winners, nothing
    elsewhere), superpixels (regions of like colour in place of SAM's masks; needs scikit-image), oracle (every mask
    with its true majority class). Each takes about as long as the fusion of a panorama, superpixels some seconds."""
    checkpoint: str = "last"
    """Which student to measure: last, or best, by its validation during training (needs `distill.validation`)."""

    def __post_init__(self) -> None:
        for control in self.controls:
            require_choice("evaluation.controls", control, ("sam_only", "superpixels", "oracle"))
        require_choice("evaluation.checkpoint", self.checkpoint, ("last", "best"))
        for key in ("overlays", "yaw_panoramas"):
            require(getattr(self, key) >= 0, f"evaluation.{key}", getattr(self, key), "0 or a positive number")


@dataclass(frozen=True)
class Recipe:
    """All settings of a run."""

    name: str = "run"
    """Name of the run's folder in the cache, which is the folder `cache` beside the recipe's file (for built-in
    recipes: in the current folder) unless --cache names another."""
    label_set: str = "cityscapes19"
    """Classes of the run: cityscapes19, densepass13, another known set (stages/README.md lists them), or a JSON file
    whose id2label names them (the config.json of a segmentation network, the assistant's for instance)."""
    data: DataConfig = field(default_factory=DataConfig)
    """Folders."""
    panorama: PanoramaConfig = field(default_factory=PanoramaConfig)
    """How panoramas are read."""
    views: ViewsConfig = field(default_factory=ViewsConfig)
    """Perspective views of the sphere."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    """Windows of SAM and assistant."""
    sam: SamConfig = field(default_factory=SamConfig)
    """The teacher."""
    assistant: AssistantConfig = field(default_factory=AssistantConfig)
    """The teacher assistant."""
    further_assistants: tuple[FurtherAssistantConfig, ...] = ()
    """Further assistants, each a table [[further_assistants]] with the keys of [assistant] and a weight: the mean of
    all labels SAM's masks, and `fusion.agree` compares them."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """Cross-task complementary fusion."""
    boundary: BoundaryConfig = field(default_factory=BoundaryConfig)
    """Boundary enhancement."""
    unknown: UnknownConfig = field(default_factory=UnknownConfig)
    """Objects that no class describes."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The student."""
    losses: LossConfig = field(default_factory=LossConfig)
    """Weights of the MKA losses."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Training."""
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    """Adapting the assistant to the panoramas."""
    evaluation: EvalConfig = field(default_factory=EvalConfig)
    """Evaluation."""

    def __post_init__(self) -> None:
        plain = self.name.replace("-", "").replace("_", "").replace(".", "")
        require(
            plain.isalnum() and not self.name.startswith("."), "name", self.name, "letters, digits, '-', '_' and '.'"
        )
        self._require_merge("assistant.label_set", self.assistant.label_set)
        self._check_assistants()
        self._require_merge("data.labels_set", self.data.labels_set or self.label_set)
        given_back(self.fusion, self.classes)
        require(self.sam.keep_levels or not self.fusion.one_per_prompt, "fusion.one_per_prompt",
                self.fusion.one_per_prompt, "false unless sam.keep_levels is true")  # fmt: skip
        require(self.fusion.weigh_by != "prompt_stability" or self.sam.jitter > 0, "fusion.weigh_by",
                self.fusion.weigh_by, "another unless sam.jitter is above 0, which measures it")  # fmt: skip
        open_categories(self.evaluation.categories, self.classes)  # refuses unusable ones before hours of work
        self._require_views_of_sam()
        width = self.panorama.width
        for number, shape in enumerate(self.windows.shapes):
            key = f"windows.more[{number - 1}] stride_x" if number else "windows.stride_x"
            require(width % shape.stride_x == 0, key, shape.stride_x,
                    f"a divisor of panorama.width ({width}), so that windows meet at the seam")  # fmt: skip
        require(self.boundary.agreement == "windows" or bool(self.windows.more), "boundary.agreement",
                self.boundary.agreement, "windows unless windows.more adds another shape")  # fmt: skip

    @property
    def classes(self) -> LabelSet:
        """The label set itself."""
        return label_set(self.label_set)

    @property
    def categories(self) -> Categories | None:
        """The categories of classes that are measured too; None for none."""
        return open_categories(self.evaluation.categories, self.classes)

    @property
    def assistants(self) -> tuple[AssistantConfig, ...]:
        """All assistants, the first one first."""
        return (self.assistant, *self.further_assistants)

    def _check_assistants(self) -> None:
        """Refuse further assistants that cannot be compared with each other."""
        number, agree = len(self.assistants), self.fusion.agree
        require(number <= 1 + MOST_FURTHER, "the number of further_assistants", number - 1, f"at most {MOST_FURTHER}")
        for place, further in enumerate(self.further_assistants):
            self._require_merge(f"further_assistants[{place}].label_set", further.label_set)
        if len({(one.kind, one.name) for one in self.assistants}) < number:
            raise same_network_twice()
        require(agree == 0 or number > 1, "fusion.agree", agree,
                "0 without further_assistants: one assistant has nobody to agree with")  # fmt: skip
        require(agree <= number, "fusion.agree", agree, f"at most the number of assistants, {number}")

    def _require_views_of_sam(self) -> None:
        """Refuse groups of views of which SAM would be shown none."""
        shown, views = self.sam.shown, self.views
        there = [group for group in VIEW_GROUPS
                 if getattr(views, group) > 0 and views.sees(group, self.panorama.vertical_fov)]  # fmt: skip
        named = [name for name in self.sam.view_groups if name in shown]
        require(set(named) <= set(there) and (VIEWS not in shown or bool(there)), "sam.shown", list(shown),
                "windows, or groups with views (views.level and so on) that see something of the panorama; here: "
                f"{', '.join(there) or 'none'}")  # fmt: skip
        require(self.fusion.join == 0 or not self.sam.view_groups, "fusion.join", self.fusion.join,
                "0 where sam.shown has perspective views: regions joined over them go too far")  # fmt: skip

    def _require_merge(self, key: str, source: str) -> None:
        """Refuse classes that do not merge into the recipe's, before hours of work."""
        fitting = [s.name for s in LABEL_SETS.values() if can_merge(s, self.classes)]
        named = ", ".join(fitting or [self.label_set])
        require(can_merge(label_set(source, key), self.classes), key, source,
                f"one whose classes merge into label_set ({self.label_set}): {named}")  # fmt: skip


def same_network_twice() -> RecipeError:
    """The error for a network that is two of a recipe's assistants."""
    return RecipeError("assistant and further_assistants name the same network twice",
                       "each must be another network: one that is asked twice agrees with itself",
                       "Take it out of further_assistants")  # fmt: skip


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; relative paths in it start at its folder.

    Raises:
        RecipeError: no such file, not TOML, unknown key, wrong type, value out of range.
    """
    try:
        table = tomllib.loads(_decoded(path.read_bytes()))
    except FileNotFoundError as error:
        raise RecipeError(f"recipe {path} does not exist", "a recipe is a TOML file", "Check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path} is not UTF-8 (byte {error.start})", "TOML files are UTF-8",
                          "Save it in that encoding") from error  # fmt: skip
    except IsADirectoryError as error:
        raise RecipeError(f"recipe {path} is a folder", "a recipe is a TOML file", "Name the file") from error
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read ({error.strerror})", "a recipe is a TOML file",
                          "Check the path and its permissions") from error  # fmt: skip
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"recipe {path} cannot be read ({error})", "a recipe is a TOML file", "Correct the file"
        ) from error
    return parse_recipe(anchored(table, path.absolute().parent))


def _decoded(content: bytes) -> str:
    """The text of a TOML file; Windows' editors write a byte order mark, PowerShell's `>` writes UTF-16."""
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """A recipe from a parsed TOML table; paths stay as they are.

    Raises:
        RecipeError: unknown key, wrong type, value out of range.
    """
    return _build(Recipe, table, "")


def merge_recipe(recipe: Recipe, table: dict[str, Any]) -> Recipe:
    """The recipe with the settings of a (partial) TOML table put over it.

    Raises:
        RecipeError: as `parse_recipe`.
    """
    merged = dataclasses.asdict(recipe)
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] |= value
        else:
            merged[key] = value
    return parse_recipe(merged)


def to_toml(recipe: Recipe, explained: bool = False) -> str:
    """The recipe with all its settings as TOML; `parse_recipe(tomllib.loads(...))` gives it back.

    Args:
        recipe: any recipe.
        explained: with the documentation of each table and setting above it, as comments.
    """
    tables = [f for f in dataclasses.fields(recipe) if _is_table(f)]
    last = {"further_assistants"} if recipe.further_assistants else set[str]()  # tables, which follow all others
    lines = _lines(recipe, {f.name for f in tables} | last, explained)
    for table in tables:
        settings = getattr(recipe, table.name)
        about = _comment(summary(type(settings))) if explained else []
        lines += ["", *about, f"[{table.name}]", *_lines(settings, set(), explained)]
    for further in recipe.further_assistants:
        about = _comment(summary(type(further))) if explained else []
        lines += ["", *about, "[[further_assistants]]", *_lines(further, set(), explained)]
    return "\n".join(lines) + "\n"


def _lines(settings: Any, without: set[str], explained: bool) -> list[str]:
    """The settings of one table, with `explained` each under its documentation."""
    about = sentences(type(settings)) if explained else {}
    lines: list[str] = []
    for f in dataclasses.fields(settings):
        if f.name not in without:
            lines += [*_comment(about.get(f.name, "")), f"{f.name} = {literal(getattr(settings, f.name))}"]
    return lines


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 117)]


T = TypeVar("T")


def _is_table(f: dataclasses.Field[Any]) -> bool:
    return isinstance(f.default_factory, type) and dataclasses.is_dataclass(f.default_factory)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of a table's settings, which stand in the source as texts."""
    return typing.get_type_hints(kind)


def _build(kind: type[T], table: dict[str, Any], prefix: str) -> T:
    hints = _hints(kind)
    for key in table:
        if key not in hints:
            suggestions = _suggestions(key, hints, prefix)
            remedy = f"Perhaps {' or '.join(suggestions)} is meant" if suggestions else "Remove it"
            raise RecipeError(f"{prefix}{key} is not a setting", f"known are {', '.join(hints)}", remedy)
    return kind(**{key: _value(hints[key], value, f"{prefix}{key}") for key, value in table.items()})


def _suggestions(key: str, siblings: Iterable[str], prefix: str) -> list[str]:
    """Suggestions for an unknown key: a setting with a similar name, or one of that name in another table."""
    close = difflib.get_close_matches(key, siblings, n=1)
    tables = filter(_is_table, dataclasses.fields(Recipe))
    elsewhere = [f"{table.name}.{key}" for table in tables if key in typing.get_type_hints(table.default_factory)]
    return [f"{prefix}{close[0]}"] if close else elsewhere


_TYPE_NAMES: dict[Any, str] = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}


def _value(hint: Any, value: Any, key: str) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        require(isinstance(value, dict), key, value, f"a table [{key}]")
        return _build(hint, value, f"{key}.")
    if typing.get_origin(hint) is tuple:
        require(isinstance(value, (list, tuple)), key, value, "a list")
        kind = typing.get_args(hint)[0]
        is_table = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        return tuple(_value(kind, item, f"{key}[{place}]" if is_table else key) for place, item in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    require(type(value) is hint and (hint is not float or math.isfinite(value)), key, value, _TYPE_NAMES[hint])
    require(hint is not str or "\0" not in value, key, value, "a text without NUL characters, which no path may have")
    return value


def literal(value: Any) -> str:
    """A setting's value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, which also escapes DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
