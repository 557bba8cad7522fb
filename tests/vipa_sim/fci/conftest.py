"""Servers on loopback addresses of their own, the genuine franky client, and a client that speaks raw FCI."""

import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from vipa_sim.errors import SimulationError
from vipa_sim.fci import FciServer, KinematicPlant
from vipa_sim.fci.protocol import (
    COMMAND_PORT,
    CONNECT_REQUEST,
    HEADER,
    REALTIME_COMMAND,
    SERVER_VERSION,
    STATE_DTYPE,
    Command,
)

ServerFactory = Callable[..., FciServer]


@pytest.fixture
def make_server() -> Iterator[ServerFactory]:
    """Starts servers on free loopback addresses, and stops them after the test."""
    with ExitStack() as stack:

        def make(plant: KinematicPlant | None = None, **arguments: Any) -> FciServer:
            for _ in range(20):
                try:
                    server = FciServer(plant or KinematicPlant(), f"127.0.0.{random.randint(10, 250)}", **arguments)
                except SimulationError:  # another test run is there
                    continue
                return stack.enter_context(server)
            raise AssertionError("no free loopback address")

        yield make


@pytest.fixture
def server(make_server: ServerFactory) -> FciServer:
    """A strict server with an arm at home."""
    return make_server()


def connect(host: str) -> Any:
    """A franky robot; the real-time priority that its constructor may take is given back."""
    import franky

    robot = franky.Robot(host, realtime_config=franky.RealtimeConfig.Ignore)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    robot.relative_dynamics_factor = 0.3
    return robot


def wait_for(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.005)


class RawClient:
    """Speaks FCI byte by byte: what libfranka never sends can be sent, and every answer is seen."""

    def __init__(self, host: str, version: int = SERVER_VERSION) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.settimeout(2.0)
        self.tcp = socket.create_connection((host, COMMAND_PORT), timeout=2.0)
        self._ids = 0
        self.peer: Any = None
        self.connect_answer = self.request(
            Command.CONNECT, CONNECT_REQUEST.pack(version, self.udp.getsockname()[1]), answer_size=2
        )

    def close(self) -> None:
        """Close both sockets."""
        self.tcp.close()
        self.udp.close()

    def send(self, command: int, payload: bytes = b"") -> int:
        """Send a request; returns its id."""
        self._ids += 1
        self.tcp.sendall(HEADER.pack(command, self._ids, HEADER.size + len(payload)) + payload)
        return self._ids

    def answer(self) -> tuple[int, int, int, bytes]:
        """The next answer: command, its id, status, payload."""
        command, command_id, size = HEADER.unpack(self._read(HEADER.size))
        body = self._read(size - HEADER.size)
        return command, command_id, body[0], body[1:]

    def request(self, command: int, payload: bytes = b"", answer_size: int = 0) -> int:
        """Send a request and take its answer; returns the status."""
        command_id = self.send(command, payload)
        answered, answered_id, status, content = self.answer()
        assert (answered, answered_id) == (command, command_id)
        assert len(content) == answer_size or command == Command.GET_ROBOT_MODEL
        return status

    def state(self) -> Any:
        """The newest robot state."""
        data, self.peer = self.udp.recvfrom(2048)
        self.udp.setblocking(False)
        try:
            while True:
                data, self.peer = self.udp.recvfrom(2048)
        except BlockingIOError:
            pass
        finally:
            self.udp.settimeout(2.0)
        assert len(data) == STATE_DTYPE.itemsize
        return np.frombuffer(data, STATE_DTYPE)[0]

    def state_where(self, condition: Callable[[Any], bool]) -> Any:
        """The first state that meets ``condition``."""
        for _ in range(3000):
            state = self.state()
            if condition(state):
                return state
        raise AssertionError("no such state")

    def move(self, controller: int = 0, generator: int = 0, asynchronous: bool = False) -> int:
        """Ask for a motion; returns the status."""
        payload = struct.pack("<II6dB7d", controller, generator, *(0.0,) * 6, asynchronous, *(0.0,) * 7)
        return self.request(Command.MOVE, payload)

    def command(
        self,
        message_id: int,
        q: Any = (0.0,) * 7,
        dq: Any = (0.0,) * 7,
        torque: Any = (0.0,) * 7,
        finished: bool = False,
    ) -> None:
        """Send one real-time command."""
        rest = (0.0,) * 24
        data = REALTIME_COMMAND.pack(int(message_id), *q, *dq, *rest, False, finished, *torque, False)
        self.udp.sendto(data, self.peer)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.tcp.recv(size - len(data))
            if not more:
                raise ConnectionError("connection closed")
            data += more
        return data


@pytest.fixture
def make_client() -> Iterator[Callable[..., RawClient]]:
    """Makes raw clients, and closes them after the test."""
    with ExitStack() as stack:

        def make(host: str, **arguments: Any) -> RawClient:
            client = RawClient(host, **arguments)
            stack.callback(client.close)
            return client

        yield make
