"""Download SAM's checkpoints: resumable, with progress, checked against the hash in their names."""

from __future__ import annotations

import re
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
BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything"
CHECKPOINTS = {
    "vit_b": "sam_vit_b_01ec64.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_h": "sam_vit_h_4b8939.pth",
}
"""SAM's published checkpoints; the last part of a name is the start of its SHA-256."""

_BLOCK = 1 << 20
_MIB = 1 << 20


@dataclass(frozen=True)
class _Download:
    url: str
    target: Path

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")


def fetch(name: str, folder: Path, listener: Listener, *, base_url: str = "") -> Path:
    """Download one checkpoint into `folder` and return its path; an existing one is only checked.

    An interrupted download is kept as `.partial` and resumed. A file whose SHA-256 does not start with the
    digits in its name is never put in place.

    Raises:
        WeightsError: unknown name, server or network failure, or a wrong hash.
        CacheError: the folder cannot be made, or another process is fetching the same checkpoint into it.
    """
    if name not in CHECKPOINTS:
        raise WeightsError(
            f"{name!r} is not a known checkpoint", f"known are {', '.join(CHECKPOINTS)}", "Choose one of them"
        )
    job = _Download(f"{(base_url or BASE_URL).rstrip('/')}/{CHECKPOINTS[name]}", folder / CHECKPOINTS[name])
    with exclusive_lock(folder, f"{STAGE} {name}"):
        return _fetch(job, listener)


def _fetch(job: _Download, listener: Listener) -> Path:
    started = time.monotonic()
    if job.target.exists():
        _check(job.target, job.target.name)
        listener(Note(STAGE, f"{job.target} already exists and its hash matches"))
        return job.target
    _download(job, listener)
    _check(job.partial, job.target.name)
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


def _check(path: Path, name: str) -> None:
    match = re.search(r"_([0-9a-f]{6})\.pth$", name)
    assert match, f"{name} carries no hash"
    digest = file_digest(path)
    if not digest.startswith(match[1]):
        wrong = path.with_name(f"{name}.wrong")
        path.replace(wrong)
        raise WeightsError(f"{name} has the SHA-256 {digest[:6]}..., and was moved to {wrong.name}",
                           f"its SHA-256 must start with {match[1]}", "Download it again")  # fmt: skip
