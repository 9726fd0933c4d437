"""Assistants by hub name, from a server on this machine that speaks the part of the hub's protocol that is needed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.classes import DENSEPASS_13
from pipeline.errors import WeightsError
from pipeline.pretrained import network_digest
from pipeline.student.config import StudentConfig
from pipeline.student.model import start_identity
from pipeline.teacher.assistant_transformers import load_transformers
from tests.student.segformers import segformer

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/segformer"
IMAGES = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)


@dataclass
class Hub:
    """Files of one repository and what was asked for."""

    folder: Path
    downloads: list[str] = field(default_factory=list[str])

    def tree(self) -> list[dict[str, object]]:
        files = sorted(path for path in self.folder.iterdir())
        return [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": etag(p)} for p in files]


def etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *request: object) -> None:
        self.hub = hub
        super().__init__(*request)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.split("?")[0]
        if path == f"/api/models/{NAME}/revision/main":
            self.send({"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": f["path"]} for f in self.hub.tree()]})
        elif path == f"/api/models/{NAME}/tree/{COMMIT}":
            self.send(self.hub.tree())
        elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
            self.send_file(self.hub.folder / path.rsplit("/", 1)[1], with_body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, path: Path, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{etag(path)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        if with_body:
            self.hub.downloads.append(path.name)
            self.wfile.write(path.read_bytes())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository, in the place of the real one, and an empty cache."""
    (tmp_path / "repository").mkdir()
    hub = Hub(tmp_path / "repository")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield hub
    server.shutdown()
    server.server_close()


def network() -> SegformerForSemanticSegmentation:
    torch.manual_seed(0)
    return SegformerForSemanticSegmentation(
        SegformerConfig(hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8,
                        id2label=dict(enumerate(DENSEPASS_13.names)))
    ).eval()  # fmt: skip


def expected_logits() -> torch.Tensor:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = ((torch.from_numpy(IMAGES) / 255 - mean) / deviation).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network()(inputs).logits


def test_a_hub_name_is_downloaded_once_and_identified_by_its_content(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network().save_pretrained(hub.folder)
    (hub.folder / "tf_model.h5").write_bytes(b"another framework's")
    assistant = load_transformers(NAME, DENSEPASS_13, CPU)
    network().save_pretrained(tmp_path / "copy")
    assert assistant.identity == f"transformers {NAME} {network_digest(tmp_path / 'copy')}"
    torch.testing.assert_close(assistant(IMAGES).logits_KChw, expected_logits(), atol=1e-5, rtol=1e-5)
    assert sorted(hub.downloads) == ["config.json", "model.safetensors"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_transformers(NAME, DENSEPASS_13, CPU).identity == assistant.identity
    assert len(hub.downloads) == 2


def test_a_hub_repository_without_safetensors_gives_pytorchs_own_format(hub: Hub) -> None:
    network().config.save_pretrained(hub.folder)
    torch.save(network().state_dict(), hub.folder / "pytorch_model.bin")
    assistant = load_transformers(NAME, DENSEPASS_13, CPU)
    torch.testing.assert_close(assistant(IMAGES).logits_KChw, expected_logits(), atol=1e-5, rtol=1e-5)


def test_a_name_that_the_hub_does_not_have_is_refused_in_one_sentence(hub: Hub) -> None:
    with pytest.raises(WeightsError, match="someone/else cannot be loaded") as refusal:
        load_transformers("someone/else", DENSEPASS_13, CPU)
    assert "\n" not in str(refusal.value)


def test_without_network_and_cache_the_message_says_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"cannot be loaded .* it must be in the hub's cache") as refusal:
        load_transformers(NAME, DENSEPASS_13, CPU)
    assert "\n" not in str(refusal.value)
    assert hub.downloads == []


def test_a_students_start_comes_from_the_hub_the_same_way(hub: Hub, tmp_path: Path) -> None:
    for folder in (hub.folder, tmp_path / "copy"):
        network().save_pretrained(folder)
    config = StudentConfig(size="tiny", weights=NAME)
    assert start_identity(config, DENSEPASS_13) == network_digest(tmp_path / "copy")
    encoder, expected = segformer(config, DENSEPASS_13).segformer.state_dict(), network().segformer.state_dict()
    assert all(torch.equal(encoder[name], values) for name, values in expected.items())
    assert sorted(hub.downloads) == ["config.json", "model.safetensors"]
