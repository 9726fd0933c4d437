"""Where everything lies in a cache, and recipes by name.

cache/                 one folder for many runs, which share what they have in common
    teacher.zarr/          stage one's store
    students/<fingerprint>/     a student of certain settings and panoramas: checkpoints, final/, tensorboard/
    assistants/<fingerprint>/   an adapted assistant: checkpoints, final/, comparison.json, tensorboard/
    evaluations/<fingerprint>/  metrics.json, ladder.md, overlays
    <run>/                 a recipe and pointers
        recipe.toml            all settings of the last stage that ran
        teacher.json           which fingerprints of the store the recipe stands for
        panoramas.jsonl        which content each panorama has
        results.json           which students, evaluations and adapted assistants are the run's, the latest of each
        student, eval          links to these two
        tune/                  what `goodsam tune` has predicted and judged, and its table
        log.jsonl              every event of every stage
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CacheError, RecipeError
from pipeline.panorama.finding import CACHE_MARK
from pipeline.recipe import Recipe, load_recipe, merge_recipe, parse_recipe, to_toml
from pipeline.recipe_paths import NAME_OR_PATH_KEYS, anchored
from stages.claims import patient_lock
from stages.files import put_in_place, write_whole
from stages.results import Results, read_results, record_results

BUILT_IN = Path(__file__).parent / "recipes"
"""Recipes that come with the project; their relative paths start at the current folder."""
HERE = Path("cache")
"""The cache of the built-in recipes."""
RECORD = "recipe.toml"
"""Has all settings of the last stage of a run, in its folder."""
STORE, STUDENTS, EVALUATIONS, ASSISTANTS = CACHE_MARK, "students", "evaluations", "assistants"
"""What all runs of a cache share."""
_STUDENT_LINK, _EVALUATION_LINK = "student", "eval"
"""Names in a run's folder that lead to its latest results."""
RESERVED = (STORE, f"{STORE}.index", f"{STORE}.writing", STUDENTS, EVALUATIONS, ASSISTANTS, "weights", "bench")
"""Names in a cache that no run may have."""
_RECORDING = "results"
"""Name of the lock of those who change a run's results."""


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
    named: list[tuple[str, str]] = [(f"{table}.{key}", getattr(getattr(recipe, table), key))
                                    for table, key in NAME_OR_PATH_KEYS]  # fmt: skip
    named += [(f"further_assistants[{place}].name", one.name) for place, one in enumerate(recipe.further_assistants)]
    for setting, name in named:
        if name and name != "demo" and not Path(name).is_absolute() and Path(name).exists():
            raise RecipeError(f"{setting} is {name!r}, which is in the current folder, not next to the recipe",
                              "paths in a recipe start at its own folder",
                              f"Write {str(Path(name).absolute())!r}")  # fmt: skip


def _overrides(pairs: tuple[str, ...]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise RecipeError(
                f"--set {pair} has no '='", "it must be key=value, such as fusion.theta=0.6", "Add the value"
            )
        *tables, last = key.strip().split(".")
        if not (last and all(tables)):
            raise RecipeError(f"--set {pair} names no setting", "it must be key=value, such as fusion.theta=0.6",
                              "Write the setting's name before '='")  # fmt: skip
        inner = table
        for name in tables:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {pair} sets a key of the table {name}",
                                  f"--set {name}=... has set the table itself",
                                  "Leave one of them out")  # fmt: skip
        value, before = _toml_value(text.strip()), inner.get(last)
        inner[last] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return table


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@dataclass(frozen=True)
class Run:
    """A recipe and the folder that it is recorded in."""

    recipe: Recipe
    """All settings."""
    folder: Path
    """cache/<run>."""

    @property
    def cache(self) -> Path:
        """The folder of all runs, and of what they share."""
        return self.folder.parent

    @property
    def store(self) -> Path:
        """Stage one's Zarr store, shared by all runs of the cache."""
        return self.cache / STORE

    @property
    def manifest(self) -> Path:
        """Which fingerprints of the store the recipe stands for."""
        return self.folder / "teacher.json"

    @property
    def panoramas(self) -> Path:
        """Which content each panorama has."""
        return self.folder / "panoramas.jsonl"

    @property
    def student(self) -> Path:
        """Folder of the run's latest student, which `results` names; it may not be there."""
        name = self.results.student
        return self.cache / STUDENTS / name if name else self.folder / _STUDENT_LINK

    @property
    def evaluation(self) -> Path:
        """Folder of the run's latest evaluation, which `results` names; it may not be there."""
        name = self.results.evaluation
        return self.cache / EVALUATIONS / name if name else self.folder / _EVALUATION_LINK

    @property
    def results(self) -> Results:
        """The run's students and evaluations."""
        return read_results(self.folder)

    def record_recipe(self) -> None:
        """Write the recipe into the folder: what the stage that begins now works with.

        Raises:
            CacheError: it cannot be written.
        """
        write_whole(self.folder / RECORD, to_toml(self.recipe))

    def record_student(self, name: str) -> Path:
        """Make the student of a fingerprint the run's latest, and return its folder.

        Raises:
            CacheError: it cannot be written.
        """
        return self._record(lambda results: results.with_student(name), _STUDENT_LINK, Path(STUDENTS) / name)

    def record_assistant(self, name: str) -> None:
        """Make the adapted assistant of a fingerprint one of the run's.

        Raises:
            CacheError: it cannot be written.
        """
        with patient_lock(self.folder, _RECORDING):
            record_results(self.folder, self.results.with_assistant(name))

    def record_evaluation(self, name: str) -> Path:
        """Make the evaluation of a fingerprint the run's latest, and return its folder.

        Raises:
            CacheError: it cannot be written.
        """
        latest = Path(EVALUATIONS) / name
        return self._record(lambda results: results.with_evaluation(name), _EVALUATION_LINK, latest)

    def _record(self, change: Callable[[Results], Results], link: str, latest: Path) -> Path:
        """Change the results; the link leads to the latest, whose folder in the cache is returned."""
        with patient_lock(self.folder, _RECORDING):  # what another process records meanwhile would be lost
            record_results(self.folder, change(self.results))
            _link(self.folder / link, ".." / latest)
        return self.cache / latest


