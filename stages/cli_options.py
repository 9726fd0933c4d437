"""What commands have in common: options, and a word about what was set aside."""

from __future__ import annotations

from typing import Annotated

import typer

DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto (cuda where there is one).")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Worker processes on this machine; 0 works in this process.")]


def count_failures(failed: dict[str, str]) -> None:
    """Say how many panoramas were set aside; the listener has told each with its reason."""
    if failed:
        typer.echo(f"{len(failed)} set aside, for the reasons above", err=True)
