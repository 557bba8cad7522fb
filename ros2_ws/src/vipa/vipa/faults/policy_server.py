"""The policy of the injections, a wave with a closed hand, and a policy server that can be stalled and killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from vipa.errors import VipaError

_HAND = 0.2  # all the way: whatever a fault does to the grasp shows as a finger that opens
_START_TIME_OUT_S = 20.0

CLOSED_WAVE: dict[str, Any] = {
    "poses": [
        {"position": [0.45, 0.0, 0.38], "hand": _HAND},
        {"position": [0.45, 0.15, 0.42], "tilt": [0.25, 0.0, 0.0], "hand": _HAND},
        {"position": [0.50, 0.10, 0.30], "hand": _HAND},
        {"position": [0.50, -0.10, 0.30], "hand": _HAND},
        {"position": [0.45, -0.15, 0.42], "tilt": [-0.25, 0.0, 0.0], "hand": _HAND},
    ]
}
"""Options of the policy ``wave``: it always moves, and keeps the hand closed."""


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PolicyServerProcess:
    """``vipa serve`` with the wave, in a process of its own that can be stalled, killed and started again.

    Args:
        port: on which it is reached, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._link: subprocess.Popen[bytes] | None = None  # between the port and a server that is far away

    def start(self, delay: float = 0.0) -> None:
        """Start it, and wait until it listens.

        Args:
            delay: s from a request to its answer that the way to it takes.

        Raises:
            VipaError: it does not.
        """
        port = free_port() if delay else self._port
        command = [sys.executable, "-m", "vipa.cli", "serve", "--policy", "wave", "--port", str(port)]
        for name, value in CLOSED_WAVE.items():
            command += ["--policy-option", f"{name}={json.dumps(value)}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        _wait_for(self._process, port, "policy server")
        if delay:
            command = [sys.executable, "-m", "vipa.faults.delayed_link", str(self._port), str(port), str(delay / 2.0)]
            self._link = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            _wait_for(self._link, self._port, "delayed link")

    def stall(self) -> None:
        """Let it compute no further (SIGSTOP)."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the stall."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        if self._link is not None:
            self._link.terminate()
            self._link.wait()
            self._link = None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)


def _wait_for(process: subprocess.Popen[bytes], port: int, what: str) -> None:
    deadline = time.monotonic() + _START_TIME_OUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise VipaError(f"{what}: does not listen on port {port}; see its log") from None
            time.sleep(0.05)
