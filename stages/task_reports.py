"""What tasks on panoramas report, in this process or from workers, told to the listener as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from pipeline.errors import GoodSAMError
from stages.events import ItemFailed, Listener, StageAdvanced


class ItemReport(Protocol):
    """What became of one panorama."""

    @property
    def id(self) -> str:
        """The panorama."""
        ...

    @property
    def seconds(self) -> float:
        """Wall-clock time."""
        ...

    @property
    def failed(self) -> ItemFailed | None:
        """Why it was set aside; None where it was done."""
        ...

    @property
    def fatal(self) -> GoodSAMError | None:
        """What is wrong is not the panorama but the run: going on would be in vain."""
        ...


Report = TypeVar("Report", bound=ItemReport)


def follow(reports: Iterable[Report], stage: str, listener: Listener) -> Iterator[Report]:
    """Each report as it comes; what was set aside is told before, progress after it was looked at.

    Args:
        reports: of the tasks, in the order in which they end.
        stage: whose they are.
        listener: hears of them.

    Raises:
        GoodSAMError: a report is fatal.
    """
    for done, report in enumerate(reports, start=1):
        if report.fatal is not None:
            raise report.fatal
        if report.failed is not None:
            listener(report.failed)
        yield report
        listener(StageAdvanced(stage, done, report.id, report.seconds))