def _link(link: Path, target: Path) -> None:
    """Let a name in the run's folder lead to a result; a folder of that name, which copying a cache may leave, is put
    aside. Where the file system has no links, `goodsam runs` names the results."""
    new = link.with_name(f"{uuid.uuid4().hex}.partial")
    with suppress(OSError):
        new.symlink_to(target, target_is_directory=True)
        if link.is_dir() and not link.is_symlink():
            put_in_place(link, link.with_name(f"{link.name}.copied"))
        new.replace(link)
    with suppress(OSError):
        new.unlink(missing_ok=True)


def run_folders(cache: Path) -> list[Path]:
    """The folders of a cache's runs, by name."""
    folders = cache.iterdir() if cache.is_dir() else ()
    begun = ("teacher.json", RECORD, "log.jsonl")
    return sorted(folder for folder in folders
                  if folder.name not in RESERVED and any((folder / name).is_file() for name in begun))  # fmt: skip


def open_run(recipe: str, cache: Path | None = None, overrides: tuple[str, ...] = ()) -> Run:
    """The run of a recipe, which need not have begun; its paths are made absolute.

    Args:
        recipe: name or path, as for `open_recipe`.
        cache: the folder that holds the runs; None is the folder `cache` beside the recipe's file, for built-in recipes
            in the current folder. The `recipe.toml` that a run recorded stands for that run, and a recipe beside that
            for one of the same cache.
        overrides: `key=value`.

    Raises:
        RecipeError: as `open_recipe`.
    """
    table = dataclasses.asdict(open_recipe(recipe, overrides))
    opened = parse_recipe(anchored(table, Path.cwd()))  # a cluster's workers may be in another folder
    refuse_reserved(opened.name)
    return Run(opened, (cache or _cache_of(_file_of(recipe))) / opened.name)


def refuse_reserved(name: str) -> None:
    """Refuse a name that no run may have.

    Raises:
        RecipeError: it is one.
    """
    if name in RESERVED:
        raise RecipeError(f"name is {name!r}", "the cache has a folder of that name, which all runs share",
                          "Choose another name")  # fmt: skip


def _cache_of(file: Path | None) -> Path:
    """The folder that holds the runs of a recipe's file; of built-in recipes for None."""
    if file is None:
        return HERE
    folder = file.absolute().parent
    is_of_run = (folder / RECORD).is_file() and (folder / "log.jsonl").is_file()
    # Beside the record: earlier versions began anew in a cache there.
    is_beside = (folder.parent / STORE).is_dir() and not (folder / "cache").exists()
    return folder.parent if is_of_run and (file.name == RECORD or is_beside) else file.parent / "cache"


def run_left_in_current_folder(run: Run) -> str:
    """A sentence on the run of the same name in the current folder's cache, if that has begun and `run` has not."""
    other = Run(run.recipe, HERE / run.recipe.name)
    if run.manifest.exists() or not other.manifest.exists():
        return ""
    return (f"this run belongs in {run.folder}, next to its recipe, which has no teacher cache; "
            f"{other.folder} in the current folder has one: --cache {HERE} continues with that")  # fmt: skip


def refuse_old_layout(folder: Path) -> None:
    """Refuse to work on a run that has a store of its own, as before runs shared one: what that holds would silently be
    computed again.

    Args:
        folder: the run's.

    Raises:
        CacheError: it is one.
    """
    if (folder / "teacher.zarr").exists():
        raise CacheError(f"{folder} has a store of its own, as earlier versions made it",
                         "all runs of a cache share one store, and old stores cannot be read",
                         f"Delete {folder / 'teacher.zarr'} and run `goodsam teacher-cache`"
                         )  # fmt: skip
