"""Networks of transformers: found in a folder or on the Hugging Face hub, identified by content, loaded quietly.

torch, transformers and huggingface_hub are imported where they are used: identifying a network in a folder needs none
of them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import WeightsError, counted, first_few, first_line
from pipeline.settings import digest_of

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours (RGB in [0, 1]), by which most networks want pixels normalised."""
DEMO = Path(__file__).resolve().parent / "demo"
"""Folder of the embedded demo networks."""
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files that may state how a network's pixels are prepared; the first that exists counts."""
_SETTINGS = ("config.json", *PROCESSOR_FILES)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_INDEX = ("*.safetensors.index.json", "pytorch_model*.bin.index.json")


def find_network(name: str, key: str) -> Path:
    """The folder of a network's files.

    Args:
        name: a folder, or a name on the hub; its files are kept in huggingface_hub's cache and found there offline
            afterwards.
        key: the setting that holds `name`, for messages.

    Raises:
        WeightsError: there is no such folder, and the hub cannot give it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.startswith((".", "~", "/")) or name.count("/") > 1:
        raise WeightsError(f"{name} is not a folder", f"{key} is a folder or a name on the Hugging Face hub",
                           f"Correct {key}")  # fmt: skip
    return _download(name, key)


def network_name(name: str) -> str:
    """What a person calls a network, given its name on the hub or its path: no folder of this machine is in it."""
    path = Path(name).expanduser()
    if not path.is_absolute() and not path.exists():
        return name
    return path.parent.name if path.name == "final" else path.name  # final: a run's, whose folder has the name


def network_digest(folder: Path) -> str:
    """Identifies the network in a folder by the content of its files: `sha256:` and hexadecimal digits."""
    files = [path for pattern in (*_SETTINGS, *_WEIGHTS) for path in folder.glob(pattern)]
    return f"sha256:{digest_of(files)}"


def settings_file(folder: Path) -> Path | None:
    """The file of a folder that states how the network's pixels are prepared; None if there is none."""
    return next((folder / name for name in PROCESSOR_FILES if (folder / name).is_file()), None)


def load_complete(auto_class: Any, folder: Path, name: str, key: str, kind: str, whole: str) -> torch.nn.Module:
    """The network of a folder with all of its weights, float32, in evaluation mode, without gradients.

    Args:
        auto_class: class of transformers whose `from_pretrained` loads it.
        folder: the network's files.
        name: what the user calls it, for messages.
        key: the setting that holds `name`, for messages.
        kind: what it must be, for messages.
        whole: what a complete one has, for messages.

    Raises:
        WeightsError: it cannot be loaded, or lacks weights.
    """
    import torch

    try:
        with quiet():
            network, report = auto_class.from_pretrained(
                folder, output_loading_info=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32
            )
    except Exception as error:  # json, pickle, safetensors and torch raise errors of any class
        found = f"{name} cannot be loaded ({first_line(error)})"
        raise WeightsError(found, f"it must be {kind}", remedy(key)) from error
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers
        raise lacking_weights(name, missing, whole, remedy(key))
    return network.eval().requires_grad_(False)


def lacking_weights(
    name: object,
    missing: Sequence[str],
    expected: str = "it must have all weights of the network",
    remedy: str = "Download the weights again, or choose others",
) -> WeightsError:
    """The error for a network, by what the user calls it, that lacks weights of these names."""
    return WeightsError(f"{name} lacks {counted(len(missing), 'weight tensor')} ({first_few(missing)})", expected,
                        remedy)  # fmt: skip


def remedy(key: str) -> str:
    """What to do about a network that a setting does not name rightly."""
    return f"Check {key}: a folder written by save_pretrained, or a name on the Hugging Face hub"


@contextmanager
def quiet() -> Generator[None]:
    """Without progress bars and loading reports of transformers: what matters is raised as an error."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _download(name: str, key: str) -> Path:
    """The hub's snapshot of a network; safetensors where the hub has them, else PyTorch's own format."""
    folder = _snapshot(name, key, (*_SETTINGS, "*.safetensors", *_INDEX))
    return folder if any(folder.glob("*.safetensors")) else _snapshot(name, key, (*_SETTINGS, *_WEIGHTS, *_INDEX))


def _snapshot(name: str, key: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client has no common base class of errors
        raise WeightsError(f"{name} cannot be loaded ({first_line(error)})",
                           "the Hugging Face hub must have it and be reachable, or it must be in the hub's cache",
                           remedy(key)) from error  # fmt: skip
