"""Checks that this machine and a recipe are ready: versions, drivers, bfloat16, weights, label sets, disk, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GoodSAMError, first_line
from pipeline.recipe import Recipe
from pipeline.settings import weights_file_digest
from pipeline.teacher.config import AssistantConfig
from stages.runs import Run

OK, NOTE, PROBLEM = "ok", "note", "problem"
_NEEDED = ("torch", "torchvision", "transformers", "segment-anything", "zarr", "numpy", "pillow", "distributed")
_OPTIONAL = {
    "onnxruntime": "networks as ONNX files",
    "onnxscript": "goodsam export-onnx",
    "pycocotools": "goodsam export --format coco",
    "pillow-heif": "HEIC pictures",
    "matplotlib": "the charts of goodsam eval and report",
    "timm": "MobileSAM (sam.model = vit_t)",
}
_LEAST_FREE_GB, _LEAST_MEMORY_GB = 5.0, 4.0
_ON_FIRST_USE = "is downloaded from the Hugging Face hub on first use"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: str
    """ok, note or problem."""
    subject: str
    """What was looked at."""
    text: str
    """What was found, and what to do."""


def examine(run: Run | None = None) -> list[Finding]:
    """Look at this machine and, if given, at what a run needs.

    Args:
        run: recipe and folder; its weights are hashed, not loaded.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [_python, _packages, _processor, _gpu, _memory]
    checks += [lambda: _disk(run.cache if run else Path("cache"))]
    if run is not None:
        checks += [lambda: _recipe(run)]
    return [finding for check in checks for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check; an error inside the check is a finding too."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(PROBLEM, "doctor", f"a check failed ({type(error).__name__}: {first_line(error)})")


def _python() -> Iterator[Finding]:
    yield Finding(OK, "Python", f"{platform.python_version()} on {platform.system()} ({platform.machine()})")


def _packages() -> Iterator[Finding]:
    for name in _NEEDED:
        version = _version(name)
        if version:
            yield Finding(OK, name, version)
        else:
            yield Finding(PROBLEM, name, "is not installed; run `make setup`")
    for name, use in _OPTIONAL.items():
        version = _version(name)
        yield Finding(OK if version else NOTE, name, version or f"is not installed; it is for {use}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> Iterator[Finding]:
    import torch

    from pipeline.precision import computes_in_bfloat16

    cores = os.process_cpu_count() if sys.version_info >= (3, 13) else len(_usable_cores())
    native = computes_in_bfloat16(torch.device("cpu"))
    how = "computes in bfloat16" if native else "has no bfloat16: precision = auto is float32"
    yield Finding(OK, "processor", f"{cores} cores; it {how}")


def _usable_cores() -> set[int]:
    usable = getattr(os, "sched_getaffinity", None)
    return set(usable(0)) if usable else set(range(os.cpu_count() or 1))


def _gpu() -> Iterator[Finding]:
    import torch

    from pipeline.precision import computes_in_bfloat16

    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        memory = torch.cuda.get_device_properties(device).total_memory / 1e9
        how = "computes in bfloat16" if computes_in_bfloat16(device) else "has no bfloat16"
        yield Finding(OK, f"GPU {number}", f"{torch.cuda.get_device_name(device)}, {memory:.0f} GB; it {how}")
    if torch.cuda.device_count():
        return
    driver = _driver_version()
    if driver:
        yield Finding(PROBLEM, "GPU", f"driver {driver} sees one, torch (for CUDA {torch.version.cuda}) does not: "
                      "update its driver, or install the torch that fits it")  # fmt: skip
    else:
        yield Finding(NOTE, "GPU", "none is seen: `goodsam plan` measures how long stage one takes, and stage two "
                      "needs smaller settings (distill.batch_size, distill.crop_width)")  # fmt: skip


def _driver_version() -> str:
    """Version of the NVIDIA driver; empty where none answers."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total / 1e9, memory.available / 1e9
    enough = total >= _LEAST_MEMORY_GB
    advice = "" if enough else f"; stage one needs about {_LEAST_MEMORY_GB:.0f} GB a process"
    yield Finding(OK if enough else PROBLEM, "memory", f"{total:.1f} GB, {free:.1f} GB of them free{advice}")


def _disk(cache: Path) -> Iterator[Finding]:
    folder = cache.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        yield Finding(PROBLEM, "disk", f"{folder} cannot be written; name another cache with --cache")
    elif free < _LEAST_FREE_GB:
        yield Finding(PROBLEM, "disk", f"{free:.1f} GB are free at {folder}; `goodsam plan` says what a run takes")
    else:
        yield Finding(OK, "disk", f"{free:.1f} GB are free at {folder}")


def _recipe(run: Run) -> Iterator[Finding]:
    recipe = run.recipe
    yield Finding(OK, "recipe", f"{recipe.name}, classes {recipe.classes.name} ({len(recipe.classes)})")
    for subject, look in (("panoramas", _look_at_panoramas), ("SAM", _look_at_sam), ("assistant", _look_at_assistants),
                          ("student's start", _look_at_start), ("corrections", _look_at_corrections)):  # fmt: skip
        try:
            if found := look(recipe):
                yield Finding(OK, subject, found)
        except GoodSAMError as error:
            yield Finding(PROBLEM, subject, str(error))


def _look_at_panoramas(recipe: Recipe) -> str:
    from stages.splits import survey_splits

    found = survey_splits(recipe)
    return f"{len(found.panoramas)}, {len(found.set_aside)} set aside"


def _look_at_sam(recipe: Recipe) -> str:
    if recipe.sam.kind == "transformers" and _waits_for_download(recipe.sam.name):
        return f"{recipe.sam.name} {_ON_FIRST_USE}"
    from pipeline.teacher.identity import mask_source_identity

    identity = mask_source_identity(recipe.sam)
    if recipe.sam.kind == "transformers":
        return _of_files(identity)
    if recipe.sam.model == "vit_t":
        from pipeline.teacher.mobile_sam import tiny_vit

        tiny_vit()
    return identity


def _waits_for_download(name: str) -> bool:
    """Whether a network of the hub is not on this machine yet."""
    if Path(name).expanduser().exists():
        return False
    from huggingface_hub import try_to_load_from_cache

    return name.count("/") == 1 and not isinstance(try_to_load_from_cache(name, "config.json"), str)


def _look_at_assistants(recipe: Recipe) -> str:
    return "; ".join(map(_look_at_assistant, recipe.assistants))


def _look_at_assistant(assistant: AssistantConfig) -> str:
    if assistant.kind == "transformers" and _waits_for_download(assistant.name):
        return f"{assistant.name} {_ON_FIRST_USE}"
    from pipeline.teacher.identity import assistant_identity

    identity = assistant_identity(assistant)
    if assistant.kind != "onnx":
        return _of_files(identity)
    path = Path(assistant.name).expanduser()  # the identity has the files beside it, too
    return f"onnx {path.name} sha256:{weights_file_digest(path)}"


def _of_files(identity: str) -> str:
    """An identity for people, who must not compare a digest of several files with the SHA-256 of one."""
    return identity.replace("sha256:", "digest of its files ")


def _look_at_start(recipe: Recipe) -> str:
    if not recipe.student.weights:
        return f"random weights, size {recipe.student.size}"
    if recipe.student.weights != "demo" and _waits_for_download(recipe.student.weights):
        return f"{recipe.student.weights} {_ON_FIRST_USE}"
    from pipeline.student.model import start_identity

    return _of_files(start_identity(recipe.student, recipe.classes))


def _look_at_corrections(recipe: Recipe) -> str:
    """Their number; empty where the recipe names no folder of them."""
    from stages.corrections import find_corrections

    folder = recipe.data.corrections
    return str(len(find_corrections(folder).by_source)) if folder else ""


def findings_text(findings: list[Finding]) -> str:
    """The findings for a terminal, problems last."""
    order = {OK: 0, NOTE: 1, PROBLEM: 2}
    ordered = sorted(findings, key=lambda finding: order[finding.state])
    lines = [f"{finding.state:<8} {finding.subject}: {finding.text}" for finding in ordered]
    problems = sum(finding.state == PROBLEM for finding in findings)
    return "\n".join([*lines, f"{problems} problem{'s' * (problems != 1)}"])
