"""GoodSAM from Python: the commands and their results as a few functions.

    import goodsam

    run = goodsam.open_run("my.toml")          # a recipe and the folder of its run
    goodsam.teacher_cache(run)                 # stage one
    student = goodsam.load_student(goodsam.distill(run))
    labels_HW, probabilities_Chw = student.predict("street.jpg")

The command line is made of the same functions. They import what they need when they are called: `import goodsam` takes
hundredths of a second. Errors that a user can mend are `GoodSAMError`, with `found`, `expected` and `remedy`.

What stands behind them are the packages `stages` (runs, files, devices) and `pipeline` (arrays in, arrays out).

Legend: C classes, H W picture, h w the network's own resolution, M masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from goodsam import own_packages as own_packages  # first: it refuses other packages of the names that follow
from goodsam.before import doctor, init, plan, status
from goodsam.fitting import adapt, tune
from goodsam.handing_over import export_onnx, import_labels
from goodsam.listening import heard
from goodsam.outputs import export, report
from pipeline import __version__
from pipeline.errors import GoodSAMError

if TYPE_CHECKING:
    from goodsam.student import ImageOrPath, Prediction, Student
    from pipeline.teacher.masks import MaskSet
    from stages.evaluate import Evaluation
    from stages.events import Listener
    from stages.models import Model
    from stages.predict import PredictSummary
    from stages.runs import Run
    from stages.teacher_cache import CacheSummary

__all__ = [
    "GoodSAMError",
    "ImageOrPath",
    "Prediction",
    "Student",
    "__version__",
    "adapt",
    "distill",
    "doctor",
    "evaluate",
    "export",
    "export_onnx",
    "import_labels",
    "init",
    "load_student",
    "masks",
    "open_run",
    "plan",
    "predict",
    "report",
    "status",
    "teacher_cache",
    "tune",
]


def __getattr__(name: str) -> object:
    """The types of `goodsam.student`, imported (with numpy) when they are asked for."""
    if name in ("ImageOrPath", "Prediction", "Student"):
        from goodsam import student

        return getattr(student, name)
    raise AttributeError(f"module 'goodsam' has no attribute {name!r}")


def open_run(recipe: str | Path, cache: str | Path | None = None, settings: Iterable[str] = ()) -> Run:
    """The run of a recipe: its settings (`recipe`), and the folder of its results (`folder`). Nothing is computed.

    Args:
        recipe: a built-in recipe's name (demo, goodsam, street), or the path of a TOML file.
        cache: folder of the runs; None: `cache` beside the recipe's file, or in the current folder for built-in ones.
        settings: those that differ, as after `--set`: `["data.limit=5", "fusion.theta=0.6"]`.

    Raises:
        RecipeError: there is no such recipe, or a setting is refused.
    """
    from stages.runs import open_run as opened

    return opened(str(recipe), Path(cache) if cache is not None else None, tuple(settings))


def teacher_cache(
    run: Run,
    listener: Listener | None = None,
    *,
    workers: int = 0,
    scheduler: str = "",
    device: str = "auto",
    threads: int = 1,
) -> CacheSummary:
    """Stage one: SAM and assistant over every panorama of a run, fused and cached. A rerun does only what is missing.

    Args:
        run: as `open_run` gives it.
        listener: called with every event (`stages.events`); None: as on the command line, progress on the standard
            error and every event in the run's log.jsonl.
        workers: processes on this machine; 0 works in this one.
        scheduler: address of a running dask scheduler (tcp://host:port), instead of workers.
        device: cpu, cuda, cuda:1, or auto (cuda where there is one).
        threads: of torch, per process; on a CPU, workers are the better use of cores.

    Returns:
        How many panoramas were computed now (`computed`) of how many (`total`), and those set aside (`failed`: name ->
        reason).

    Raises:
        InputError: there are no panoramas, or none could be used.
        WeightsError: SAM's or the assistant's weights are missing, broken, or of another kind.
        GoodSAMError: see its message.
    """
    from stages.demo_world import world_needed

    with heard(listener, run.folder) as hearing, world_needed(run):
        from stages.teacher_cache import teacher_cache as stage

        return stage(run, hearing, workers=workers, scheduler=scheduler, device=device, threads=threads)


def distill(run: Run, listener: Listener | None = None, *, device: str = "auto", track: Sequence[str] = ()) -> Path:
    """Stage two: train the student of a run from its cache. A killed training resumes from its last checkpoint.

    Processes that `torchrun` has started train it together; the listener is that of the first.

    Args:
        run: one whose stage one has run.
        listener: as for `teacher_cache`.
        device: as for `teacher_cache`.
        track: which of wandb, mlflow and trackio get the curves too, offline, beside TensorBoard's.

    Returns:
        The folder of the finished student, for `load_student` and `predict`.

    Raises:
        CacheError: the cache has nothing of this recipe, or another process trains the same student.
        InputError: there are no panoramas, or a tracker is unknown or not installed.
        GoodSAMError: see its message.
    """
    from stages import torchrun
    from stages.demo_world import world_needed
    from stages.events import silent
    from stages.splits import require_learning_folder
    from stages.trackers import require_trackers

    told = listener if torchrun.rank() == 0 else silent
    with heard(told, run.folder) as hearing, world_needed(run):
        require_learning_folder(run.recipe)
        require_trackers(track)
        from stages.devices import choose_device  # last: torch and transformers take seconds of a processor
        from stages.distill import distill as stage

        return stage(run, hearing, device=choose_device(device), trackers=track)


def evaluate(run: Run, listener: Listener | None = None, *, device: str = "auto") -> Evaluation:
    """Measure a run, from the assistant alone to the student; write tables and overlay pictures.

    Args:
        run: one whose stage one has run; without a finished student, stage one alone is measured.
        listener: as for `teacher_cache`.
        device: as for `teacher_cache`.

    Returns:
        `metrics` (what metrics.json holds; shares are 0 to 1), `table` (text) and `folder`.

    Raises:
        InputError: there are no panoramas to measure on, or a label map cannot be used.
        CacheError: the cache has nothing of this recipe.
        GoodSAMError: see its message.
    """
    from stages.demo_world import world_needed
    from stages.splits import require_evaluation_folder

    with heard(listener, run.folder) as hearing, world_needed(run):
        require_evaluation_folder(run.recipe)
        from stages.devices import choose_device  # last, as in `distill`
        from stages.evaluate import evaluate as stage
        from stages.measure_corrections import measure_corrections

        chosen = choose_device(device)
        evaluation = stage(run, hearing, device=chosen)
        corrections = measure_corrections(run, evaluation.student, hearing, chosen)
        return replace(evaluation, corrections=corrections)


def predict(
    panoramas: str | Path,
    out: str | Path,
    model: str | Path | Model,
    listener: Listener | None = None,
    *,
    recipe: str = "street",
    label_set: str = "",
    width: int | None = None,
    vertical_fov: float | None = None,
    ignore_mask: str = "",
    ignore_border: bool = True,
    level: bool = True,
    positions: str | Path | None = None,
    overlays: bool = True,
    overwrite: bool = False,
    workers: int = 0,
    device: str = "auto",
) -> PredictSummary:
    """Write label maps, overlays and tables of a folder of panoramas. A rerun does only what is missing or changed.

    Args:
        panoramas: a folder, nested or flat, or a picture.
        out: folder for `labels/`, `overlays/` and the tables; not inside `panoramas`.
        model: a student's folder or its ONNX file; or any semantic network: a folder or name on the Hugging Face hub,
            or another ONNX file; or `demo`, the embedded small network, to try things.
        listener: as for `teacher_cache`; the log is in `out`.
        recipe: whose windows and views a network is shown that is no student.
        label_set: classes of such a network where it does not name them.
        width: working width, pixels; None: as in the student's training or the recipe.
        vertical_fov: vertical field of view of the panoramas, degrees, below 180 for bands; None: as in training.
        ignore_mask: an image whose non-zero pixels are ignored, or a folder with one per camera.
        ignore_border: whether to ignore a black border, where no camera looked.
        level: whether to level pictures whose GPano tags call the camera tilted.
        positions: a CSV of where panoramas were taken, before their EXIF.
        overlays: whether to write pictures of the labels over the panoramas.
        overwrite: whether to predict finished panoramas anew.
        workers: processes on this machine, each with the network; 0 works in this one.
        device: as for `teacher_cache`.

    Returns:
        How many were predicted now (`done`) and before (`skipped`), and those set aside (`failed`: name -> reason).

    Raises:
        InputError: there are no panoramas, none could be read, or `out` lies inside their folder.
        WeightsError: there is no such network, it cannot be loaded, or gives NaN or infinity.
        GoodSAMError: see its message.
    """
    from pipeline.panorama.config import PanoramaConfig
    from pipeline.panorama.finding import require_folder
    from stages.models import open_model

    if not Path(panoramas).is_file():
        require_folder(Path(panoramas))
    network = open_model(str(model), recipe, label_set) if isinstance(model, str | Path) else model
    usual = network.usual
    shown = PanoramaConfig(usual.width if width is None else width,
                           usual.vertical_fov if vertical_fov is None else vertical_fov,
                           ignore_mask, ignore_border, level="tags" if level else "off")  # fmt: skip
    from stages.devices import choose_device  # last, as in `distill`
    from stages.predict import PredictJob
    from stages.predict import predict as stage

    job = PredictJob(network, Path(panoramas), Path(out), shown, overlays, overwrite, choose_device(device),
                     Path(positions) if positions else None, workers)  # fmt: skip
    with heard(listener, job.out) as hearing:
        return stage(job, hearing)


def masks(
    image: ImageOrPath, recipe: str | Path = "demo", settings: Iterable[str] = (), *, device: str = "auto"
) -> MaskSet:
    """SAM's masks of one picture, without classes. The network of the last call is kept.

    Stage one shows SAM windows of a panorama, not all of it at once: cut a panorama with `pipeline.panorama.windows`
    for the same.

    Args:
        image: RGB, uint8 [H, W, 3], or the path of a picture.
        recipe: whose SAM and generator settings are used (`sam.*`); `demo` has the embedded small SAM.
        settings: those that differ, as for `open_run`: `["sam.points_per_side=16"]`.
        device: as for `teacher_cache`.

    Returns:
        M masks, best predicted IoU first, maybe none: `dense()` gives bool [M, H, W]; `boxes_M4` are (y0, x0, y1, x1),
        pixels, ends exclusive; `predicted_iou_M` and `stability_M` are SAM's own scores, float32.

    Raises:
        InputError: it is no such array, or no picture that can be read.
        RecipeError: there is no such recipe, or a setting is refused.
        WeightsError: SAM's weights are missing, broken, or of another kind.
    """
    from goodsam.student import pixels_of
    from stages.runs import open_recipe

    config = open_recipe(str(recipe), tuple(settings)).sam
    pixels_HW3 = pixels_of(image)
    from goodsam.networks import mask_source

    return mask_source(config, device).many([pixels_HW3])[0]


def load_student(folder: str | Path, *, device: str = "auto") -> Student:
    """A student, ready to predict.

    Args:
        folder: the student's, which `distill` returns (<run>/student/final), or the ONNX file of `export-onnx`; or
            `demo`, the embedded small network, to try things.
        device: as for `teacher_cache`.

    Raises:
        WeightsError: there is no student, or a broken one.
    """
    from pipeline.panorama.config import PanoramaConfig
    from stages.models import DEMO_NAME, DemoModel, OnnxStudentModel, open_student

    path = Path(folder)
    model = (
        OnnxStudentModel(path) if path.is_file() else DemoModel() if str(folder) == DEMO_NAME else open_student(path)
    )
    panorama: PanoramaConfig = model.usual
    from goodsam.student import Student
    from stages.devices import choose_device

    return Student(model.load(choose_device(device), panorama), panorama)
