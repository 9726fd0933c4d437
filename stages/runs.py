"""A run's folder in the cache, recipes by name, and the manifest that hands stage one's cache to stage two.

cache/<run>/
    recipe.toml        all settings of the last stage that ran
    teacher.zarr/      stage one's store
    teacher.json       which fingerprints of the store the recipe stands for
    student/           checkpoints, final/, earlier/
    eval/              metrics.json, ladder.md, overlays
    log.jsonl          every event of every stage
    tensorboard/       scalars
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cache.store import Part
from pipeline.classes import is_file_of_classes, label_set
from pipeline.errors import CacheError, RecipeError, WeightsError
from pipeline.recipe import NAME_OR_PATH_KEYS, Recipe, anchored, load_recipe, merge_recipe, parse_recipe, to_toml
from pipeline.settings import fingerprint, weights_file_digest
from pipeline.teacher.identity import assistant_identity, mask_source_identity
from stages.files import mask_digest, write_whole

BUILT_IN = Path(__file__).parent / "recipes"
"""Recipes that come with the project; their relative paths start at the current folder."""
HERE = Path("cache")
"""The cache of the built-in recipes."""
RECORD = "recipe.toml"
"""Has all settings of the last stage of a run, in its folder."""


def open_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """A built-in recipe by its name, or one from a TOML file, with `key=value` overrides.

    Relative paths of a file start at its folder, those of overrides at the current folder: both become absolute.

    Raises:
        RecipeError: no such recipe, or a setting is refused.
    """
    file = _file_of(name_or_path)
    recipe = load_recipe(file) if file else _built_in(name_or_path)
    if overrides:
        recipe = merge_recipe(recipe, anchored(_overrides(overrides), Path.cwd()))
    if file:
        _refuse_networks_of_the_current_folder(recipe)
    return recipe


def _file_of(name_or_path: str) -> Path | None:
    """The recipe's file, there or not; None if it is the name of a built-in one."""
    return Path(name_or_path) if "/" in name_or_path or name_or_path.endswith(".toml") else None


def _built_in(name: str) -> Recipe:
    path = BUILT_IN / f"{name}.toml"
    if path.is_file():
        return parse_recipe(tomllib.loads(path.read_text(encoding="utf-8")))
    known = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
    raise RecipeError(f"recipe {name!r} is unknown", f"known are {', '.join(known)}, and paths of .toml files",
                      _recipe_meant(name, known))  # fmt: skip


def _recipe_meant(name: str, known: list[str]) -> str:
    """What to do where there is no built-in recipe of that name."""
    if Path(f"{name}.toml").is_file():
        return f"Write {name}.toml, which is in the current folder"
    if name and Path(name).is_file():
        return f"Call the file {Path(name).with_suffix('.toml')}"
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"Perhaps {close[0]} is meant" if close else "Check the name"


def _refuse_networks_of_the_current_folder(recipe: Recipe) -> None:
    """Refuse what a recipe's file calls a network and is only in the current folder, where transformers takes it."""
    for table, key in NAME_OR_PATH_KEYS:
        name: str = getattr(getattr(recipe, table), key)
        if name and name != "demo" and not Path(name).is_absolute() and Path(name).exists():
            raise RecipeError(f"{table}.{key} is {name!r}, which is in the current folder, not next to the recipe",
                              "paths in a recipe start at its own folder",
                              f"Write {str(Path(name).absolute())!r}")  # fmt: skip


def _overrides(pairs: tuple[str, ...]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise RecipeError(
                f"--set {pair} has no '='", "it must be key=value, as in fusion.theta=0.6", "Add the value"
            )
        *tables, last = key.strip().split(".")
        if not (last and all(tables)):
            raise RecipeError(f"--set {pair} names no setting", "it must be key=value, as in fusion.theta=0.6",
                              "Write the setting's name before '='")  # fmt: skip
        inner = table
        for name in tables:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {pair} asks for a setting inside {name}", f"--set {name}=... made it a value",
                                  "Leave one of them out")  # fmt: skip
        inner[last] = _toml_value(text.strip())
    return table


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@dataclass(frozen=True)
class Run:
    """A recipe and the folder that its results go to."""

    recipe: Recipe
    """All settings."""
    folder: Path
    """cache/<run>."""

    @property
    def store(self) -> Path:
        """Stage one's Zarr store."""
        return self.folder / "teacher.zarr"

    @property
    def manifest(self) -> Path:
        """Which fingerprints of the store the recipe stands for."""
        return self.folder / "teacher.json"

    @property
    def student(self) -> Path:
        """Folder of checkpoints and of the final student."""
        return self.folder / "student"

    @property
    def evaluation(self) -> Path:
        """Folder of tables and pictures."""
        return self.folder / "eval"

    def record_recipe(self) -> None:
        """Write the recipe into the folder: what the stage that begins now works with.

        Raises:
            CacheError: it cannot be written.
        """
        write_whole(self.folder / RECORD, to_toml(self.recipe))


