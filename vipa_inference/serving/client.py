"""The policy ``remote``: asks a policy server for its chunks."""

import contextlib
import logging
import math
import socket
import threading
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

from vipa_inference.policy import ActionChunk, Observation, PolicyError, UnreachableError
from vipa_inference.serving.answer import Served, read_answer, read_metadata
from vipa_inference.serving.authentication import CLIENT_HEADER, TOKEN_VARIABLE, authorization, read_token
from vipa_inference.serving.codec import pack, unpack
from vipa_inference.serving.request import make_request

MAX_ANSWER_BYTES = 1 << 20
CLOSE_TIME_OUT_S = 0.2
FIRST_BACK_OFF_S = 0.1
MOST_OWED = 3
"""Answers that may be late in succession before the connection is given up: a lost packet costs one, no more."""

_websockets_log = logging.getLogger(f"{__name__}.websockets")
_websockets_log.setLevel(logging.CRITICAL)  # what it logs reaches the caller as an error


@dataclass(frozen=True)
class RemoteConfig:
    """Which server, and how long it may take."""

    url: str = "ws://127.0.0.1:8000"
    token_file: str = ""  # a file that holds the token; "": the environment variable VIPA_POLICY_TOKEN, if it is set
    time_out: float = (
        0.3  # s for a chunk, reconnecting included; older ones are refused, and a policy missed after 0.5 s
    )
    connect_time_out: float = 5.0  # s for the first connection
    longest_back_off: float = 2.0  # s between two attempts to connect again
    jpeg_quality: int = 0  # of the images, 1 to 100; 0: they travel as they are, which suits the same machine

    def __post_init__(self) -> None:
        if not 0 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality: {self.jpeg_quality} is not between 0 and 100")
        try:
            parse_uri(self.url)
        except InvalidURI:
            raise ValueError(f"url: {self.url!r} is none like ws://192.168.1.20:8000") from None
        for name in ("time_out", "connect_time_out", "longest_back_off"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


class RemotePolicy:
    """The policy of a server. It is connected from the beginning, and again when the connection was lost.

    Args:
        config: which server.

    Raises:
        PolicyError: there is no such server, or it refuses the token.
    """

    name = "remote"

    def __init__(self, config: RemoteConfig | None = None) -> None:
        self.config = config or RemoteConfig()
        self._open = contextlib.ExitStack()  # holds the connection
        self._connection: ClientConnection | None = None
        self._owed = 0  # answers that are still to come on this connection
        self._failure = ""  # why the last attempt to connect failed; said until the next one, in the same words
        self._back_off, self._next_attempt = 0.0, 0.0  # s
        self._reset = True
        self._served: Served | None = None
        self._headers = {CLIENT_HEADER: uuid.uuid4().hex}
        token = read_token(Path(self.config.token_file) if self.config.token_file else None)
        if token is not None:
            self._headers["Authorization"] = authorization(token)
        self._served = self._connect(time.monotonic() + self.config.connect_time_out)
        self.policy_hash = self._served.policy_hash

    def reset(self) -> None:
        """Begin a new episode with the next request."""
        self._reset = True

    def infer(self, observation: Observation) -> ActionChunk:
        """The server's chunk for one observation, within ``time_out``.

        Raises:
            UnreachableError: the server does not answer, cannot be reached, or answers nonsense.
            PolicyError: the server says what is wrong.
        """
        deadline = time.monotonic() + self.config.time_out
        answer = self._exchange(pack(make_request(observation, self._reset, self.config.jpeg_quality)), deadline)
        if isinstance(answer, str):
            raise PolicyError(str(self._error(answer)))
        try:
            chunk = read_answer(unpack(answer), observation)
        except PolicyError as error:
            self._drop()
            raise self._error(f"{error}. Check that it is a server of this version") from None
        self._reset = False
        return chunk

    def close(self) -> None:
        """Disconnect; the next request connects again."""
        self._connection = None
        self._open.close()

    def _drop(self) -> None:
        """Let go of a connection that has failed, without a word to the other side."""
        if self._connection is not None:
            _cut(self._connection.socket)
        self.close()

    def _exchange(self, request: bytes, deadline: float) -> bytes | str:
        """The answer to a request; a connection that ended while it was idle is renewed once."""
        if self._connection is not None:
            with contextlib.suppress(ConnectionClosed):
                return self._ask(self._connection, request, deadline)
        self._connect(deadline)
        assert self._connection is not None
        try:
            return self._ask(self._connection, request, deadline)
        except ConnectionClosed as error:
            raise self._error(f"closed the connection: {error}") from None

    def _ask(self, connection: ClientConnection, request: bytes, deadline: float) -> bytes | str:
        """Send a request and wait for its answer; those that others before it were owed are passed over.

        Raises:
            ConnectionClosed: the other side closed the connection.
            UnreachableError: no answer in time.
        """
        try:
            with _cut_at(deadline, connection.socket):  # what blocks in sending
                connection.send(request)
            self._owed += 1
            while True:
                answer = connection.recv(timeout=max(0.0, deadline - time.monotonic()))
                self._owed -= 1
                if not self._owed:
                    return answer
        except ConnectionClosed:
            self._drop()
            if time.monotonic() < deadline:
                raise
        except TimeoutError:
            if self._owed >= MOST_OWED:
                self._drop()
        raise self._error(f"no answer within {self.config.time_out:g} s. Check the network and the server's load")

    def _connect(self, deadline: float) -> Served:
        """Connect anew, to the same policy as before; what the server says of it.

        Raises:
            PolicyError: that is not possible, or it is not yet time for another attempt.
        """
        self.close()
        wait = self._next_attempt - time.monotonic()
        if wait > 0:
            raise UnreachableError(self._failure)
        try:
            self._owed = 0
            self._connection, greeting = self._open_connection(deadline)
            served = self._greeted(greeting)
        except UnreachableError as error:
            self._failure = str(error)
            self._drop()
            self._back_off = min(max(2.0 * self._back_off, FIRST_BACK_OFF_S), self.config.longest_back_off)
            self._next_attempt = time.monotonic() + self._back_off
            raise
        self._back_off = 0.0
        return served

    def _open_connection(self, deadline: float) -> tuple[ClientConnection, bytes | str]:
        """A new connection, and what the server says first."""
        remaining = max(0.01, deadline - time.monotonic())
        try:
            connection = self._open.enter_context(
                connect(
                    self.config.url,
                    additional_headers=self._headers,
                    compression=None,
                    proxy=None,
                    open_timeout=remaining,
                    close_timeout=CLOSE_TIME_OUT_S,
                    ping_interval=None,  # every request has its own time-out
                    max_size=MAX_ANSWER_BYTES,
                    logger=_websockets_log,
                )
            )
            _prefer_bbr(connection.socket)
            return connection, connection.recv(timeout=max(0.01, deadline - time.monotonic()))
        except InvalidStatus as error:
            raise self._error(_refusal(error.response.status_code)) from None
        except TimeoutError:
            raise self._error(f"no connection within {remaining:.1f} s. Check the address and the network") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise self._error(f"cannot be reached: {reason}. Check that `vipa serve` is running there") from None
        except (InvalidHandshake, ConnectionClosed) as error:
            raise self._error(f"is no policy server: {error}. Check the address") from None

    def _greeted(self, greeting: bytes | str) -> Served:
        """What the server serves, which must be what it served before."""
        if isinstance(greeting, str):
            raise self._error(greeting)
        try:
            served = read_metadata(unpack(greeting))
        except PolicyError as error:
            raise self._error(f"{error}. Check that it is a server of this version") from None
        if self.config.jpeg_quality and not served.takes_jpeg:
            raise self._error("takes no JPEG. Update it, or set jpeg_quality to 0")
        if self._served not in (None, served):
            raise self._error(
                f"serves policy {served.policy} ({served.policy_hash[:12]}) now, not that of before "
                f"({self.policy_hash[:12]}). Configure the policy again if that is meant"
            )
        return served

    def _error(self, what: str) -> UnreachableError:
        return UnreachableError(f"policy server {self.config.url}: {' '.join(what.split())}")


def _refusal(status: int) -> str:
    if status == 401:
        return f"refused the token. Give the server's, by token_file or {TOKEN_VARIABLE}"
    if status == 503:
        return "has too many clients. Disconnect one, or raise its limit"
    return f"is no policy server: it answered HTTP {status}. Check the address"


def _prefer_bbr(connection: socket.socket) -> None:
    """Congestion control that does not take each lost packet for congestion, where the kernel has and allows it.

    With 40 ms of round trip and 1 % loss the usual one (cubic) takes three times as long for an observation.
    """
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")


@contextlib.contextmanager
def _cut_at(deadline: float, connection: socket.socket) -> Generator[None]:
    """Within, the connection is ended once the steady clock shows the deadline."""
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (connection,))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _cut(connection: socket.socket) -> None:
    """End a connection at once, also for those who wait in it."""
    with contextlib.suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)
