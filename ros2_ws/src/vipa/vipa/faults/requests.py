"""Requests that nobody may make: at the genuine policy server and operator console, both with a token, on loopback.

What counts is what got through: an inference of the policy, an action in the cell, a connection, a picture.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast

import msgpack
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from vipa.console.config import ConsoleConfig
from vipa.console.requests import Reply, Request
from vipa.console.server import MAX_MESSAGE_RATE, SOCKET_PATH, WRONG_TOKEN_PAUSE_S, ConsoleServer
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound
from vipa_inference.policy import ActionChunk, CameraView, Observation
from vipa_inference.scripted import WavePolicy
from vipa_inference.serving.authentication import authorization
from vipa_inference.serving.codec import pack, unpack
from vipa_inference.serving.request import make_request
from vipa_inference.serving.server import PolicyServer, ServerConfig

TOKEN = "the-right-token"
_PATIENCE_S = 10.0
_FLOOD_S = 1.0
_SAY_S = 0.15  # within which the console answers, or does not
_RATE = 50.0  # Hz granted to each client of the policy server
_PICKLE = b"cposix\nsystem\n(S'true'\ntR."  # of a call, as protocol 0 writes it
_BAD_HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": ""},
    {"Authorization": TOKEN},
    {"Authorization": f"Bearer {TOKEN}"},
    {"Authorization": authorization(TOKEN[:-1])},
    {"Authorization": authorization(TOKEN + "x")},
    {"Authorization": authorization(TOKEN), "Origin": "https://example.org"},
)
Counts = dict[str, float]


def inject(options: InjectionOptions) -> Iterator[Outcome]:
    """Ask both servers for what they must not give."""
    chance = options.random("requests")
    yield asyncio.run(_policy_server(options.repeats, chance))
    yield asyncio.run(_console(options.repeats, chance))


def _outcome(name: str, counts: Counts, rate: float) -> Outcome:
    """The outcome of what was counted, at a server that grants ``rate`` Hz and a burst of as many as in a second."""
    injected, answered = int(counts.pop("injected")), counts["flood_answered"]
    counts["flood_answered_of_allowed"] = round(answered / (rate * (1.0 + _FLOOD_S)), 3)
    bounds: dict[str, Bound] = {key: ("==", 0.0) for key in counts if key.startswith("accepted_")}
    bounds |= {"still_serves": ("==", 1.0), "flood_answered_of_allowed": ("<=", 1.1), "flood_answered": (">", 0.0)}
    return Outcome(name, injected, counts, bounds, {"rate_limit": rate, "flood_s": _FLOOD_S})


# -- policy server -----------------------------------------------------------------------------------------------------
class _CountingPolicy(WavePolicy):
    """Waves, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.inferences = 0

    def infer(self, observation: Observation) -> ActionChunk:
        self.inferences += 1
        return super().infer(observation)


async def _policy_server(repeats: int, chance: random.Random) -> Outcome:
    policy = _CountingPolicy()
    config = ServerConfig(port=0, max_message_bytes=1 << 20, max_clients=3, max_request_rate=_RATE, open_time_out=2.0)
    server = PolicyServer(policy, config, TOKEN)
    await server.start()
    url, good = f"ws://127.0.0.1:{server.port}", {"Authorization": authorization(TOKEN)}
    counts: Counts = {"injected": 0.0}
    try:
        headers = [header for header in _BAD_HEADERS for _ in range(repeats)]
        counts["accepted_unauthenticated"] = sum(await _all(_opens(url, header) for header in headers))
        raw = [_rubbish(chance) for _ in range(10 * repeats)]
        counts["accepted_malformed_handshakes"] = sum(await _all(_answers_raw(server.port, data) for data in raw))
        messages = [message for _ in range(repeats) for message in _wrong_messages(chance)]
        counts["accepted_malformed"] = await _understood(url, good, messages)
        big = b"\0" * (config.max_message_bytes + 1)
        counts["accepted_oversized"] = sum([await _survives(url, good, big) for _ in range(repeats)])
        counts["accepted_clients_too_many"] = await _too_many(url, good, config.max_clients, repeats)
        counts["accepted_inferences"] = policy.inferences
        answered, flood = await _flood(url, good, pack(_sound_request()))
        counts["flood_answered"] = answered
        async with _session(url, good) as connection:
            await connection.send(pack(_sound_request()))
            answer = await asyncio.wait_for(connection.recv(), _PATIENCE_S)
            counts["still_serves"] = float(isinstance(answer, bytes) and "actions" in unpack(answer))
        counts["injected"] = len(headers) + len(raw) + len(messages) + 2 * repeats + flood
    finally:
        await server.stop()
    return _outcome("policy_server_requests", counts, _RATE)


