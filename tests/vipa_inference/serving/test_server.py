"""What clients may do to the server: each fault gives one clear error in time, and the server stays up."""

import contextlib
import dataclasses
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.vipa_inference.serving.running import (
    TOKEN,
    Hang,
    StubPolicy,
    closed_within,
    fail_on,
    frame,
    observation,
    raw,
    running,
    url,
)
from vipa_inference.policy import PolicyError
from vipa_inference.serving.authentication import CLIENT_HEADER
from vipa_inference.serving.codec import pack, unpack
from vipa_inference.serving.request import make_request
from vipa_inference.serving.server import MAX_ERROR_LENGTH, PolicyServer, ServerConfig

pytestmark = pytest.mark.protocol

PONG = b"\x8a\x80\0\0\0\0"  # unasked, which is allowed
LIMITS = ServerConfig(
    port=0,
    max_message_bytes=1 << 20,
    max_clients=4,
    queue_size=1,
    request_time_out=1.0,
    message_time_out=0.5,
    open_time_out=0.5,
    ping_period=0.4,
)


@pytest.fixture(scope="module")
def hang() -> Hang:
    return Hang()


@pytest.fixture(scope="module")
def server(hang: Hang) -> Iterator[PolicyServer]:
    """One server for all faults, with small limits: it must survive every one of them."""
    bug = fail_on("bug", ZeroDivisionError("by\nzero"))
    complaint = fail_on("complain", PolicyError("no such marker\nput it into view"))

    def before(seen: Any) -> None:
        for check in (hang, bug, complaint):
            check(seen)

    with running(StubPolicy(before), LIMITS) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def guarded() -> Iterator[PolicyServer]:
    """A server that wants a token."""
    with running(StubPolicy(), LIMITS, TOKEN) as running_server:
        yield running_server


@pytest.fixture(autouse=True)
def stays_up(server: PolicyServer) -> Iterator[None]:
    """After every test all its clients are soon forgotten, and a new one gets its chunk."""
    yield
    deadline = time.monotonic() + 3.0
    while server.clients:
        assert time.monotonic() < deadline, f"{server.clients} clients still connected"
        time.sleep(0.02)
    with client(server) as connection:
        assert_chunk(ask(connection))


def client(server: PolicyServer, **options: Any) -> ClientConnection:
    connection = connect(url(server), compression=None, proxy=None, ping_interval=None, legacy=True, **options)
    assert unpack(connection.recv(timeout=5.0))["policy"] == "stub"  # type: ignore[arg-type]
    return connection


def ask(connection: ClientConnection, **changes: Any) -> Any:
    """The answer to a request for the usual observation, with other values; None leaves a key out."""
    message = {**make_request(observation()), **{key.replace("__", "/"): value for key, value in changes.items()}}
    connection.send(pack({key: value for key, value in message.items() if value is not None}))
    answer = connection.recv(timeout=5.0)
    return answer if isinstance(answer, str) else unpack(answer)


def assert_chunk(answer: Any) -> None:
    assert not isinstance(answer, str), answer
    assert answer["actions"].shape == (16, 12)


