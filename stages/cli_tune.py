"""`goodsam tune`: settings that choose themselves without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TuneMinutes = Annotated[float, typer.Option(min=0, help="Time limit, minutes; one panorama is looked at in any case.")]
TunePanoramas = Annotated[int, typer.Option(min=1, help="Panoramas to look at, spread over the folder, at most.")]
TuneOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="File of the recipe that is written; by default my.tuned.toml beside my.toml.",
        show_default=False,
    ),
]
TuneOverwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite that file if it exists.")]
