"""Real panoramas, photographs and a real network: not part of the project, tested with where they are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get("GOODSAM_DATA", ROOT.parent / "shared" / "data"))
"""Holds panoramas/*.jpg, machine_labels/*.png, camvid/val/images/*.jpg and assistant/*.onnx, or is not there."""