NAN_IMAGE = np.full((24, 32, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"observation__images__front": NAN_IMAGE}, "request: observation/images/front: expected an array of uint8"),
        ({"observation__images__front": np.zeros((3, 24, 32), np.uint8)}, "found an array of uint8 (3, 24, 32)"),
        ({"observation__images__front": np.zeros((0, 32, 3), np.uint8)}, "gave an image of uint8 (0, 32, 3)"),
        ({"observation__joint_positions": np.full(7, np.nan)}, "observation: joint positions not finite"),
        ({"observation__end_effector_pose": np.zeros((4, 4))}, "end-effector pose is no rigid transform"),
        ({"observation__intrinsics__front": -np.eye(3)}, "focal lengths of camera front are not positive"),
        ({"observation__exposure_ns__front": 5_000_000_000}, "older than that of front"),
        ({"prompt": None}, "request: prompt is missing"),
        ({"prompt": "complain"}, "no such marker put it into view"),
        ({"prompt": "bug"}, "policy stub: failed: ZeroDivisionError: by zero. See the server's log"),
        ({"action": 1}, "request: unknown keys: action"),
        ({"x" * 5000: 1}, "request: unknown keys: xxx"),
        ({"\x1b[2J\n": 1}, "request: unknown keys: ?[2J"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line_and_the_client_may_go_on(
    server: PolicyServer, changes: dict[str, Any], complaint: str
) -> None:
    with client(server) as connection:
        answer = ask(connection, **changes)
        assert isinstance(answer, str)
        assert complaint in answer
        assert len(answer) <= MAX_ERROR_LENGTH
        assert answer.isprintable()
        assert_chunk(ask(connection))


def test_a_missing_camera(server: PolicyServer) -> None:
    message = {key: value for key, value in make_request(observation()).items() if not key.endswith("/side")}
    with client(server) as connection:
        connection.send(pack(message))
        assert "no frame of camera side (present: front)" in connection.recv(timeout=5.0)


def test_an_empty_instruction_is_the_policys_matter(server: PolicyServer) -> None:
    with client(server) as connection:
        assert_chunk(ask(connection, prompt=""))


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("text", "expected a binary message, found text"),
        (b"", "no msgpack of the expected form"),
        (b"\xc1garbage", "no msgpack of the expected form"),
        (b"\x91" * 5000, "no msgpack of the expected form"),
        (msgpack.packb([0] * 500), "expected a map of keys, found list"),
        (msgpack.packb({b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": [1]}), "not allowed"),
        (pack(make_request(observation()))[:-20], "no msgpack of the expected form"),
    ],
)
def test_garbage_is_answered_in_one_line(server: PolicyServer, message: bytes | str, complaint: str) -> None:
    with client(server) as connection:
        connection.send(message)
        assert complaint in connection.recv(timeout=5.0)
        assert_chunk(ask(connection))


def test_random_bytes_as_messages(server: PolicyServer) -> None:
    generator, good = np.random.default_rng(0), bytearray(pack(make_request(observation())))
    with client(server) as connection:
        for i in range(150):
            data = bytearray(generator.bytes(int(generator.integers(0, 200)))) if i % 2 else bytearray(good)
            for _ in range(i % 5):
                if data:
                    data[int(generator.integers(len(data)))] = int(generator.integers(256))
            connection.send(data)
            answer = connection.recv(timeout=5.0)
            assert isinstance(answer, bytes) or answer.isprintable()


def test_random_bytes_on_the_wire(server: PolicyServer) -> None:
    generator = np.random.default_rng(1)
    for i in range(30):
        with raw(server, handshake=i % 2 == 0) as connection:
            connection.sendall(generator.bytes(int(generator.integers(1, 3000))))
            connection.shutdown(socket.SHUT_WR)
            closed_within(connection, 3.0)


def test_half_a_message_and_then_nothing(server: PolicyServer) -> None:
    data = frame(pack(make_request(observation())))
    with raw(server) as connection:
        connection.sendall(data[: len(data) // 2])
        closed_within(connection, 4.0)  # pings stay unanswered


def test_a_client_that_dies_within_a_message(server: PolicyServer) -> None:
    data = frame(pack(make_request(observation())))
    for cut in (1, 5, len(data) // 2, len(data) - 1):
        connection = raw(server)
        connection.sendall(data[:cut])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        connection.close()


def test_a_client_that_leaves_without_its_answer(server: PolicyServer, hang: Hang) -> None:
    hang.entered.clear()
    connection = client(server)
    connection.send(pack({**make_request(observation()), "prompt": "hang"}))
    assert hang.entered.wait(5.0)
    connection.socket.shutdown(socket.SHUT_RDWR)
    connection.close()
    hang.release.set()
    time.sleep(0.05)
    hang.release.clear()


@pytest.mark.parametrize("size", [1 << 30, 1 << 62, (1 << 20) + 1])
def test_a_message_that_announces_too_much(server: PolicyServer, size: int) -> None:
    with raw(server) as connection:
        start = time.monotonic()
        connection.sendall(frame(b"x" * 100, announced=size))
        assert b"\x03\xf1" in closed_within(connection, 3.0)  # close code 1009: message too big
        assert time.monotonic() - start < 3.0


def test_a_message_that_is_too_big_in_parts(server: PolicyServer) -> None:
    with raw(server) as connection:
        connection.sendall(frame(b"x" * 400_000, final=False))
        for _ in range(2):
            connection.sendall(frame(b"x" * 400_000, opcode=0, final=False))
        assert b"\x03\xf1" in closed_within(connection, 3.0)


def test_a_message_that_trickles_in(server: PolicyServer) -> None:
    with raw(server) as connection:
        connection.sendall(frame(b"\x81", final=False))
        start = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012
            while time.monotonic() - start < 5.0:
                time.sleep(0.05)
                connection.sendall(frame(b"x", opcode=0, final=False) + PONG)


def test_an_opening_handshake_that_trickles_in(server: PolicyServer) -> None:
    crowd = [raw(server, handshake=False) for _ in range(40)]
    for connection in crowd:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    with client(server) as good:
        assert_chunk(ask(good))
    start = time.monotonic()
    for connection in crowd:
        connection.sendall(b"a")
        closed_within(connection, 3.0)
        connection.close()
    assert time.monotonic() - start < 3.0


def test_a_client_that_never_reads_its_answers(server: PolicyServer) -> None:
    with raw(server) as connection:
        connection.settimeout(0.3)
        data = frame(pack({**make_request(observation()), "prompt": "complain"}))
        deadline = time.monotonic() + 8.0
        with pytest.raises((ConnectionError, TimeoutError)):  # noqa: PT012
            while time.monotonic() < deadline:
                connection.sendall(data)
        with client(server) as good:
            assert_chunk(ask(good))
        closed_within(connection, 5.0)


def test_more_clients_than_there_is_room_for(server: PolicyServer) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(client(server)) for _ in range(LIMITS.max_clients)]
        with pytest.raises(InvalidStatus) as refused:
            client(server)
        assert refused.value.response.status_code == 503
        assert b"4 clients are connected already" in refused.value.response.body
        assert_chunk(ask(connections[0]))


def test_a_policy_that_hangs_and_the_queue_behind_it(server: PolicyServer, hang: Hang) -> None:
    hang.entered.clear()

    def request(instruction: str) -> Any:
        with client(server) as connection:
            return ask(connection, prompt=instruction)

    with ThreadPoolExecutor(3) as pool:
        hanging = pool.submit(request, "hang")
        assert hang.entered.wait(5.0)
        waiting = pool.submit(request, "wave")
        time.sleep(0.2)
        assert "busy: 1 requests wait already. Try again" in request("wave")
        for slow in (hanging, waiting):
            assert "policy stub: no answer within 1 s" in slow.result(5.0)
    hang.release.set()
    deadline = time.monotonic() + 5.0
    while "busy" in (answer := request("wave")):
        assert time.monotonic() < deadline
    assert answer["actions"].shape == (16, 12)
    hang.release.clear()


def test_health(server: PolicyServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5.0)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"OK\n")
    connection.close()
    connection.request("GET", "/anything")
    assert connection.getresponse().status == 426  # upgrade required
    connection.close()


def test_web_pages_are_refused(server: PolicyServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        client(server, origin="https://example.org")
    assert refused.value.response.status_code == 403


class TestToken:
    @pytest.mark.parametrize(
        "value",
        [None, "", TOKEN, f"Bearer {TOKEN}", "Api-Key ", "Api-Key wrong", f"Api-Key {TOKEN[:-1]}", f"Api-Key {TOKEN}x",
         "Api-Key \xe9"],
    )  # fmt: skip
    def test_wrong_or_none(self, guarded: PolicyServer, value: str | None) -> None:
        headers = {} if value is None else {"Authorization": value}
        with pytest.raises(InvalidStatus) as refused:
            client(guarded, additional_headers=headers)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["WWW-Authenticate"] == "Api-Key"
        assert TOKEN.encode() not in refused.value.response.body

    def test_two(self, guarded: PolicyServer) -> None:
        with pytest.raises(InvalidStatus) as refused:
            client(guarded, additional_headers=[("Authorization", f"Api-Key {TOKEN}"), ("Authorization", "x")])
        assert refused.value.response.status_code == 401

    def test_right(self, guarded: PolicyServer, caplog: pytest.LogCaptureFixture) -> None:
        with (
            caplog.at_level(logging.INFO),
            client(guarded, additional_headers={"Authorization": f"Api-Key {TOKEN}"}) as connection,
        ):
            assert_chunk(ask(connection))
        assert TOKEN not in caplog.text

    def test_health_needs_none(self, guarded: PolicyServer) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=5.0)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "robot.example"])
def test_other_machines_need_a_token(host: str) -> None:
    with pytest.raises(PolicyError, match=rf"other machines can reach {host}, so clients need a token. Give one by"):
        PolicyServer(StubPolicy(), ServerConfig(host=host))


def test_with_a_token_any_address_may_be_listened_on() -> None:
    with running(StubPolicy(), dataclasses.replace(LIMITS, host="0.0.0.0"), TOKEN) as server:
        with pytest.raises(InvalidStatus):
            client(server)
        with client(server, additional_headers={"Authorization": f"Api-Key {TOKEN}"}) as connection:
            assert_chunk(ask(connection))


def test_an_address_that_is_taken(server: PolicyServer) -> None:
    taken = dataclasses.replace(LIMITS, port=server.port)
    with pytest.raises(PolicyError, match=r"cannot listen on 127.0.0.1:\d+: .* Choose another"), running(config=taken):
        pass


@pytest.mark.parametrize(
    "values",
    [{"port": -1}, {"port": 65536}, {"max_clients": 0}, {"queue_size": 0}, {"request_time_out": float("nan")}],
)
def test_configuration_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        ServerConfig(**values)


class TestEpisodes:
    def test_a_client_keeps_its_episode_and_another_begins_a_new_one(self) -> None:
        policy = StubPolicy()
        with running(policy, LIMITS) as server, client(server) as one, client(server) as other:
            counts: list[int] = []
            for connection in (one, one, other, other, one):
                ask(connection)
                counts.append(policy.resets)
            assert np.diff(counts).tolist() == [0, 1, 0, 1]

    def test_a_client_that_says_who_it_is_keeps_it_over_connections(self) -> None:
        policy = StubPolicy()
        with running(policy, LIMITS) as server:
            counts: list[int] = []
            for name in ("a", "a", "b"):
                with client(server, additional_headers={CLIENT_HEADER: name}) as connection:
                    ask(connection)
                counts.append(policy.resets)
            assert np.diff(counts).tolist() == [0, 1]

    def test_a_reset_on_request(self) -> None:
        policy = StubPolicy()
        with running(policy, LIMITS) as server, client(server) as connection:
            ask(connection)
            before = policy.resets
            connection.send(pack({"reset": True}))
            assert unpack(connection.recv(timeout=5.0)) == {"reset": True}  # type: ignore[arg-type]
            assert "actions" in ask(connection, reset=True)
            assert policy.resets == before + 2


def test_the_policy_runs_in_one_thread() -> None:
    threads: set[int] = set()
    active: list[int] = [0, 0]

    def before(seen: Any) -> None:
        threads.add(threading.get_ident())
        active[0] += 1
        active[1] = max(active)
        time.sleep(0.005)
        active[0] -= 1

    def several(server: PolicyServer) -> None:
        with client(server) as connection:
            for _ in range(5):
                assert "actions" in ask(connection)

    config = dataclasses.replace(LIMITS, queue_size=4)
    with running(StubPolicy(before), config) as server, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(several, server) for _ in range(4)]:
            done.result(10.0)
    assert len(threads) == 1
    assert active == [0, 1]
    assert threads != {threading.get_ident()}
    assert server.requests == 20
    assert server.errors == 0