def _sound_request() -> dict[str, Any]:
    now_ns, pose = time.time_ns(), np.eye(4)
    pose[:3, 3] = (0.45, 0.0, 0.4)
    view = CameraView(np.zeros((24, 32, 3), np.uint8), now_ns, np.eye(3), np.eye(4))
    return make_request(Observation({"front": view, "side": view}, pose, np.zeros(7), np.ones(6), "wave"))


def _wrong_messages(chance: random.Random) -> list[bytes | str]:
    """Messages that are no request, one of each kind."""
    sound = pack(_sound_request())
    cut = chance.randrange(1, len(sound))
    objects = {b"__ndarray__": True, b"data": _PICKLE, b"dtype": "|O", b"shape": [1]}
    vast = {b"__ndarray__": True, b"data": b"", b"dtype": "<f8", b"shape": [1 << 40, 1 << 40]}
    return [
        "text",
        b"",
        chance.randbytes(chance.randrange(1, 300)),
        sound[:cut],
        sound + b"\0",
        _PICKLE,
        _packed({"prompt": msgpack.ExtType(5, _PICKLE)}),
        _packed({"state": objects}),
        _packed({"state": vast}),
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        pack({"prompt": "wave"}),
        pack(_sound_request() | {"observation/joint_positions": np.full(7, np.nan)}),
        pack(_sound_request() | {"observation/joint_positions": np.zeros(8)}),
        pack(_sound_request() | {"unknown": 1}),
        pack(_sound_request() | {"prompt": 3}),
    ]


def _packed(content: Any) -> bytes:
    """What our own ``pack`` refuses to make."""
    return cast(bytes, msgpack.packb(content))


async def _flood(url: str, headers: dict[str, str], message: bytes) -> tuple[int, int]:
    """Ask without waiting for answers for ``_FLOOD_S``: how many answers came in that time, and how often was asked."""
    asked, answered = 0, 0
    end = time.monotonic() + _FLOOD_S

    async with _session(url, headers) as connection:

        async def ask() -> None:
            nonlocal asked
            while time.monotonic() < end:
                await connection.send(message)
                asked += 1

        asking = asyncio.create_task(ask())
        with suppress(ConnectionClosed, asyncio.TimeoutError):
            while (left := end - time.monotonic()) > 0:
                await asyncio.wait_for(connection.recv(), left)
                answered += 1
        asking.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await asking
    return answered, asked


async def _understood(url: str, headers: dict[str, str], messages: list[bytes | str]) -> int:
    """How many messages were answered by something else than an error."""
    understood = 0
    async with _session(url, headers) as connection:
        for message in messages:
            await connection.send(message)
            answer = await asyncio.wait_for(connection.recv(), _PATIENCE_S)
            understood += not isinstance(answer, str)
    return understood


async def _too_many(url: str, headers: dict[str, str], room: int, more: int) -> int:
    """How many connections beyond the room there is are taken."""
    async with AsyncExitStack() as stack:
        for _ in range(room):
            await stack.enter_async_context(_client(url, headers))
        return sum(await _all(_opens(url, headers) for _ in range(more)))


