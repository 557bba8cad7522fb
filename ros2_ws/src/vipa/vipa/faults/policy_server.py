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
        port: on which it listens, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            VipaError: it does not.
        """
        command = [sys.executable, "-m", "vipa.cli", "serve", "--policy", "wave", "--port", str(self._port)]
        for name, value in CLOSED_WAVE.items():
            command += ["--policy-option", f"{name}={json.dumps(value)}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_TIME_OUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise VipaError(f"policy server: does not listen on port {self._port}; see its log") from None
                time.sleep(0.05)

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

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)
