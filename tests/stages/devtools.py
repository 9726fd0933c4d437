"""A page in a headless Chromium, driven by keys alone and read as a screen reader is given it (DevTools protocol)."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


@dataclass(frozen=True)
class Node:
    """What a screen reader is given of one element."""

    role: str
    name: str
    description: str
    depth: int


class Tab:
    """The page; every wait ends in an error after a while."""

    def __init__(self, socket: WebSocketClientConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._loop, self._last, self._session = socket, loop, 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Accessibility.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), 60))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.write_message(json.dumps({"id": self._last, "method": method, "params": params, **session}))
        while answer := await self._socket.read_message():
            found = json.loads(answer)
            if found.get("id") == self._last:
                assert "error" not in found, found
                return found["result"]
        raise ConnectionError("the browser has gone")

    def open(self, page: Path, address: str = "") -> None:
        self.call("Page.navigate", url="about:blank")  # else another address of the same page is no new page
        self.call("Page.navigate", url=f"{page.as_uri()}#{address}")
        self.wait("document.readyState === 'complete' && typeof startViewer === 'function'")

    def evaluate(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a script's condition holds."""
        for _ in range(200):
            if self.evaluate(condition):
                return
            self._loop.run_until_complete(asyncio.sleep(0.05))
        raise TimeoutError(condition)

    def press(self, key: str, *, shift: bool = False) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = CODES.get(key, ord(key[0].upper()))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def focused(self) -> str:
        """The element with the focus: its id, else its class or name."""
        return self.evaluate("(e => e.id || e.getAttribute('class') || e.tagName)(document.activeElement)")

    def read(self) -> list[Node]:
        """All that a screen reader is given, in its order."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        by_id = {node["nodeId"]: node for node in nodes}
        return list(_below(nodes[0], by_id, 0))


def _below(node: dict[str, Any], by_id: dict[str, Any], depth: int) -> Generator[Node]:
    if not node["ignored"]:
        role, name, description = (node.get(key, {}).get("value", "") for key in ("role", "name", "description"))
        yield Node(role, name, description, depth)
    for child in node.get("childIds", ()):
        if child in by_id:
            yield from _below(by_id[child], by_id, depth + (not node["ignored"]))


@contextmanager
def opened_tab(browser: str, folder: Path, *options: str) -> Generator[Tab]:
    """A tab of a browser of its own, which is ended with it."""
    command = [browser, "--headless", "--no-sandbox", "--remote-debugging-port=0", "--window-size=1000,800",
               f"--user-data-dir={folder / 'devtools'}", *options, "about:blank"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, asyncio.Runner() as runner:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            found = next(match for line in lines if (match := re.search(r"DevTools listening on (ws://\S+)", line)))
            loop = runner.get_loop()
            yield Tab(loop.run_until_complete(_connect(found[1])), loop)
        finally:
            process.kill()


async def _connect(address: str) -> WebSocketClientConnection:
    return await websocket_connect(address, max_message_size=1 << 28)
