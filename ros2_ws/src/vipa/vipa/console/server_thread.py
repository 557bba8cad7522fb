"""Runs the console's server in an event loop of its own thread, for callers that have none."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from vipa.console.server import ConsoleServer

P = ParamSpec("P")


class ServerThread:
    """The thread of one server."""

    def __init__(self, server: ConsoleServer) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="console server", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        self._thread.start()
        try:
            self._wait(self.server.start())
        except Exception:
            self._end()
            raise

    def call(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call in the server's thread, later."""
        self._loop.call_soon_threadsafe(lambda: function(*args, **kwargs))

    def stop(self) -> None:
        """Disconnect every page and end the thread."""
        self._wait(self.server.stop())
        self._end()

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()
