"""Client of the simulated laboratory's control port: one JSON object per line over TCP."""

import json
import socket
import time
from typing import Any, cast

from vipa.errors import VipaError

LONGEST_REPLY = 65_536  # bytes
RETRY_PAUSE_S = 0.1


class LaboratoryError(VipaError):
    """The laboratory cannot be reached, refuses, or answers what cannot be understood."""


class LaboratoryClient:
    """Sends commands to the laboratory and returns its answers.

    A lost connection is opened again within the time-out of the request; requests can be repeated without harm.

    Args:
        address: host and port of the control port.
        time_out: s for one request.
    """

    def __init__(self, address: tuple[str, int], time_out: float = 5.0) -> None:
        self._address = address
        self._time_out = time_out
        self._socket: socket.socket | None = None
        self._received = b""

    @property
    def name(self) -> str:
        """Name and address, for messages."""
        return f"laboratory {self._address[0]}:{self._address[1]}"

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The laboratory's answer to a command.

        Raises:
            LaboratoryError: no answer in time, a refusal, or an answer that is no JSON object.
        """
        line = self._exchange_patiently(json.dumps({"command": command, **arguments}).encode() + b"\n", command)
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            self.close()
            raise LaboratoryError(f"{self.name}: answered {command} with what is no JSON object: {line[:80]!r}")
        answer = cast(dict[str, Any], reply)
        if answer.get("ok") is not True:
            why = " ".join(str(answer.get("error", "no reason given")).split())
            raise LaboratoryError(f"{self.name}: refused {command}: {why}")
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._received = None, b""

    def _exchange_patiently(self, line: bytes, command: str) -> bytes:
        deadline = time.monotonic() + self._time_out
        while True:
            try:
                return self._exchange(line, deadline)
            except TimeoutError:
                self.close()  # an answer that comes late must not be taken for the next one
                raise LaboratoryError(
                    f"{self.name}: no answer to {command} within {self._time_out:g} s. See the log of the laboratory"
                ) from None
            except OSError as error:
                self.close()
                if time.monotonic() + RETRY_PAUSE_S >= deadline:
                    raise LaboratoryError(
                        f"{self.name}: {error.strerror or error}. Start the laboratory or correct referee in its YAML"
                    ) from None
                time.sleep(RETRY_PAUSE_S)

    def _exchange(self, line: bytes, deadline: float) -> bytes:
        """Send one line, receive one line; OSError where the connection fails, TimeoutError at the deadline."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=_remaining(deadline))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(_remaining(deadline))
        self._socket.sendall(line)
        while b"\n" not in self._received:
            self._socket.settimeout(_remaining(deadline))
            received = self._socket.recv(4096)
            if not received:
                raise ConnectionResetError("the connection was closed by the laboratory")
            self._received += received
            if len(self._received) > LONGEST_REPLY:
                self.close()
                raise LaboratoryError(f"{self.name}: an answer of more than {LONGEST_REPLY} bytes: no laboratory")
        reply, _, self._received = self._received.partition(b"\n")
        return reply


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
