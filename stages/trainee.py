"""What learns in stage two, and what makes it learn: the student, the features' projections, the optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel

from pipeline.errors import RecipeError
from pipeline.finite import require_finite
from pipeline.student.any_network import require_fit
from pipeline.student.config import TRAINING_WRAP, WRAP
from pipeline.student.losses import FeatureProjections
from pipeline.student.model import start_student
from pipeline.student.network_pass import LEVEL_STRIDES, pass_through
from pipeline.student.pooling import PooledSample
from pipeline.student.schedule import parameter_groups
from stages.distill_job import DistillJob
from stages.training_loop import Parts


@dataclass(frozen=True)
class TrainState:
    """What learns, and what makes it learn."""

    model: PreTrainedModel
    """The student."""
    projections: FeatureProjections
    """Needed for the features' loss, not part of the student."""
    optimizer: torch.optim.AdamW
    """Its groups carry their peak learning rate under `peak`."""
    start_note: str = ""
    """Which classes the student's start does not know, for the user; may be empty."""
    average: AveragedModel | None = None
    """Exponential moving average of the model over its steps (ours, `distill.average`); None where none is asked for.
    Single steps of a small batch pull the weights to and fro, and it does not follow; the training never sees it."""

    @property
    def student(self) -> PreTrainedModel:
        """What is saved as the student, and validated: the average of the model, or the model itself."""
        return self.model if self.average is None else cast(PreTrainedModel, self.average.module)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [*self.model.parameters(), *self.projections.parameters()]

    @property
    def parts(self) -> Parts:
        """What a checkpoint has of it."""
        parts = {"model": self.model, "projections": self.projections, "optimizer": self.optimizer}
        return parts if self.average is None else {**parts, "average": self.average}


def prepare(job: DistillJob, example: PooledSample) -> TrainState:
    """The student, the projections that the example's features need, and their optimiser, at the very beginning.

    Raises:
        WeightsError: the start cannot be loaded, or has weights that are no numbers.
        RecipeError: there are no features for their loss.
    """
    torch.manual_seed(job.seed)
    start = start_student(job.student, job.label_set)
    model = start.model
    for parameter in model.parameters():
        require_finite(parameter, f"the student's start {job.student.weights or job.student.size}")
    nn.Module.to(model, torch.device(job.device)).train()
    if job.student.kind == "transformers":
        height, width = example.image_HW3.shape[:2]
        columns = job.distill.columns_of_step(width)
        learned_width = columns if columns < width else width + 2 * TRAINING_WRAP
        require_fit(model, height, learned_width, job.distill.batch_size, width + 2 * WRAP)
    if job.losses.features and not example.features:
        raise RecipeError("losses.features is above 0, but stage one has cached no features",
                          "the loss needs features of at least one level",
                          "Set losses.features = 0, or set assistant.feature_levels and run `goodsam teacher-cache` "
                          "again")  # fmt: skip
    channels = {level: array.shape[0] for level, array in example.features.items()} if job.losses.features else {}
    own_channels = _channels_of_levels(job, model, example) if channels else ()
    projections = FeatureProjections(own_channels, channels).to(job.device).train()
    groups = parameter_groups(model, projections, job.distill)
    optimizer = torch.optim.AdamW(groups, fused=True)
    average = None
    if decay := job.distill.average:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return TrainState(model, projections, optimizer, start.note, average)


def _channels_of_levels(job: DistillJob, model: PreTrainedModel, example: PooledSample) -> tuple[int, ...]:
    """Channels of the student's levels 1..4.

    Raises:
        RecipeError: it has no such levels.
    """
    if job.student.kind == "segformer":
        return tuple(model.config.hidden_sizes)
    height = example.image_HW3.shape[0]
    pixels = torch.zeros(1, 3, height, 2 * TRAINING_WRAP, device=torch.device(job.device))
    model.eval()
    with torch.inference_mode():
        levels = pass_through(model, pixels)[1]
    model.train()
    if not levels:
        strides = ", ".join(map(str, LEVEL_STRIDES))
        raise RecipeError(f"losses.features is above 0, but the student's network ({model.config.model_type}) has no "
                          "feature maps to compare with the assistant's",
                          f"the loss needs feature maps of strides {strides}",
                          "Set losses.features = 0")  # fmt: skip
    return tuple(level.shape[1] for level in levels)
