"""Serves the page over HTTP, and talks with every open page over one WebSocket.

A page sends its token first. Then it gets texts, JSON with a ``kind``: "hello" once, the newest "state" and "episodes",
and a "reply" for each request; and pictures, a line of JSON that says what it is followed by a JPEG. What a page may
ask for is in ``requests``.
"""

import asyncio
import contextlib
import http
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from vipa.console.admission import SECURITY_HEADERS, check_address, is_known_host, is_own_origin, is_token
from vipa.console.config import ConsoleConfig
from vipa.console.connected_page import ConnectedPage
from vipa.console.page_files import read_page_files
from vipa.console.requests import Reply, Request, RequestError, read_object, read_request
from vipa.errors import ConfigurationError
from vipa_inference.serving.rate_limit import RateLimit

SOCKET_PATH = "/live"
OPEN_TIME_OUT_S = 5.0  # for the handshake, and again for the token
PING_PERIOD_S = 5.0  # a page that does not answer within another such period is disconnected
CLOSE_TIME_OUT_S = 1.0
WRONG_TOKEN_PAUSE_S = 1.0
WRONG_TOKEN = 4401  # close code
MAX_MESSAGE_BYTES = 16384
MAX_REQUESTS = 16  # of one page at the same time; a stop always goes through
MAX_MESSAGE_RATE = 200.0  # Hz of one page, after a burst of as many: no person and no page of ours asks so often
MAX_FILE_RATE = 100.0  # Hz of HTTP requests, of everybody together

_log = logging.getLogger(__name__)
_websockets_log = logging.getLogger(f"{__name__}.websockets")
_websockets_log.setLevel(logging.CRITICAL)  # it logs what strangers send as errors, with a traceback


