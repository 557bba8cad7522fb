"""The laboratory's control port: one JSON object per line over TCP, on loopback; referee, statistics and faults."""

import json
import socketserver
import threading
from collections.abc import Callable, Mapping
from typing import Any

from vipa_sim.errors import SimulationError

MAX_LINE = 65_536

Command = Callable[..., dict[str, Any]]


class ControlPort:
    """Serves named commands: ``{"command": "push", "force": [...]}`` → ``{"ok": true, ...}``.

    A command that is unknown, malformed or fails answers ``{"ok": false, "error": "one line"}``; the port stays up.

    Args:
        commands: what each command does; keyword arguments are the other keys of the request.
        host: address to listen on.
        port: TCP port; 0 picks a free one.

    Raises:
        SimulationError: the address is in use.
    """

    def __init__(self, commands: Mapping[str, Command], host: str, port: int) -> None:
        self._commands = commands
        answer = self._answer

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline(MAX_LINE):
                    self.wfile.write(answer(line))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise SimulationError(
                f"control port {host}:{port}: {error.strerror}. Is another laboratory running? End it, or set referee"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="control port", daemon=True
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Serve from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line.decode("utf-8"))
            if not isinstance(request, dict):
                raise SimulationError("a request is a JSON object")
            command = str(request.pop("command", ""))
            if command not in self._commands:
                raise SimulationError(f"unknown command {command!r}; known: {', '.join(sorted(self._commands))}")
            answer = {"ok": True, **self._commands[command](**request)}
        except (SimulationError, ValueError, TypeError, KeyError, TimeoutError, RecursionError) as error:
            answer = {"ok": False, "error": " ".join(str(error).split()) or type(error).__name__}
        return json.dumps(answer).encode() + b"\n"