# -- console -----------------------------------------------------------------------------------------------------------
async def _console(repeats: int, chance: random.Random) -> Outcome:
    performed: list[Request] = []

    async def perform(request: Request) -> Reply:
        performed.append(request)
        return Reply(True, "done")

    async def thumbnail(episode: str) -> bytes:
        return b""

    config = ConsoleConfig(port=0)
    server = ConsoleServer(config, TOKEN, {"cameras": ["front"]}, perform, thumbnail)
    await server.start()
    authority = f"127.0.0.1:{server.port}"
    url, good = f"ws://{authority}{SOCKET_PATH}", {"Origin": f"http://{authority}"}
    counts: Counts = {"injected": 0.0}
    try:
        strangers = [{}, {"Origin": "https://example.org"}, {"Origin": "null"}] * repeats
        counts["accepted_other_sites"] = sum(await _all(_opens(url, header) for header in strangers))
        raw = [_rubbish(chance) for _ in range(5 * repeats)]
        counts["accepted_malformed_handshakes"] = sum(await _all(_answers_raw(server.port, data) for data in raw))
        for first in ("{}", '{"token": ""}', '{"token": "wrong"}', '{"token": 3}', "[]", "no json", b"\0", "x" * 20000):
            await _converse(url, good, [first, _ask("stop")])
        counts["accepted_unauthenticated"] = len(performed)
        hello = json.dumps({"token": TOKEN})
        wrong = [
            *("no json", "[]", "{", "[" * 5000, b"\x00", '{"do": "stop"}', _ask("fly"), _ask("instruct", text=3)),
            *(_ask("instruct", text="x" * 501), _ask("instruct", text="a\nb"), _ask("stop", more="x"), "x" * 20000),
            *(_ask("reset", seen=0.0), _ask("instruct", seen=float("nan"), text="wave"), _rubbish(chance)),
        ]
        for message in wrong:
            await _converse(url, good, [hello, message])
        counts["accepted_malformed"] = len(performed) - counts["accepted_unauthenticated"]
        await asyncio.sleep(WRONG_TOKEN_PAUSE_S + _SAY_S)  # until everybody so far is gone
        counts["accepted_pages_too_many"] = await _too_many(url, good, config.max_pages, repeats)
        before = len(performed)
        flood = await _flood_page(url, good, hello)
        counts["flood_answered"] = len(performed) - before
        before = len(performed)
        await _converse(url, good, [hello, _ask("stop")])
        counts["still_serves"] = float(len(performed) == before + 1)
        counts["injected"] = len(strangers) + len(raw) + 8 + len(wrong) + repeats + flood
    finally:
        await server.stop()
    return _outcome("console_requests", counts, MAX_MESSAGE_RATE)


def _ask(action: str, seen: float | None = None, **fields: Any) -> str:
    return json.dumps({"id": 1, "do": action, "seen": time.monotonic() if seen is None else seen, **fields})


async def _converse(url: str, headers: dict[str, str], messages: list[str | bytes]) -> None:
    """Send the messages and listen until the server has had its say."""
    with suppress(ConnectionClosed):
        async with _client(url, headers) as connection:
            for message in messages:
                await connection.send(message)
            with suppress(asyncio.TimeoutError):
                while True:
                    text = await asyncio.wait_for(connection.recv(), _SAY_S)
                    if isinstance(text, str) and json.loads(text)["kind"] == "reply":
                        return


async def _flood_page(url: str, headers: dict[str, str], hello: str) -> int:
    """Ask for stops as fast as it goes; how often."""
    asked, end = 0, time.monotonic() + _FLOOD_S
    while time.monotonic() < end:
        with suppress(ConnectionClosed):
            async with _client(url, headers) as connection:
                await connection.send(hello)
                while time.monotonic() < end:
                    await connection.send(_ask("stop"))
                    asked += 1
    return asked


# -- clients -----------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def _client(url: str, headers: dict[str, str]) -> AsyncGenerator[ClientConnection]:
    async with connect(
        url, additional_headers=headers, compression=None, proxy=None, ping_interval=None, close_timeout=1.0
    ) as connection:
        yield connection


@asynccontextmanager
async def _session(url: str, headers: dict[str, str]) -> AsyncGenerator[ClientConnection]:
    """A connection to the policy server, which has said what it serves."""
    async with _client(url, headers) as connection:
        await asyncio.wait_for(connection.recv(), _PATIENCE_S)
        yield connection


async def _opens(url: str, headers: dict[str, str]) -> bool:
    """Whether a connection is granted."""
    try:
        async with _client(url, headers):
            return True
    except (InvalidHandshake, ConnectionClosed, TimeoutError, OSError):
        return False


async def _survives(url: str, headers: dict[str, str], message: bytes) -> bool:
    """Whether a connection survives a message: true where something else than its end comes back."""
    try:
        async with _session(url, headers) as connection:
            await connection.send(message)
            await asyncio.wait_for(connection.recv(), _PATIENCE_S)
            return True
    except ConnectionClosed:
        return False


async def _answers_raw(port: int, data: bytes) -> bool:
    """Whether bytes sent instead of a handshake are taken for one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(4096), _PATIENCE_S)
    except OSError:
        return False
    finally:
        writer.close()
    return b" 101 " in answer.split(b"\r\n")[0]


async def _all(tries: Iterable[Awaitable[bool]]) -> list[bool]:
    return await asyncio.gather(*tries)


def _rubbish(chance: random.Random) -> bytes:
    """What is no HTTP request, or not a whole one."""
    start = chance.choice((b"", b"GET / HTTP/1.1\r\n", b"POST /live HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01"))
    return start + chance.randbytes(chance.randrange(1, 2000)) + chance.choice((b"", b"\r\n\r\n"))
