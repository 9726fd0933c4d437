"""Identities of the teacher's networks, from the content of their files, without loading them or their libraries.

A rerun that finds everything done, and stage two, need no more of SAM and the assistant than these.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pipeline.errors import WeightsError
from pipeline.pretrained import DEMO, find_network, network_digest, settings_file
from pipeline.settings import digest_of, weights_file_digest
from pipeline.teacher.config import FIRST_ASSISTANT, AssistantConfig, SamConfig

DEMO_FOLDER = DEMO / "assistant"
"""The embedded demo assistant."""
DEMO_WEIGHTS = DEMO / "sam.pth"
"""Weights of the embedded demo SAM, half precision."""
SAM_NAME = "sam.name"
"""The setting that names a promptable network of transformers."""
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]*[\x00-\x7f])", re.DOTALL)
"""Precedes the name of a file of weights in ONNX's protobuf: the key, then the name's length as a varint."""


def assistant_identity(config: AssistantConfig) -> str:
    """`Assistant.identity` of the network that `config` names, without loading it.

    Raises:
        WeightsError: it is missing.
    """
    key = config.setting_names.name
    if config.kind == "onnx":
        return onnx_identity(config.name, key)
    if config.kind == "demo":
        return identity_of_folder(str(DEMO_FOLDER), DEMO_FOLDER, "demo")
    return identity_of_folder(config.name, find_network(config.name, key), "transformers")


def identity_of_folder(name: str, folder: Path, kind: str) -> str:
    """The identity of the network that `name` stands for, whose files lie in `folder`."""
    return f"{kind} {folder.name if Path(name).expanduser().is_dir() else name} {network_digest(folder)}"


def onnx_identity(name: str, key: str = FIRST_ASSISTANT.name) -> str:
    """The identity of the assistant that `load_onnx` would give.

    Args:
        name: path of the file.
        key: the setting that holds `name`, for messages.

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(name).expanduser()
    require_onnx_file(path, key)
    settings = settings_file(path.parent)
    files = {path, *_weight_files(path), *([settings] if settings else [])}
    return f"onnx {path.name} sha256:{digest_of(sorted(files))}"


def require_onnx_file(path: Path, key: str) -> None:
    """Refuse an ONNX file that does not exist, by the setting that holds it.

    Raises:
        WeightsError: it does not exist.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file", f"{key} is an ONNX file", f"Correct {key}")


def mask_source_identity(config: SamConfig) -> str:
    """`MaskSource.identity` of what `config` names, without loading it.

    Raises:
        WeightsError: its weights are missing.
    """
    if config.kind == "transformers":
        return identity_of_folder(config.name, find_network(config.name, SAM_NAME), "transformers")
    return f"{config.kind} {config.model} sha256:{weights_digest(config)}"


def weights_path(config: SamConfig) -> Path:
    """File of SAM's weights: the checkpoint, or the embedded demo's."""
    return DEMO_WEIGHTS if config.model == "demo" and not config.checkpoint else Path(config.checkpoint)


def weights_digest(config: SamConfig) -> str:
    """SHA-256 of the file of SAM's weights, for fingerprints.

    Raises:
        WeightsError: the file is missing or unreadable.
    """
    path = weights_path(config)
    try:
        return weights_file_digest(path)
    except OSError as error:
        raise unreadable_weights(path, config.model, error) from error


def unreadable_weights(path: Path, model: str, error: OSError) -> WeightsError:
    """The error for a checkpoint that the system cannot read."""
    fetch = f"`goodsam fetch-weights {model} --out {shlex.quote(str(path.parent))}` downloads it"
    remedy = "Check sam.checkpoint" if model in ("demo", "SAM") else fetch
    return WeightsError(f"{path} cannot be read ({error.strerror})", f"it must be the checkpoint of {model}", remedy)


def _weight_files(path: Path) -> list[Path]:
    """The existing files that an ONNX file names for external weights.

    They are found in its bytes, so that the onnx package is not needed.
    """
    content, found = path.read_bytes(), list[Path]()
    for match in _LOCATION.finditer(content):
        length = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(match[1]))
        location = content[match.end() : match.end() + length].decode(errors="replace").replace("\0", "")
        if location and (path.parent / location).is_file():
            found.append(path.parent / location)
    return found
