"""SegFormers by their own type: what builds students may return any network of transformers."""

from __future__ import annotations

from transformers import PreTrainedModel, SegformerForSemanticSegmentation

from pipeline.classes import LabelSet
from pipeline.student.config import StudentConfig
from pipeline.student.model import start_student


def segformer(config: StudentConfig, label_set: LabelSet) -> SegformerForSemanticSegmentation:
    """`start_student` of a SegFormer."""
    return as_segformer(start_student(config, label_set).model)


def as_segformer(model: PreTrainedModel) -> SegformerForSemanticSegmentation:
    """The network, which is a SegFormer."""
    assert isinstance(model, SegformerForSemanticSegmentation)
    return model
