"""Who hears the events of a function: the caller's listener, or those of the command line."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.events import Listener


def heard(listener: Listener | None, folder: Path) -> AbstractContextManager[Listener]:
    """The listener that was given; else progress on the standard error, and every event in the folder's log.jsonl."""
    if listener is not None:
        return nullcontext(listener)
    from stages.listeners import RunListeners

    return RunListeners(folder)


def shown(listener: Listener | None) -> AbstractContextManager[Listener]:
    """The listener that was given; else progress on the standard error."""
    if listener is not None:
        return nullcontext(listener)
    from stages.listeners import ProgressConsole

    return closing(ProgressConsole())