def open_run(recipe: str, cache: Path | None = None, overrides: tuple[str, ...] = ()) -> Run:
    """The run of a recipe, which need not have begun; its paths are made absolute.

    Args:
        recipe: name or path, as for `open_recipe`.
        cache: the folder that holds the runs; None is the folder `cache` beside the recipe's file, for built-in recipes
            in the current folder. The `recipe.toml` that a run recorded stands for that run.
        overrides: `key=value`.

    Raises:
        RecipeError: as `open_recipe`.
    """
    table = dataclasses.asdict(open_recipe(recipe, overrides))
    opened = parse_recipe(anchored(table, Path.cwd()))  # a cluster's workers may be in another folder
    return Run(opened, (cache or _cache_of(_file_of(recipe))) / opened.name)


def _cache_of(file: Path | None) -> Path:
    """The folder that holds the runs of a recipe's file; of built-in recipes for None."""
    if file is None:
        return HERE
    is_record = file.name == RECORD and (file.parent / "log.jsonl").is_file()
    return file.absolute().parent.parent if is_record else file.parent / "cache"


def run_left_in_current_folder(run: Run) -> str:
    """A sentence on the run of the same name in the current folder's cache, if that has a store and `run` has none."""
    other = Run(run.recipe, HERE / run.recipe.name)
    if run.store.exists() or not other.store.exists():
        return ""
    return (f"this run belongs in {run.folder}, next to its recipe, which has no teacher cache; "
            f"{other.folder} in the current folder has one: --cache {HERE} continues with that")  # fmt: skip


VERSIONS = {Part.MASKS: 3, Part.ASSISTANT: 6, Part.ENSEMBLE: 3}
"""Raised when the code of a part changes what it computes, so that older results are not read any more."""


@dataclass(frozen=True)
class Fingerprints:
    """Names of the three parts of stage one in the store."""

    masks: str
    """SAM's masks: working size and field of view, windows, SAM's weights and settings."""
    assistant: str
    """Assistant output: working size and field of view, windows, label set, the assistant's weights and settings."""
    ensemble: str
    """Fusion and boundaries: both of the above, fusion and boundary settings, ignore mask. Where masks are one per
    camera, that of a panorama is named by its done mark instead (`IGNORE_MASK`): a changed one concerns its camera."""

    def of(self, part: Part) -> str:
        """The name of one part."""
        return {Part.MASKS: self.masks, Part.ASSISTANT: self.assistant, Part.ENSEMBLE: self.ensemble}[part]


IGNORE_MASK = "ignore_mask_sha256"
"""In the done mark of a panorama's ensemble: digest of its own mask, where there is a folder of masks."""


def has_own_mask(part: Part, made_from: Mapping[str, Any], ignore_mask_sha256: str) -> bool:
    """Whether what is stored of a panorama has the mask that is its own now; `made_from` is of its done mark."""
    return part is not Part.ENSEMBLE or made_from.get(IGNORE_MASK, "") == ignore_mask_sha256


TEACHER_SETTINGS = ("label_set", "panorama", "views", "windows", "sam", "assistant", "fusion", "boundary")
"""Settings that decide what stage one computes ..."""
SPEED_SETTINGS = {"sam": ("points_per_batch", "memory_gib")}
"""... but for these, on which only its speed depends."""


PATH_SETTINGS = {"panorama": ("ignore_mask",), "sam": ("checkpoint", "name"), "assistant": ("name", "label_set")}
"""Files among them. Their content enters the fingerprints; stage two need not have them, but they must be those of
stage one where it has them."""


