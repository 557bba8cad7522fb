"""A policy server in a thread, policies to put into it, observations to ask it with, and frames made by hand."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np

from vipa_inference.policy import ActionChunk, CameraView, Observation, PolicyError
from vipa_inference.scripted import WavePolicy
from vipa_inference.serving.server import PolicyServer, ServerConfig

TOKEN = "correct-horse"
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def observation(time_ns: int = 1_000_000_000, instruction: str = "wave") -> Observation:
    """Two small black images and an arm in the middle of the table."""
    pose = np.eye(4)
    pose[:3, 3] = (0.45, 0.0, 0.4)
    views = {n: CameraView(np.zeros((24, 32, 3), np.uint8), time_ns, np.eye(3), np.eye(4)) for n in ("front", "side")}
    return Observation(views, pose, np.zeros(7), np.ones(6), instruction)


class StubPolicy(WavePolicy):
    """Waves, but first does what the test wants."""

    name = "stub"

    def __init__(self, before: Callable[[Observation], None] = lambda seen: None) -> None:
        super().__init__()
        self.before = before
        self.resets = 0

    def reset(self) -> None:
        super().reset()
        self.resets = getattr(self, "resets", 0) + 1

    def infer(self, observation: Observation) -> ActionChunk:
        self.before(observation)
        return super().infer(observation)


def fail_on(instruction: str, error: Exception) -> Callable[[Observation], None]:
    """What raises at one instruction."""

    def check(seen: Observation) -> None:
        if seen.instruction == instruction:
            raise error

    return check


@contextlib.contextmanager
def running(
    policy: WavePolicy | None = None, config: ServerConfig | None = None, token: str | None = None
) -> Iterator[PolicyServer]:
    """A server on a free loopback port, in an event loop of its own."""
    server = PolicyServer(policy or WavePolicy(), config or ServerConfig(port=0), token)
    started: Future[asyncio.AbstractEventLoop] = Future()
    stopped = asyncio.Event()

    async def serve() -> None:
        try:
            await server.start()
        except PolicyError as error:
            started.set_exception(error)
            return
        started.set_result(asyncio.get_running_loop())
        await stopped.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop = started.result(10.0)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(20.0)
    assert not thread.is_alive()


def url(server: PolicyServer) -> str:
    """Where the server is."""
    return f"ws://127.0.0.1:{server.port}"


def raw(server: PolicyServer, handshake: bool = True) -> socket.socket:
    """A TCP connection to the server, after the opening handshake and the metadata or before."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10.0)
    if handshake:
        connection.sendall(HANDSHAKE.encode())
        received = b""
        while b"protocol_version" not in received:
            data = connection.recv(4096)
            assert data, f"closed after {received!r}"
            received += data
    return connection


def frame(payload: bytes, opcode: int = 2, final: bool = True, announced: int | None = None) -> bytes:
    """A masked frame of a client, which may announce more bytes than it has; opcode 0 continues, 1 text, 2 binary."""
    length = len(payload) if announced is None else announced
    header = struct.pack(">BBQ", opcode | (0x80 if final else 0), 0x80 | 127, length)
    return header + b"\0\0\0\0" + payload


def closed_within(connection: socket.socket, seconds: float) -> bytes:
    """What the server still sends until it closes the connection, which it must within so many seconds."""
    received, deadline = b"", time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        connection.settimeout(remaining)
        try:
            data = connection.recv(65536)
        except TimeoutError:
            break
        except ConnectionError:
            return received
        if not data:
            return received
        received += data
    raise AssertionError(f"still open after {seconds} s, received {received!r}")


class Hang:
    """Something that a policy hangs in until it is released."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def __call__(self, seen: Observation) -> None:
        if seen.instruction == "hang":
            self.entered.set()
            if not self.release.wait(30.0):
                raise PolicyError("never released")
