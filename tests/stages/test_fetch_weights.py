"""Downloads, against a server on localhost."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import CacheError, WeightsError
from stages import fetch_weights
from stages.claims import exclusive_lock
from stages.events import Event, StageAdvanced, silent

CONTENT = bytes(range(256)) * 20_000
NAME = "sam_vit_b.pth"


class Server:
    """Serves CONTENT under NAME; can break off once, and remembers the ranges that were requested for."""

    def __init__(self) -> None:
        self.break_after: int | None = None
        self.ranges: list[str] = []
        self.content = CONTENT

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if not handler.path.endswith(NAME):
            handler.send_error(404)
            return
        requested = handler.headers.get("Range", "")
        self.ranges.append(requested)
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if requested else 200)
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        end, self.break_after = self.break_after, None
        handler.wfile.write(self.content[start : end or None])


class Handler(BaseHTTPRequestHandler):
    def __init__(self, server: Server, *args: object) -> None:
        self.served = server
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.served.answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, str]]:
    known = fetch_weights.Checkpoint(NAME, hashlib.sha256(CONTENT).hexdigest()[:6])
    monkeypatch.setitem(fetch_weights.CHECKPOINTS, "vit_b", known)
    served = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, served))
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))  # seconds until it sees that it must end
    thread.start()
    yield served, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_checkpoint_arrives_whole_with_progress(server: tuple[Server, str], tmp_path: Path) -> None:
    events: list[Event] = []
    path = fetch_weights.fetch("vit_b", tmp_path, events.append, base_url=server[1])
    assert path.read_bytes() == CONTENT
    assert [e.done for e in events if isinstance(e, StageAdvanced)][-1] == len(CONTENT) >> 20


def test_a_broken_download_continues_where_it_stopped(server: tuple[Server, str], tmp_path: Path) -> None:
    served, url = server
    served.break_after = 3_000_000
    with pytest.raises(WeightsError, match="was interrupted"):
        fetch_weights.fetch("vit_b", tmp_path, silent, base_url=url)
    have = (tmp_path / f"{NAME}.partial").stat().st_size
    assert 0 < have <= 3_000_000
    assert fetch_weights.fetch("vit_b", tmp_path, silent, base_url=url).read_bytes() == CONTENT
    assert served.ranges == ["", f"bytes={have}-"]


def test_a_whole_partial_file_needs_no_more_bytes(server: tuple[Server, str], tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT)
    assert fetch_weights.fetch("vit_b", tmp_path, silent, base_url=server[1]).read_bytes() == CONTENT


def test_a_file_with_a_wrong_hash_is_never_put_in_place(server: tuple[Server, str], tmp_path: Path) -> None:
    served, url = server
    served.content = CONTENT[:-1] + b"x"
    with pytest.raises(WeightsError, match="SHA-256"):
        fetch_weights.fetch("vit_b", tmp_path, silent, base_url=url)
    assert not (tmp_path / NAME).exists()


def test_a_complete_file_is_checked_and_not_fetched_again(server: tuple[Server, str], tmp_path: Path) -> None:
    served, url = server
    (tmp_path / NAME).write_bytes(CONTENT)
    fetch_weights.fetch("vit_b", tmp_path, silent, base_url=url)
    assert served.ranges == []


def test_a_missing_file_and_a_dead_server_are_reported_in_one_sentence(
    server: tuple[Server, str], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="404"):
        fetch_weights.fetch("vit_l", tmp_path, silent, base_url=server[1])
    with pytest.raises(WeightsError, match="was interrupted"):
        fetch_weights.fetch("vit_h", tmp_path, silent, base_url="http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="vit_t, vit_b, vit_l, vit_h"):
        fetch_weights.fetch("vit_x", tmp_path, silent)


def test_an_address_that_is_none_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a server at that address"):
        fetch_weights.fetch("vit_b", tmp_path, silent, base_url="mirror")


def test_a_second_download_at_the_same_time_is_refused_and_leaves_the_first_alone(
    server: tuple[Server, str], tmp_path: Path
) -> None:
    """Both would go on with the same partial file."""
    served, url = server
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT[:1000])
    with exclusive_lock(tmp_path, "fetch-weights vit_b"):
        with pytest.raises(CacheError, match="another fetch-weights vit_b is already running"):
            fetch_weights.fetch("vit_b", tmp_path, silent, base_url=url)
        with pytest.raises(WeightsError, match="404"):  # another checkpoint may come meanwhile
            fetch_weights.fetch("vit_l", tmp_path, silent, base_url=url)
    assert served.ranges == []
    assert (tmp_path / f"{NAME}.partial").read_bytes() == CONTENT[:1000]
