"""The policy server: any policy behind a websocket that the clients of openpi speak to.

The server says first what it serves (``answer.make_metadata``); each binary message of a client is a request
(``request``), each binary answer a chunk (``answer``), and each text answer an error in one line, after which the
client may go on. Whatever a client sends, the server stays up for the others.
"""

import asyncio
import http
import logging
import time
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from vipa_inference.observation_checks import check_observation
from vipa_inference.policy import Policy, PolicyError
from vipa_inference.serving.answer import describe, make_answer, make_metadata
from vipa_inference.serving.authentication import CLIENT_HEADER, SCHEME, TOKEN_VARIABLE, is_authorised, is_loopback
from vipa_inference.serving.codec import MessageError, pack, unpack
from vipa_inference.serving.rate_limit import RateLimit
from vipa_inference.serving.request import Request, read_request
from vipa_inference.serving.worker import InferenceWorker

HEALTH_PATH = "/healthz"
MAX_ERROR_LENGTH = 500  # characters
STOP_TIME_OUT_S = 3.0
CLOSE_TIME_OUT_S = 1.0  # for a client to agree that it is disconnected
WRONG_TOKENS_PER_S = 10.0  # of all clients together; what is more waits

_log = logging.getLogger(__name__)
_websockets_log = logging.getLogger(f"{__name__}.websockets")
_websockets_log.setLevel(logging.CRITICAL)  # it logs what strangers send as errors, with a traceback