class ConsoleServer:
    """The server; everything but ``awaited`` belongs to its event loop.

    Args:
        config: where, and within which limits.
        token: what pages must show; None: nothing.
        hello: what every page is told first; names the "cameras".
        perform: carries a request out, other than for pictures.
        thumbnail: the JPEG of an episode; empty where there is none.

    Raises:
        ConfigurationError: the server could be reached from other machines without a token.
    """

    def __init__(
        self,
        config: ConsoleConfig,
        token: str | None,
        hello: Mapping[str, Any],
        perform: Callable[[Request], Awaitable[Reply]],
        thumbnail: Callable[[str], Awaitable[bytes]],
    ) -> None:
        check_address(config.host, token)
        self._config, self._token, self._perform, self._thumbnail = config, token, perform, thumbnail
        self._hello, self._cameras = _text("hello", hello), frozenset(hello["cameras"])
        self._files = read_page_files()
        self._newest: dict[str, str] = {}  # texts, for pages that come later
        self._pages: set[ConnectedPage] = set()
        self._connected = 0  # pages, and who has not shown a token yet
        self._file_rate = RateLimit(MAX_FILE_RATE, MAX_FILE_RATE)
        self._server: Server | None = None
        self.awaited: frozenset[str] = frozenset()
        """Cameras of which some page can take a picture; may be read by any thread."""

    @property
    def port(self) -> int:
        """Where the server listens, once it is started."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def pages(self) -> int:
        """How many are open."""
        return len(self._pages)

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        config = self._config
        try:
            self._server = await serve(
                self._serve_page,
                config.host,
                config.port,
                process_request=self._admit,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                max_queue=4,
                open_timeout=OPEN_TIME_OUT_S,
                ping_interval=PING_PERIOD_S,
                ping_timeout=PING_PERIOD_S,
                close_timeout=CLOSE_TIME_OUT_S,
                server_header=None,
                logger=_websockets_log,
            )
        except OSError as error:
            raise ConfigurationError(
                f"console: cannot listen on {config.host}:{config.port}: {error.strerror or error}. "
                "Choose another console.host or console.port"
            ) from None

    async def stop(self) -> None:
        """Disconnect every page and end."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2 * CLOSE_TIME_OUT_S)

    def publish(self, kind: str, content: Mapping[str, Any]) -> None:
        """Tell all pages, those that come later included."""
        self._newest[kind] = _text(kind, content)
        for page in self._pages:
            page.offer(kind, self._newest[kind])

    def publish_frame(self, camera: str, jpeg: bytes) -> None:
        """Give a picture to the pages that wait for one."""
        message = _picture({"kind": "frame", "camera": camera}, jpeg)
        for page in self._pages:
            page.offer_frame(camera, message)
        self._collect_awaited()

    # -- HTTP --------------------------------------------------------------------------------------------------------
    def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer what is no request for a WebSocket, and refuse who may not have one."""
        if not self._file_rate.allows(time.monotonic()):
            return _refuse(http.HTTPStatus.TOO_MANY_REQUESTS, f"more than {MAX_FILE_RATE:g} requests in a second")
        hosts = request.headers.get_all("Host")
        if not is_known_host(hosts, self._token is not None):
            return _refuse(http.HTTPStatus.FORBIDDEN, "this server has another name; without a token: 127.0.0.1")
        path = request.path.partition("?")[0]
        if path != SOCKET_PATH:
            if path not in self._files:
                return _refuse(http.HTTPStatus.NOT_FOUND, "no such file")
            kind, content = self._files[path]
            return _respond(http.HTTPStatus.OK, kind, content)
        if not is_own_origin(request.headers.get_all("Origin"), hosts):
            _log.warning("refused: a page of another site, or no page, asked for a connection")
            return _refuse(http.HTTPStatus.FORBIDDEN, "only a page of this server may connect")
        if self._connected >= self._config.max_pages:
            return _refuse(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{self._config.max_pages} pages are open already")
        return None

    # -- WebSocket ---------------------------------------------------------------------------------------------------
    async def _serve_page(self, connection: ServerConnection) -> None:
        self._connected += 1
        try:
            if not await self._has_token(connection):
                await asyncio.sleep(WRONG_TOKEN_PAUSE_S)
                await connection.close(WRONG_TOKEN, "wrong or no token")
                return
            await self._converse(connection)
        except ConnectionClosed:
            return
        finally:
            self._connected -= 1

    async def _has_token(self, connection: ServerConnection) -> bool:
        try:
            first = read_object(await asyncio.wait_for(connection.recv(), OPEN_TIME_OUT_S))
        except (RequestError, asyncio.TimeoutError):
            return False
        return is_token(first.get("token"), self._token)

    async def _converse(self, connection: ServerConnection) -> None:
        page = ConnectedPage(connection.send)
        page.offer("hello", self._hello)
        for kind, text in self._newest.items():
            page.offer(kind, text)
        self._pages.add(page)
        feeder = asyncio.create_task(_until_closed(page.feed()))
        running: set[asyncio.Task[None]] = set()
        rate = RateLimit(MAX_MESSAGE_RATE, MAX_MESSAGE_RATE)
        try:
            async for message in connection:
                if not rate.allows(time.monotonic()):
                    await connection.close(
                        CloseCode.POLICY_VIOLATION, f"more than {MAX_MESSAGE_RATE:g} messages a second"
                    )
                    return
                try:
                    request = read_request(message)
                except RequestError as error:
                    await connection.close(CloseCode.POLICY_VIOLATION, str(error)[:120])
                    return
                if request.action == "frame":
                    page.awaited |= self._cameras & {request.fields["camera"]}
                    self._collect_awaited()
                elif len(running) < MAX_REQUESTS or request.action == "stop":
                    task = asyncio.create_task(_until_closed(self._answer(connection, request)))
                    running.add(task)
                    task.add_done_callback(running.discard)
                else:
                    await connection.close(CloseCode.POLICY_VIOLATION, "too many requests at the same time")
                    return
        finally:
            feeder.cancel()
            self._pages.discard(page)
            self._collect_awaited()

    async def _answer(self, connection: ServerConnection, request: Request) -> None:
        if request.action == "thumbnail":
            episode = request.fields["episode"]
            jpeg = await self._thumbnail(episode)
            await connection.send(_picture({"kind": "thumbnail", "episode": episode}, jpeg))
            return
        try:
            request.check_age(time.monotonic())
            reply = await self._perform(request)
        except RequestError as error:
            reply = Reply(False, str(error))
        content = {"id": request.number, "success": reply.success, "message": reply.message}
        await connection.send(_text("reply", content))

    def _collect_awaited(self) -> None:
        self.awaited = frozenset().union(*(page.awaited for page in self._pages))


async def _until_closed(work: Awaitable[None]) -> None:
    with contextlib.suppress(ConnectionClosed):
        await work


def _text(kind: str, content: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, **content}, allow_nan=False)


def _picture(header: Mapping[str, str], jpeg: bytes) -> bytes:
    return json.dumps(header).encode() + b"\n" + jpeg


def _refuse(status: http.HTTPStatus, reason: str) -> Response:
    return _respond(status, "text/plain; charset=utf-8", f"{reason}\n".encode())


def _respond(status: http.HTTPStatus, kind: str, body: bytes) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    headers.update(SECURITY_HEADERS)
    return Response(status.value, status.phrase, headers, body)
