"""What comes over the network: any bytes are a message or one error, and nobody outside this machine can send them."""

import json
from typing import Any

import msgpack
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vipa.console.config import ConsoleConfig
from vipa.console.requests import ACTIONS, Request, RequestError, read_object, read_request
from vipa.environment import FAST_DDS_PROFILE
from vipa.lab import LAB_FOLDER, load_lab, split_address
from vipa_inference.policy import PolicyError
from vipa_inference.serving.authentication import is_loopback
from vipa_inference.serving.codec import pack, unpack
from vipa_inference.serving.request import Request as PolicyRequest
from vipa_inference.serving.request import read_request as read_policy_request
from vipa_inference.serving.server import ServerConfig
from vipa_sim.control_port import ControlPort

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    PLAIN | st.binary(max_size=24),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
PLAIN_VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
KEYS = st.sampled_from(("observation/images/front", "observation/jpeg/front", "observation/joint_positions", "prompt",
                        "reset", "committed/poses", "__ndarray__")) | st.text(max_size=8)  # fmt: skip
NAMES = st.sampled_from(("id", "do", "seen", "text", "kind", "camera", "token", "stop", "command"))
DEEP = 100_000


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200) | st.dictionaries(KEYS, VALUES, max_size=6).map(msgpack.packb))
@example(b"\x91" * DEEP)
@example(pack({"reset": True}))
def test_bytes_at_the_policy_server_are_a_request_or_one_error(data: bytes) -> None:
    try:
        request = read_policy_request(unpack(data), 1)
    except PolicyError:
        return
    assert isinstance(request, PolicyRequest)
    assert request.observation is None, "a whole observation is not made by chance"


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=80) | st.dictionaries(NAMES, PLAIN_VALUES, max_size=5).map(json.dumps))
@example("[" * DEEP)
@example('{"id": 1e999, "do": "stop"}')
@example('{"id": 1, "do": "stop"}')
def test_text_at_the_console_is_a_request_or_one_error(text: str | bytes) -> None:
    try:
        request = read_request(text)
    except RequestError:
        return
    assert isinstance(request, Request)
    assert set(request.fields) == set(ACTIONS[request.action])
    assert "token" not in read_object(text)


def note(text: str = "") -> dict[str, Any]:
    return {"text": text}


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=80) | st.dictionaries(NAMES, PLAIN_VALUES, max_size=5).map(lambda v: json.dumps(v).encode()))
@example(b"[" * DEEP)
@example(b'{"command": "note", "text": ' + b"9" * 5000 + b"}")
@example(b'{"command": "note"}')
def test_a_line_at_the_control_port_is_answered_in_one_line(line: bytes) -> None:
    port = ControlPort({"note": note}, "127.0.0.1", 0)
    try:
        answer = port._answer(line)
    finally:
        port.stop()
    assert answer.count(b"\n") == 1
    content = json.loads(answer)
    assert content["ok"] is (content.keys() == {"ok", "text"})


def test_what_is_not_told_otherwise_listens_on_loopback() -> None:
    assert is_loopback(ServerConfig().host)
    assert is_loopback(ConsoleConfig().host)
    lab = load_lab("simulated")
    assert lab.console.host == ConsoleConfig().host
    written = yaml.safe_load((LAB_FOLDER / "simulated.yaml").read_text())
    addresses = [written["referee"], written["hand"]["address"], *(c["feed"] for c in written["cameras"].values())]
    hosts = [lab.arm.address, *(split_address(address, "address")[0] for address in addresses)]
    assert all(map(is_loopback, hosts)), hosts
    assert "<address>127.0.0.1</address>" in FAST_DDS_PROFILE.read_text()
    assert "<useBuiltinTransports>false</useBuiltinTransports>" in FAST_DDS_PROFILE.read_text()


@pytest.mark.parametrize("lab", ["simulated", "example_real"])
def test_no_shipped_laboratory_opens_the_console_to_others(lab: str) -> None:
    assert is_loopback(load_lab(lab).console.host)