@dataclass(frozen=True)
class ServerConfig:
    """Where the server listens, and what it grants its clients."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    max_message_bytes: int = 16 << 20
    max_clients: int = 8
    queue_size: int = 4  # requests that may wait for the policy
    max_request_rate: float = 200.0  # Hz of one client, after a burst of as many as in a second; what is more waits
    request_time_out: float = 30.0  # s from a request to its answer
    message_time_out: float = 10.0  # s from the first to the last frame of a message, and for an answer to be taken
    open_time_out: float = 5.0  # s for the opening handshake
    ping_period: float = 20.0  # s; a client that does not answer within another such period is disconnected

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is outside 0-65535")
        for name in ("max_message_bytes", "max_clients", "queue_size", "max_request_rate", "request_time_out",
                     "message_time_out", "open_time_out", "ping_period"):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


class PolicyServer:
    """Serves one policy to several clients.

    The policy runs in one thread. Its episode belongs to the client that asked last: it is reset before the request of
    another one, so that a new client begins a new episode.

    Args:
        policy: what is served.
        config: where, and within which limits.
        token: what clients must show; None: nothing.

    Raises:
        PolicyError: the server could be reached from other machines without a token.
    """

    def __init__(self, policy: Policy, config: ServerConfig | None = None, token: str | None = None) -> None:
        self.config = config or ServerConfig()
        if token is None and not is_loopback(self.config.host):
            raise PolicyError(
                f"policy server: other machines can reach {self.config.host}, so clients need a token. "
                f"Give one by a file or {TOKEN_VARIABLE}, or listen on 127.0.0.1"
            )
        self.requests, self.errors = 0, 0  # so far
        self._policy, self._token = policy, token
        self._description = describe(policy)
        self._metadata = pack(make_metadata(policy))
        self._worker = InferenceWorker(self.config.queue_size)
        self._clients: set[asyncio.Task[None] | None] = set()  # that serve one client each
        self._wrong_tokens = RateLimit(WRONG_TOKENS_PER_S, WRONG_TOKENS_PER_S)
        self._episode_of = ""  # the client; only in the worker
        self._server: Server | None = None

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    @property
    def port(self) -> int:
        """Where the server listens, once it is started."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            PolicyError: the address cannot be listened on.
        """
        config = self.config
        try:
            self._server = await serve(
                self._serve_client,
                config.host,
                config.port,
                process_request=self._admit,
                origins=[None],  # no web pages: a browser lets any of them reach loopback addresses
                compression=None,
                max_size=config.max_message_bytes,
                max_queue=1,  # frames that are buffered beside the message being read
                open_timeout=config.open_time_out,
                ping_interval=config.ping_period,
                ping_timeout=config.ping_period,
                close_timeout=CLOSE_TIME_OUT_S,
                logger=_websockets_log,
            )
        except OSError as error:
            raise PolicyError(
                f"policy server: cannot listen on {config.host}:{config.port}: {error.strerror or error}. "
                "Choose another host or port"
            ) from None

    async def stop(self) -> None:
        """Disconnect the clients, and end within ``STOP_TIME_OUT_S`` or so, whatever they and the policy do."""
        assert self._server is not None
        self._server.close()
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(None, self._worker.stop, STOP_TIME_OUT_S):
            _log.warning("policy %s did not end its last inference", self._policy.name)
            for task in self._clients:
                if task is not None:
                    task.cancel()
        try:
            await asyncio.wait_for(self._server.wait_closed(), STOP_TIME_OUT_S)
        except asyncio.TimeoutError:
            _log.warning("clients did not disconnect")

    async def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer what is no request for a connection, and refuse who may not have one."""
        if request.path.partition("?")[0] == HEALTH_PATH:
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._token is not None and not is_authorised(request.headers.get_all("Authorization"), self._token):
            _log.warning("%s: refused: wrong or no token", _name(connection))
            await asyncio.sleep(self._wrong_tokens.take(time.monotonic()))
            response = connection.respond(
                http.HTTPStatus.UNAUTHORIZED, f"expected the header Authorization: {SCHEME} with the server's token\n"
            )
            response.headers["WWW-Authenticate"] = SCHEME
            return response
        if self.clients >= self.config.max_clients:
            _log.warning("%s: refused: %d clients are connected already", _name(connection), self.clients)
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"{self.config.max_clients} clients are connected already\n"
            )
        return None

    async def _serve_client(self, connection: ServerConnection) -> None:
        """Answer one client's requests, one after the other, until it is gone."""
        task = asyncio.current_task()
        self._clients.add(task)
        _log.info("%s: connected", _name(connection))
        last_error = ""
        pace = RateLimit(self.config.max_request_rate, max(self.config.max_request_rate, 1.0))
        try:
            await self._send(connection, self._metadata)
            while True:
                message = await self._receive(connection)
                await asyncio.sleep(pace.take(time.monotonic()))
                answer = await self._answer(connection, message)
                await self._send(connection, answer)
                error = answer if isinstance(answer, str) else ""
                if error and error != last_error:
                    _log.warning("%s: %s", _name(connection), error)
                last_error = error
        except ConnectionClosed as end:
            _log.info("%s: disconnected: %s", _name(connection), _one_line(str(end)))
        except asyncio.TimeoutError:
            _log.warning("%s: disconnected: too slow", _name(connection))
            limit = f"a message took longer than {self.config.message_time_out:g} s"
            await connection.close(CloseCode.POLICY_VIOLATION, limit)
        finally:
            self._clients.discard(task)

    async def _receive(self, connection: ServerConnection) -> bytearray | None:
        """The next message, or None where it is text; its frames may not trickle in."""
        fragments = aiter(connection.recv_streaming())
        first = await anext(fragments)  # may be waited for as long as the client answers pings

        async def complete() -> bytearray | None:
            data = bytearray(b"" if isinstance(first, str) else first)
            async for fragment in fragments:
                data += b"" if isinstance(fragment, str) else fragment
            return None if isinstance(first, str) else data

        return await asyncio.wait_for(complete(), self.config.message_time_out)

    async def _send(self, connection: ServerConnection, message: bytes | str) -> None:
        await asyncio.wait_for(connection.send(message), self.config.message_time_out)

    async def _answer(self, connection: ServerConnection, data: bytearray | None) -> bytes | str:
        """The answer to a message: bytes, or in words what is wrong."""
        self.requests += 1
        try:
            if data is None:
                raise MessageError("request: expected a binary message, found text")
            request = read_request(unpack(data), time.time_ns())
            client = _identity(connection)
            future = asyncio.wrap_future(self._worker.submit(lambda: self._infer(client, request)))
            return pack(await asyncio.wait_for(future, self.config.request_time_out))
        except PolicyError as error:
            text = str(error)
        except asyncio.TimeoutError:
            text = f"policy {self._policy.name}: no answer within {self.config.request_time_out:g} s. Try again"
        self.errors += 1
        return _one_line(text)

    def _infer(self, client: str, request: Request) -> dict[str, Any]:
        """In the worker's thread: do what is asked for."""
        observation = request.observation
        try:
            if request.reset or client != self._episode_of:
                self._policy.reset()
                self._episode_of = client
            if observation is None:
                return {"reset": True}
            check_observation(observation, self._description.cameras if self._description else [*observation.views])
            start = time.perf_counter()
            chunk = self._policy.infer(observation)
            return make_answer(chunk, (time.perf_counter() - start) * 1e3)
        except PolicyError:
            raise
        except Exception as error:
            _log.exception("policy %s failed", self._policy.name)
            raise PolicyError(
                f"policy {self._policy.name}: failed: {type(error).__name__}: {error}. See the server's log"
            ) from error


def _identity(connection: ServerConnection) -> str:
    """The same for all connections of one client that says who it is, else that of the connection."""
    named = connection.request.headers.get_all(CLIENT_HEADER) if connection.request else []
    return named[0] if named else str(connection.id)


def _name(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"client {address[0]}:{address[1]}" if address else "client"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:MAX_ERROR_LENGTH]
