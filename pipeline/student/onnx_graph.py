"""The student as one ONNX graph: raw RGB in, class logits out; wrapping and normalisation are inside.

Legend: B batch, C classes, H W panorama, h w the student's own resolution, 3 = RGB.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, SegformerForSemanticSegmentation

from pipeline.errors import WeightsError, first_line
from pipeline.student.any_network import to_quarter
from pipeline.student.config import WRAP
from pipeline.student.model import STRIDE, enlarged, normalise, unwrap_columns, wrap_columns

OPSET = 18
"""ONNX operator set of the files: onnxruntime 1.14 (2023) and later run it."""
INPUT, OUTPUT = "images", "logits"
"""Names of the graph's input [B, 3, H, W] and output [B, C, h, w]."""
INPUT_TYPES = {"uint8": torch.uint8, "float32": torch.float32}
"""Types of the input: uint8 RGB of 0..255, or float32 RGB of 0..1."""
MINIMUM_SIZE = (32, 64)
"""Smallest height and width: narrower panoramas could not go on over the seam by WRAP columns."""
_EXAMPLE = (2, 128, 256)
"""Batch, height and width of the images with which the network is traced; no size of the file depends on them."""


class PanoramaGraph(nn.Module):
    """The student from raw pixels to logits, as `pipeline.student.model.predict_logits` does it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C, h, w] of RGB images [B, 3, H, W]: uint8 of 0..255, or float32 of 0..1."""
        unit = images if images.is_floating_point() else images.float() / 255
        seen = enlarged(self.model, normalise(unit), wrap=True)
        wrapped = wrap_columns(seen, WRAP)  # by a number, not min(WRAP, W): tracing takes half the time
        logits = self.model(pixel_values=wrapped).logits
        if not isinstance(self.model, SegformerForSemanticSegmentation):
            logits = to_quarter(logits, wrapped.shape[-2], wrapped.shape[-1])
        return unwrap_columns(logits, WRAP // STRIDE)


def student_onnx(model: PreTrainedModel, input_type: str, facts: Mapping[str, object]) -> bytes:
    """The content of an ONNX file: the student with wrapping and normalisation, for any batch, height and width.

    Args:
        model: the student in eval mode, float32, on the CPU.
        input_type: one of INPUT_TYPES.
        facts: metadata of the file; what is no text is written as JSON.

    Raises:
        WeightsError: onnxscript is not installed, or the network cannot be exported.
    """
    _require_onnxscript()
    batch, height, width = _EXAMPLE
    example = torch.zeros(batch, 3, height, width, dtype=INPUT_TYPES[input_type])
    size = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=64), 3: torch.export.Dim("width", min=96)}
    try:
        with _silence(), torch.no_grad():
            # Guards are deferred: otherwise a plain height or width is refused, and torch tries three slower ways.
            traced = torch.export.export(PanoramaGraph(model).eval(), (example,), dynamic_shapes=(size,),
                                         prefer_deferred_runtime_asserts_over_guards=True)  # fmt: skip
            # dynamo=True is the exporter built on onnxscript. The older one gives a SegFormer other labels, silently.
            program: Any = torch.onnx.export(traced, (example,), dynamo=True, input_names=[INPUT],
                                             output_names=[OUTPUT], opset_version=OPSET, verbose=False)  # fmt: skip
        proto: Any = program.model_proto
    except Exception as error:  # torch's exporter has no common base for its errors
        if not isinstance(model, SegformerForSemanticSegmentation):
            raise WeightsError(f"a student ({model.config.model_type}) cannot be exported ({first_line(error)})",
                               "torch's exporter must support it for images of any size",
                               "Predict with its folder: `goodsam predict --model FOLDER`") from error  # fmt: skip
        raise WeightsError(f"the student cannot be exported ({first_line(error)})",
                           "torch's exporter and onnxscript must support all its layers",
                           "Install torch and onnxscript in the versions of constraints.txt") from error  # fmt: skip
    _name_sizes(proto)
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return proto.SerializeToString()


def _require_onnxscript() -> None:
    try:
        import onnxscript  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise WeightsError("onnxscript is not installed", "torch exports ONNX files with it",
                           "Run `pip install onnx onnxscript onnxruntime`") from error  # fmt: skip


def _name_sizes(proto: Any) -> None:
    """Call the free sizes batch, height and width, whatever symbols torch has given them."""
    symbols = [axis.dim_param for axis in proto.graph.input[0].type.tensor_type.shape.dim]
    names = dict(zip((symbols[0], *symbols[2:]), ("batch", "height", "width"), strict=True))
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = pattern.sub(lambda found: names[found[0]], axis.dim_param)


@contextmanager
def _silence() -> Generator[None]:
    """No warnings and logs of torch's exporter: what matters is raised, and the file is checked afterwards."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
