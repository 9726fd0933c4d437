"""What learns in stage two, and what makes it learn: the student, the features' projections, the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import SegformerForSemanticSegmentation

from pipeline.errors import RecipeError
from pipeline.finite import require_finite
from pipeline.student.average import start_average
from pipeline.student.losses import FeatureProjections
from pipeline.student.model import start_student
from pipeline.student.pooling import PooledSample
from pipeline.student.schedule import parameter_groups
from stages.distill_job import DistillJob


@dataclass(frozen=True)
class TrainState:
    """What learns, and what makes it learn."""

    model: SegformerForSemanticSegmentation
    """The student."""
    projections: FeatureProjections
    """Needed for the features' loss, not part of the student."""
    optimizer: torch.optim.AdamW
    """Its groups carry their peak learning rate under `peak`."""
    start_note: str = ""
    """Which classes the student's start does not know, for the user; may be empty."""
    average: AveragedModel | None = None
    """Average of the model over its steps; None where none is asked for."""

    @property
    def student(self) -> SegformerForSemanticSegmentation:
        """What is saved as the student, and validated: the average of the model, or the model itself."""
        return self.model if self.average is None else cast(SegformerForSemanticSegmentation, self.average.module)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [*self.model.parameters(), *self.projections.parameters()]

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        parts = {"model": self.model, "projections": self.projections, "optimizer": self.optimizer}
        averages = {} if self.average is None else {"average": self.average}
        return {name: part.state_dict() for name, part in {**parts, **averages}.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """From the checkpoint, which another kind of device may have written."""
        saved = state["optimizer"]
        both = zip(saved["param_groups"], self.optimizer.param_groups, strict=True)
        groups = [{**group, "fused": own["fused"]} for group, own in both]  # it decides where steps are counted
        self.optimizer.load_state_dict({**saved, "param_groups": groups})
        self.model.load_state_dict(state["model"])
        self.projections.load_state_dict(state["projections"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


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
    if job.losses.features and not example.features:
        raise RecipeError("losses.features is above 0, but stage one has cached no features",
                          "the loss needs features of at least one level",
                          "Set losses.features = 0, or assistant.feature_levels and run stage one again")  # fmt: skip
    channels = {level: array.shape[0] for level, array in example.features.items()} if job.losses.features else {}
    projections = FeatureProjections(model.config.hidden_sizes, channels).to(job.device).train()
    groups = parameter_groups(model, projections, job.distill)
    optimizer = torch.optim.AdamW(groups, fused=True)
    average = start_average(model, job.distill.average) if job.distill.average else None
    return TrainState(model, projections, optimizer, start.note, average)
