"""A console's server with a cell that the test decides, and clients of it."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from websockets.sync.client import ClientConnection, connect

from vipa.console.cell_view import CellView
from vipa.console.config import ConsoleConfig
from vipa.console.requests import Reply, Request
from vipa.console.server import ConsoleServer
from vipa.console.server_thread import ServerThread

HELLO = {"lab": "test", "cameras": ["front", "side"], "task": "reach", "sub_tasks": ["touch red", "touch green"]}
TOKEN = "correct-horse"


def jpeg(value: int, size: tuple[int, int] = (60, 80)) -> bytes:
    """A picture of one grey."""
    return cv2.imencode(".jpg", np.full((*size, 3), value, np.uint8))[1].tobytes()


class FakeCell:
    """Publishes a state ten times a second and pictures of two cameras; notes what it is asked for."""

    def __init__(self, config: ConsoleConfig | None = None, token: str | None = None) -> None:
        self.view = CellView()
        self.requests: list[Request] = []
        self.reply = Reply(True, "done")
        self.delay = 0.0  # s, of every reply
        self.picture = jpeg(200)
        self.pictures_given = 0
        self.server = ConsoleServer(config or ConsoleConfig(port=0), token, HELLO, self.perform, self.thumbnail)
        self.thread = ServerThread(self.server)
        self.is_silent = False
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def perform(self, request: Request) -> Reply:
        self.requests.append(request)
        await asyncio.sleep(self.delay)
        return self.reply

    async def thumbnail(self, episode: str) -> bytes:
        return self.picture if episode == "episode_000001" else b""

    def start(self) -> None:
        self.thread.start()
        self._teller.start()

    def stop(self) -> None:
        self._ended.set()
        self._teller.join()
        self.thread.stop()

    def _tell(self) -> None:
        while not self._ended.wait(0.02):
            if self.is_silent:
                continue
            self.thread.call(self.server.publish, "state", self.view.snapshot(time.monotonic()))
            for camera in self.server.awaited:
                self.pictures_given += 1
                self.thread.call(self.server.publish_frame, camera, self.picture)


@contextlib.contextmanager
def running(config: ConsoleConfig | None = None, token: str | None = None) -> Iterator[FakeCell]:
    """A cell whose console is served on a free loopback port."""
    cell = FakeCell(config, token)
    cell.start()
    try:
        yield cell
    finally:
        cell.stop()


@contextlib.contextmanager
def page_of(cell: FakeCell, token: str = "", **options: Any) -> Iterator[ClientConnection]:
    """A connection as the page makes it, after its token was sent."""
    options = {"origin": f"http://{cell.authority}", "compression": None, **options}
    with connect(f"ws://{cell.authority}/live", **options) as connection:
        connection.send(json.dumps({"token": token}))
        yield connection


def next_text(connection: ClientConnection, kind: str, seconds: float = 5.0) -> dict[str, Any]:
    """The next message of a kind."""
    return next_message(connection, lambda m: isinstance(m, str) and json.loads(m)["kind"] == kind, json.loads, seconds)


def next_picture(connection: ClientConnection, seconds: float = 5.0) -> tuple[dict[str, str], bytes]:
    """The next picture: what it is, and its JPEG."""

    def read(message: bytes) -> tuple[dict[str, str], bytes]:
        header, _, content = message.partition(b"\n")
        return json.loads(header), content

    return next_message(connection, lambda m: isinstance(m, bytes), read, seconds)


def next_message(
    connection: ClientConnection, is_wanted: Callable[[Any], bool], read: Callable[[Any], Any], seconds: float
) -> Any:
    """The next wanted message, read."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        message = connection.recv(timeout=remaining)
        if is_wanted(message):
            return read(message)
    raise TimeoutError(f"nothing wanted came within {seconds} s")


def ask(connection: ClientConnection, action: str, seen: float | None = None, **fields: str) -> dict[str, Any]:
    """Ask for an action; the reply."""
    content = {"id": 1, "do": action, "seen": time.monotonic() if seen is None else seen, **fields}
    connection.send(json.dumps(content))
    return next_text(connection, "reply")


def wait_until(is_met: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait; an assertion where it is not met in time."""
    deadline = time.monotonic() + seconds
    while not is_met():
        assert time.monotonic() < deadline, "not met in time"
        time.sleep(0.01)
