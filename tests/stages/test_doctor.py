"""The doctor names what is missing, and downloads nothing."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from stages.doctor import PROBLEM, Finding, examine, findings_text
from stages.status import run_status
from tests.stages.small_run import small_run


def test_doctor_names_missing_weights_and_where_to_get_them(own_finished: Path) -> None:
    found = examine(small_run(own_finished, sam={"model": "vit_b", "checkpoint": str(own_finished / "vit_b.pth")}))
    states = {finding.subject: finding for finding in found}
    assert states["torch"].state == states["disk"].state == "ok"
    assert states["SAM"].state == PROBLEM and "goodsam fetch-weights vit_b" in states["SAM"].text
    assert states["panoramas"].text == "4, 0 set aside"
    assert "bfloat16" in states["processor"].text
    assert findings_text(found).endswith("1 problem")


def test_doctor_names_the_package_that_mobile_sam_needs(own_finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = own_finished / "mobile_sam.pt"
    weights.write_bytes(b"weights")
    run = small_run(own_finished, sam={"model": "vit_t", "checkpoint": str(weights)})
    assert {finding.subject: finding for finding in examine(run)}["SAM"].state == "ok"
    monkeypatch.setitem(sys.modules, "timm.models.tiny_vit", None)
    found = {finding.subject: finding for finding in examine(run)}["SAM"]
    assert found.state == PROBLEM and "pip install timm" in found.text


def test_the_sha256_of_an_onnx_assistant_is_that_of_its_file(own_finished: Path) -> None:
    file = own_finished / "network.onnx"
    file.write_bytes(b"network")
    (own_finished / "preprocessor_config.json").write_text("{}")
    run = small_run(own_finished, assistant={"kind": "onnx", "name": str(file)})
    found = {finding.subject: finding for finding in examine(run)}["assistant"]
    assert found.text == f"onnx network.onnx sha256:{hashlib.sha256(b'network').hexdigest()}"
    missing = small_run(own_finished, assistant={"kind": "onnx", "name": str(own_finished / "none.onnx")})
    assert {finding.subject: finding for finding in examine(missing)}["assistant"].state == PROBLEM


def test_a_digest_of_several_files_is_not_called_the_sha256_of_one(own_finished: Path) -> None:
    found = {finding.subject: finding for finding in examine(small_run(own_finished))}["assistant"]
    assert found.text.startswith("demo assistant digest of its files ") and "sha256" not in found.text


def test_doctor_downloads_nothing(own_finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("a download"))
    recipe: dict[str, dict[str, object]] = {"assistant": {"kind": "transformers", "name": "nobody/has-this"}}
    found = {finding.subject: finding for finding in examine(small_run(own_finished, **recipe))}
    assert found["assistant"].text == "nobody/has-this is downloaded from the Hugging Face hub on first use"
    assert run_status(small_run(own_finished, **recipe)).panoramas["stale"] == 4


def test_doctor_counts_corrections_and_names_a_folder_of_them_that_is_not_there(own_finished: Path) -> None:
    def found_with(folder: str) -> dict[str, Finding]:
        return {each.subject: each for each in examine(small_run(own_finished, data={"corrections": folder}))}

    assert "corrections" not in found_with("")
    (own_finished / "corrections").mkdir()
    assert found_with(str(own_finished / "corrections"))["corrections"].text == "0"
    missing = found_with(str(own_finished / "nowhere"))["corrections"]
    assert missing.state == PROBLEM and "nowhere, which is not a folder" in missing.text
