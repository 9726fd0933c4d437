"""Download SAM's checkpoints: resumable, with progress, checked against their hashes."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from pipeline.errors import WeightsError
from pipeline.settings import file_digest
from stages.claims import exclusive_lock
from stages.events import Listener, Note, StageAdvanced, StageFinished, StageStarted

STAGE = "fetch-weights"
_SAM = "https://dl.fbaipublicfiles.com/segment_anything"


@dataclass(frozen=True)
class Checkpoint:
    """Published weights of a SAM."""

    name: str
    """Of the file."""
    sha256: str
    """First digits of its hash."""
    folder: str = _SAM
    """Address of the folder that has it."""


CHECKPOINTS = {
    "vit_t": Checkpoint("mobile_sam.pt", "6dbb90", "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights"),
    "vit_b": Checkpoint("sam_vit_b_01ec64.pth", "01ec64"),
    "vit_l": Checkpoint("sam_vit_l_0b3195.pth", "0b3195"),
    "vit_h": Checkpoint("sam_vit_h_4b8939.pth", "4b8939"),
}
"""By the `sam.model` that takes them."""
_BLOCK = 1 << 20
_MIB = 1 << 20


@dataclass(frozen=True)
class _Download:
    url: str
    sha256: str
    target: Path

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")


def fetch(name: str, folder: Path, listener: Listener, *, base_url: str = "") -> Path:
    """Download one checkpoint into `folder` and return its path; an existing one is only checked.

    An interrupted download is kept as `.partial` and resumed. A file with another SHA-256 is never put in place.

    Raises:
        WeightsError: unknown name, server or network failure, or a wrong hash.
        CacheError: the folder cannot be made, or another process is fetching the same checkpoint into it.
    """
    if name not in CHECKPOINTS:
        raise WeightsError(
            f"{name!r} is not a known checkpoint", f"known are {', '.join(CHECKPOINTS)}", "Choose one of them"
        )
    known = CHECKPOINTS[name]
    job = _Download(f"{(base_url or known.folder).rstrip('/')}/{known.name}", known.sha256, folder / known.name)
    with exclusive_lock(folder, f"{STAGE} {name}"):
        return _fetch(job, listener)


def _fetch(job: _Download, listener: Listener) -> Path:
    started = time.monotonic()
    if job.target.exists():
        _check(job.target, job)
        listener(Note(STAGE, f"{job.target} already exists and its hash matches"))
        return job.target
    _download(job, listener)
    _check(job.partial, job)
    job.partial.replace(job.target)
    listener(StageFinished(STAGE, time.monotonic() - started, {"file": str(job.target)}))
    return job.target


def _download(job: _Download, listener: Listener) -> None:
    received = job.partial.stat().st_size if job.partial.exists() else 0
    try:
        request = urllib.request.Request(job.url, headers={"Range": f"bytes={received}-"} if received else {})
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.status != 206:
                received = 0
            total = received + int(response.headers.get("Content-Length") or 0)
            _copy(response, job.partial, received, total, listener)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, the partial file is complete
            raise WeightsError(f"{job.url} cannot be downloaded ({error.code} {error.reason})",
                               "the server must have the checkpoint",
                               "Check --base-url") from error  # fmt: skip
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an invalid address
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"the download of {job.url} was interrupted ({reason})",
                           "it needs a server at that address, a connection and free disk space",
                           "Run the command again; it resumes where it stopped") from error  # fmt: skip


def _copy(response: IO[bytes], partial: Path, received: int, total: int, listener: Listener) -> None:
    listener(StageStarted(STAGE, total // _MIB, "MiB"))
    with partial.open("ab" if received else "wb") as file:
        while block := response.read(_BLOCK):
            started = time.monotonic()
            file.write(block)
            received += len(block)
            listener(StageAdvanced(STAGE, received // _MIB, "", time.monotonic() - started))
    if received < total:
        raise OSError(f"{received} of {total} bytes received")


def _check(path: Path, job: _Download) -> None:
    digest, name = file_digest(path), job.target.name
    if not digest.startswith(job.sha256):
        wrong = path.with_name(f"{name}.wrong")
        path.replace(wrong)
        raise WeightsError(f"{name} has the SHA-256 {digest[:6]}..., and was moved to {wrong.name}",
                           f"its SHA-256 must start with {job.sha256}", "Download it again")  # fmt: skip
