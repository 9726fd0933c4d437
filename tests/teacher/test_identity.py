"""Identities of networks follow the content of their files, without loading them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import WeightsError
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.identity import assistant_identity, mask_source_identity, onnx_identity


def onnx_file(folder: Path, *locations: str) -> Path:
    """Bytes as ONNX's protobuf writes the places of external weights."""
    entries = (b"\x0a\x08location\x12" + bytes([len(name)]) + name.encode() for name in locations)
    path = folder / "network.onnx"
    path.write_bytes(b"model" + b"".join(entries) + b"end")
    return path


def test_the_demos_networks_have_identities_without_heavy_imports() -> None:
    code = (
        "import sys\n"
        "from pipeline.teacher.config import AssistantConfig, SamConfig\n"
        "from pipeline.teacher.identity import assistant_identity, mask_source_identity\n"
        "print(assistant_identity(AssistantConfig()), mask_source_identity(SamConfig()))\n"
        "assert not {'torch', 'transformers', 'segment_anything'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo assistant sha256:") and " sam demo sha256:" in done.stdout


def test_kinds_of_mask_sources_have_identities_of_their_own() -> None:
    ours, stock = (mask_source_identity(SamConfig(kind=kind)) for kind in ("sam", "stock"))
    assert ours.split()[1:] == stock.split()[1:] and ours != stock


@pytest.mark.parametrize("changed", ["network.onnx", "weights.bin", "preprocessor_config.json"])
def test_all_files_of_an_onnx_network_count(tmp_path: Path, changed: str) -> None:
    path = onnx_file(tmp_path, "weights.bin", "not there.bin")
    for name in ("weights.bin", "preprocessor_config.json", "other.txt"):
        (tmp_path / name).write_text("one")
    before = onnx_identity(str(path))
    (tmp_path / "other.txt").write_text("two")
    assert onnx_identity(str(path)) == before
    with (tmp_path / changed).open("ab") as file:
        file.write(b"more")
    assert onnx_identity(str(path)) != before
    assert onnx_identity(str(path)) == assistant_identity(AssistantConfig(kind="onnx", name=str(path)))


def test_missing_weights_are_refused_with_the_way_to_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"sam_b\.pth cannot be read .*`goodsam fetch-weights vit_b --out"):
        mask_source_identity(SamConfig(model="vit_b", checkpoint=str(tmp_path / "sam_b.pth")))
    with pytest.raises(WeightsError, match=r"none\.onnx is not a file"):
        onnx_identity(str(tmp_path / "none.onnx"))
