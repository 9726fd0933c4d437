"""`goodsam train-assistant`: a perspective network from labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import DeviceOption


def train_assistant(
    data: Annotated[
        Path,
        typer.Argument(
            help="Root of Cityscapes, CamVid, Stanford2D3D or Structured3D; or a folder with images and labels, or "
            "with train and val that have both.",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the network, for assistant.name; must not be there yet.")],
    label_set: Annotated[
        str,
        typer.Option(help="Classes to predict: a known set, or a JSON file with id2label. Needed for plain folders."),
    ] = "",
    labels_set: Annotated[
        str, typer.Option(help="Label set of the label files, if another one; merged into --label-set.")
    ] = "",
    labels_from_one: Annotated[
        bool | None, typer.Option("--labels-from-one/--labels-from-zero", help="Ids of the label files count from 1.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="Initial weights: hub name or folder, an encoder or a whole network; or demo.")
    ] = "nvidia/mit-b5",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 40_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 4,
    crop: Annotated[int, typer.Option(min=32, help="Side of the crops, pixels, a multiple of 32.")] = 512,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 6e-5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is random.")] = 0,
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads; with one, a resumed training is exact.")] = 1,
) -> None:
    """Train a semantic network on labelled perspective pictures. A killed training resumes from its last checkpoint."""
    from stages.perspective_sources import find_source

    source = find_source(data)  # before torch, which takes seconds to import
    import torch

    from stages.devices import choose_device
    from stages.listeners import RunListeners
    from stages.train_assistant import AssistantTraining, job_of
    from stages.train_assistant import train_assistant as stage

    torch.set_num_threads(threads)
    training = AssistantTraining(start, steps, batch_size, crop, learning_rate, seed)
    job = job_of(source, training, out, label_set_name=label_set, labels_set_name=labels_set,
                 labels_from_one=labels_from_one, device=choose_device(device))  # fmt: skip
    with RunListeners(job.folder) as listener:
        trained = stage(job, listener)
    typer.echo(trained.table)
    typer.echo(f'assistant: {out} (assistant.kind = "transformers", assistant.name = "{out.absolute()}", '
               f'assistant.label_set = "{job.label_set.name}")')  # fmt: skip