def test_it_stops_in_time_whatever_clients_and_policy_do(caplog: pytest.LogCaptureFixture) -> None:
    hang = Hang()
    with running(StubPolicy(hang), dataclasses.replace(LIMITS, request_time_out=30.0)) as server:
        idle, stalled, waiting = client(server), raw(server), client(server)
        stalled.sendall(frame(b"x" * 100, announced=200))
        waiting.send(pack({**make_request(observation()), "prompt": "hang"}))
        assert hang.entered.wait(5.0)
        start = time.monotonic()
    assert time.monotonic() - start < 12.0
    with pytest.raises(ConnectionClosed):
        idle.recv(timeout=1.0)
    hang.release.set()
    stalled.close()
    waiting.close()
    assert "did not end its last inference" in caplog.text


def test_memory_stays_bounded_under_big_messages(server: PolicyServer) -> None:
    """Four clients send a megabyte again and again without reading the answers: nothing is piled up."""

    def resident() -> int:
        with open(f"/proc/{os.getpid()}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    data = frame(b"\xc6\x00\x0f\xff\xe0" + b"x" * 0xFFFE0)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(raw(server)) for _ in range(LIMITS.max_clients)]
        for connection in connections:
            connection.settimeout(0.1)
            with contextlib.suppress(TimeoutError, ConnectionError):
                for _ in range(40):
                    connection.sendall(data)
        assert resident() - before < 64 << 20