def teacher_settings(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that decides what stage one computes, as plain JSON values."""
    everything = dataclasses.asdict(recipe)
    return json.loads(json.dumps({key: everything[key] for key in TEACHER_SETTINGS}))


def write_manifest(run: Run, fingerprints: Fingerprints) -> None:
    """Record what the store's fingerprints mean for this recipe.

    Raises:
        CacheError: the file cannot be written.
    """
    record = {"settings": teacher_settings(run.recipe), "fingerprints": dataclasses.asdict(fingerprints),
              "contents": _contents(run.recipe), "versions": _versions()}  # fmt: skip
    write_whole(run.manifest, json.dumps(record, indent=1))


def read_manifest(run: Run) -> Fingerprints:
    """The fingerprints that stage one recorded for this recipe.

    Raises:
        CacheError: stage one has not run, it ran with other settings, files or code, or its record is damaged.
    """
    if not run.manifest.is_file():
        raise CacheError(f"{run.folder} has no teacher cache", "stage one makes it", "Run teacher-cache first")
    record, fingerprints = _read_record(run.manifest)
    if other := _what_differs(record, run.recipe):
        raise CacheError(
            f"the cache in {run.folder} was made with other {other}",
            "it must be of this recipe",
            "Run teacher-cache again; it computes only what changed",
        )
    return fingerprints


def _what_differs(record: dict[str, Any], recipe: Recipe) -> str:
    """What a cache was made with that the recipe has not; empty if nothing."""
    before, now = _with_defaults(record["settings"]), teacher_settings(recipe)
    settings = [key for key in TEACHER_SETTINGS if _deciding(key, before.get(key)) != _deciding(key, now[key])]
    if settings:
        return f"settings of {', '.join(settings)}"
    contents = record.get("contents", {})
    files = [key for key, content in _contents(recipe).items() if contents.get(key) != content]
    if files:
        return f"content of {', '.join(files)}"
    return "" if record.get("versions") == _versions() else "code"


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Recorded settings, with the defaults of those that did not exist when they were recorded."""
    return {
        key: {**default, **settings.get(key, {})} if isinstance(default, dict) else settings.get(key, default)
        for key, default in teacher_settings(Recipe()).items()
    }


def _deciding(table: str, settings: Any) -> Any:
    """The settings of a table without those that decide nothing, and of files their names alone: a project may move."""
    if not isinstance(settings, dict):
        return Path(settings).name if is_file_of_classes(str(settings)) else settings
    deciding = {key: value for key, value in settings.items() if key not in SPEED_SETTINGS.get(table, ())}
    for key in PATH_SETTINGS.get(table, ()):
        path = Path(deciding.get(key, ""))
        deciding[key] = path.name if path.is_absolute() else str(path)  # a name on the hub is no path
    return deciding


def _contents(recipe: Recipe) -> dict[str, str]:
    """What names the content of the recipe's files, by setting; only of those that are at hand, not of the hub's."""
    found: dict[str, str] = {}
    if recipe.panorama.ignore_mask and Path(recipe.panorama.ignore_mask).exists():
        found["panorama.ignore_mask"] = mask_digest(recipe.panorama.ignore_mask)
    if recipe.sam.name and Path(recipe.sam.name).expanduser().exists():
        with suppress(WeightsError):  # a folder that has no network any more
            found["sam.name"] = mask_source_identity(recipe.sam)
    if Path(recipe.sam.checkpoint).is_file():
        with suppress(OSError):  # of another user, say
            found["sam.checkpoint"] = weights_file_digest(Path(recipe.sam.checkpoint))
    name = recipe.assistant.name
    if recipe.assistant.kind == "demo" or (name and Path(name).expanduser().exists()):
        with suppress(WeightsError):  # a folder that has no network any more
            found["assistant.name"] = assistant_identity(recipe.assistant)
    classes, said = recipe.classes, label_set(recipe.assistant.label_set)
    found["label_set"] = fingerprint(classes.names, classes.thin, said.names)
    return found


def _versions() -> dict[str, int]:
    return {part.value: version for part, version in VERSIONS.items()}


def _read_record(path: Path) -> tuple[dict[str, Any], Fingerprints]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "settings": dict(record["settings"])}, Fingerprints(**record["fingerprints"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path} is damaged ({type(error).__name__}: {error})",
                         "it is stage one's record of its settings",
                         "Run teacher-cache again; it computes only what is missing") from error  # fmt: skip
