"""The laboratory's control port: commands, errors, garbage."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from vipa_sim.control_port import ControlPort
from vipa_sim.errors import SimulationError


def add(a: float, b: float) -> dict[str, Any]:
    return {"sum": a + b}


def fail() -> dict[str, Any]:
    raise SimulationError("the world\ndoes not step")


@pytest.fixture
def port() -> Iterator[ControlPort]:
    server = ControlPort({"add": add, "fail": fail}, "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


def ask(address: tuple[str, int], *lines: bytes) -> list[dict[str, Any]]:
    with socket.create_connection(address, timeout=5) as connection:
        stream = connection.makefile("rwb")
        answers: list[dict[str, Any]] = []
        for line in lines:
            stream.write(line + b"\n")
            stream.flush()
            answers.append(json.loads(stream.readline()))
        return answers


@pytest.mark.protocol
def test_a_command_with_arguments(port: ControlPort) -> None:
    assert ask(port.address, b'{"command": "add", "a": 1, "b": 2.5}') == [{"ok": True, "sum": 3.5}]


@pytest.mark.protocol
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"command": "fly"}', "unknown command 'fly'; known: add, fail"),
        (b'{"command": "add", "a": 1}', "missing 1 required positional argument"),
        (b'{"command": "add", "a": 1, "b": 2, "c": 3}', "unexpected keyword argument"),
        (b'{"command": "fail"}', "the world does not step"),
        (b"[1, 2]", "a request is a JSON object"),
        (b"\xff\xfe garbage", "utf-8"),
        (b"{", "Expecting property name"),
    ],
)
def test_bad_requests_answer_one_line_and_the_port_stays_up(port: ControlPort, line: bytes, words: str) -> None:
    bad, good = ask(port.address, line, b'{"command": "add", "a": 1, "b": 1}')
    assert not bad["ok"]
    assert words in bad["error"]
    assert "\n" not in bad["error"]
    assert good == {"ok": True, "sum": 2}


@pytest.mark.protocol
def test_two_clients_at_once(port: ControlPort) -> None:
    with socket.create_connection(port.address, timeout=5):
        assert ask(port.address, b'{"command": "add", "a": 0, "b": 0}')[0]["ok"]


def test_a_busy_address_is_named(port: ControlPort) -> None:
    host, number = port.address
    with pytest.raises(SimulationError, match=f"control port {host}:{number}: .*Is another laboratory running"):
        ControlPort({}, host, number)
