"""The remote policy: the same chunks as the policy itself, and one clear error in time for each failure."""

import base64
import contextlib
import dataclasses
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.vipa_inference.serving.running import TOKEN, Hang, StubPolicy, fail_on, observation, running, url
from vipa_inference.policy import CommittedPlan, Observation, PolicyError
from vipa_inference.registry import make_policy
from vipa_inference.scripted import WavePolicy
from vipa_inference.serving.answer import make_answer, make_metadata
from vipa_inference.serving.authentication import TOKEN_VARIABLE
from vipa_inference.serving.client import RemoteConfig, RemotePolicy
from vipa_inference.serving.codec import pack
from vipa_inference.serving.server import PolicyServer, ServerConfig

pytestmark = pytest.mark.protocol

METADATA = pack(make_metadata(WavePolicy()))
ANSWER = make_answer(WavePolicy().infer(observation()), 0.0)


@contextlib.contextmanager
def remote(address: str, **options: Any) -> Iterator[RemotePolicy]:
    """The policy ``remote``, patient enough for a busy machine."""
    policy = RemotePolicy(RemoteConfig(address, **{"time_out": 5.0, **options}))
    with contextlib.closing(policy):
        yield policy


@contextlib.contextmanager
def fake_server(handle: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A websocket server that does what the test says."""
    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


def assert_fails(policy: RemotePolicy, complaint: str, seen: Observation | None = None, within: float = 5.0) -> None:
    start = time.monotonic()
    with pytest.raises(PolicyError, match=rf"^policy server ws://127\.0\.0\.1:\d+: .*{complaint}") as caught:
        policy.infer(seen or observation())
    assert time.monotonic() - start < within
    assert "\n" not in str(caught.value)


def test_the_same_chunks_as_the_policy_itself() -> None:
    local = WavePolicy()
    plan = CommittedPlan(np.array([1, 2]), np.tile(np.eye(4), (2, 1, 1)), np.ones((2, 6)))
    with running(WavePolicy()) as server, remote(url(server)) as policy:
        assert (policy.name, policy.policy_hash) == ("remote", local.policy_hash)
        for i in range(4):
            seen = dataclasses.replace(observation(1_000_000_000 + i * 200_000_000), committed=plan)
            found, expected = policy.infer(seen), local.infer(seen)
            np.testing.assert_allclose(found.actions, expected.actions, atol=1e-6)
            assert (
                dataclasses.replace(found, actions=expected.actions, reference_pose=expected.reference_pose) == expected
            )


def test_the_registry_makes_it() -> None:
    with running() as server:
        policy = make_policy("remote", url=url(server), time_out=5)
        assert isinstance(policy, RemotePolicy)
        assert policy.infer(observation()).horizon == 16
        policy.close()


def test_a_reset_reaches_the_server_with_the_next_request() -> None:
    stub = StubPolicy()
    with running(stub) as server, remote(url(server)) as policy:
        policy.infer(observation())
        before = stub.resets
        policy.infer(observation())
        assert stub.resets == before
        policy.reset()
        policy.infer(observation())
        policy.infer(observation())
        assert stub.resets == before + 1


def test_what_the_policy_says_is_wrong_travels_and_the_connection_stays() -> None:
    stub = StubPolicy(fail_on("fly", PolicyError("wings are missing. Attach them")))
    with running(stub) as server, remote(url(server)) as policy:
        assert_fails(policy, r"wings are missing\. Attach them", observation(instruction="fly"))
        assert_fails(
            policy, "joint positions not finite", dataclasses.replace(observation(), joint_positions=np.full(7, np.nan))
        )
        assert policy.infer(observation()).horizon == 16
        assert server.clients == 1


def test_late_answers_are_passed_over_on_the_same_connection() -> None:
    """A lost packet must not cost a new connection, nor may an old chunk be taken for the new one."""
    hang = Hang()
    with running(StubPolicy(hang)) as server, remote(url(server), time_out=0.3) as policy:
        policy.infer(observation(1_000_000_000))
        before = policy._connection
        for time_ns in (2_000_000_000, 3_000_000_000):
            assert_fails(policy, "no answer within", observation(time_ns, "hang"), within=1.0)
        hang.release.set()
        assert policy.infer(observation(4_000_000_000)).observation_ns == 4_000_000_000
        assert policy._connection is before
        assert policy.infer(observation(5_000_000_000)).observation_ns == 5_000_000_000


def test_a_connection_on_which_nothing_comes_is_given_up() -> None:
    hang = Hang()
    with running(StubPolicy(hang)) as server, remote(url(server), time_out=0.2) as policy:
        policy.infer(observation())
        for _ in range(3):
            assert policy._connection is not None
            assert_fails(policy, "no answer within", observation(instruction="hang"), within=1.0)
        assert policy._connection is None
        hang.release.set()
        policy.infer(observation())


def test_an_answer_that_is_late_is_not_waited_for_and_the_episode_goes_on() -> None:
    hang = Hang()
    stub = StubPolicy(hang)
    with running(stub) as server, remote(url(server), time_out=0.5) as policy:
        policy.infer(observation())
        before = stub.resets
        assert_fails(
            policy, r"no answer within 0\.5 s\. Check the network", observation(instruction="hang"), within=1.5
        )
        hang.release.set()
        assert policy.infer(observation()).horizon == 16
        assert stub.resets == before


def test_a_server_that_was_started_anew_is_found_again_at_once() -> None:
    with running() as server, remote(url(server)) as policy:
        policy.infer(observation())
        port = server.port
        running_again = running(config=ServerConfig(port=port))
    with running_again, contextlib.closing(policy):
        assert policy.infer(observation()).horizon == 16


def test_a_server_that_is_gone_is_looked_for_ever_more_seldom_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server, remote(url(server), longest_back_off=0.4) as policy:
        policy.infer(observation())
        port = server.port
    with contextlib.closing(policy):
        assert_fails(policy, r"cannot be reached: .*refused.*\. Check that `vipa serve` is running there")
        assert_fails(policy, r"cannot be reached: .*Check that `vipa serve` is running", within=0.05)
        attempts: list[float] = []
        genuine = policy._open_connection
        monkeypatch.setattr(policy, "_open_connection", lambda until: attempts.append(until) or genuine(until))
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert_fails(policy, "cannot be reached")
            time.sleep(0.01)
        assert 2 <= len(attempts) <= 6  # after 0.1, 0.2, 0.4, 0.4, ... s
        with running(config=ServerConfig(port=port)):
            time.sleep(0.4)
            assert policy.infer(observation()).horizon == 16


def test_another_policy_behind_the_same_address_is_refused() -> None:
    with running() as server, remote(url(server)) as policy:
        policy.infer(observation())
        port = server.port
    with contextlib.closing(policy), running(StubPolicy(), ServerConfig(port=port)):
        assert_fails(policy, r"serves policy stub \(\w+\) now, not that of before .* Configure the policy again")


class TestToken:
    @pytest.fixture
    def guarded(self) -> Iterator[PolicyServer]:
        with running(token=TOKEN) as server:
            yield server

    def test_from_a_file(self, guarded: PolicyServer, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        with remote(url(guarded), token_file=str(tmp_path / "token")) as policy:
            assert policy.infer(observation()).horizon == 16

    def test_from_the_environment(self, guarded: PolicyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        with remote(url(guarded)) as policy:
            assert policy.infer(observation()).horizon == 16

    @pytest.mark.parametrize("token", ["", "wrong"])
    def test_wrong_or_none(self, guarded: PolicyServer, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
        with pytest.raises(
            PolicyError, match=r"refused the token\. Give the server's, by token_file or VIPA_POLICY_TOKEN"
        ):
            RemotePolicy(RemoteConfig(url(guarded)))

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [(None, "cannot be read: No such file"), (b"", "expected one line"), (b"two words", "expected one line"),
         (b"a\nb", "expected one line"), ("é".encode(), "expected one line"), (b"\xff", "cannot be read: no text")],
    )  # fmt: skip
    def test_bad_files(self, content: bytes | None, complaint: str, tmp_path: Path) -> None:
        file = tmp_path / "token"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(PolicyError, match=rf"token {file}: {complaint}"):
            RemotePolicy(RemoteConfig("ws://127.0.0.1:9", token_file=str(file)))


def greet_with(message: bytes | str) -> Callable[[ServerConnection], None]:
    return lambda connection: connection.send(message)


def never_greet(connection: ServerConnection) -> None:
    with contextlib.suppress(TimeoutError):
        connection.recv(timeout=5.0)


@pytest.mark.parametrize(
    ("handle", "complaint"),
    [
        (greet_with("out of order"), "out of order"),
        (greet_with(b"\xc1"), "no msgpack of the expected form: .* Check that it is a server of this version"),
        (greet_with(pack({"protocol_version": 9})), "protocol version 9, expected 1"),
        (greet_with(b"x" * (2 << 20)), "is no policy server"),
        (never_greet, r"no connection within 1\.0 s"),
    ],
)
def test_what_is_no_policy_server(handle: Callable[[ServerConnection], None], complaint: str) -> None:
    start = time.monotonic()
    with fake_server(handle) as address, pytest.raises(PolicyError, match=f"^policy server {address}: .*{complaint}"):
        RemotePolicy(RemoteConfig(address, connect_time_out=1.0))
    assert time.monotonic() - start < 4.0


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "is no policy server: it answered HTTP 404"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "has too many clients"),
        (b"SSH-2.0-OpenSSH\r\n", "is no policy server"),
        (b"", r"no connection within 0\.5 s"),
    ],
)
def test_servers_of_other_kinds(reply: bytes, complaint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)
                connection.recv(1 if reply == b"" else 0)

        threading.Thread(target=answer, daemon=True).start()
        address = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PolicyError, match=complaint):
            RemotePolicy(RemoteConfig(address, connect_time_out=0.5))


def test_nobody_listens() -> None:
    with pytest.raises(PolicyError, match=r"^policy server ws://127\.0\.0\.1:9: cannot be reached: .*refused"):
        RemotePolicy(RemoteConfig("ws://127.0.0.1:9"))


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(PolicyError, match="cannot be reached: "):
        RemotePolicy(RemoteConfig("ws://robot.invalid:8000"))


def answer_with(message: bytes | str) -> Callable[[ServerConnection], None]:
    def handle(connection: ServerConnection) -> None:
        connection.send(METADATA)
        for _ in connection:
            connection.send(message)

    return handle


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\xc1", "no msgpack of the expected form"),
        (pack([]), "answer: expected a map of keys"),
        (pack({}), "answer: actions is missing"),
        (pack({**ANSWER, "actions": np.full((16, 12), np.nan)}), "are not finite"),
        (pack({**ANSWER, "observation_ns": 3}), "belongs to the observation at 3 ns"),
        (pack(ANSWER)[:100], "no msgpack of the expected form"),
        (b"x" * (2 << 20), "closed the connection: .*too big"),
        ("policy asleep\nwake it", "policy asleep wake it"),
    ],
)
def test_answers_that_are_none(message: bytes | str, complaint: str) -> None:
    with fake_server(answer_with(message)) as address, remote(address) as policy:
        assert_fails(policy, complaint)


def test_a_server_that_dies_within_its_answer() -> None:
    def handle(connection: ServerConnection) -> None:
        connection.send(METADATA)
        connection.recv()
        connection.socket.sendall(b"\x82\x7e\x10\x00half")
        connection.socket.shutdown(socket.SHUT_RDWR)

    with fake_server(handle) as address, remote(address) as policy:
        assert_fails(policy, "closed the connection")


def test_a_server_that_stops_reading_does_not_block_the_client() -> None:
    """The images are larger than what the system's buffers hold, so that sending does not end."""
    ended = threading.Event()

    def serve_deaf(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        key = connection.recv(4096).decode().partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        connection.sendall(struct.pack(">BBH", 0x82, 126, len(METADATA)) + METADATA)
        ended.wait(10.0)
        connection.close()

    seen = observation()
    views = {n: dataclasses.replace(v, image=np.zeros((1600, 2000, 3), np.uint8)) for n, v in seen.views.items()}
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = threading.Thread(target=serve_deaf, args=(listener,), daemon=True)
        server.start()
        with remote(f"ws://127.0.0.1:{listener.getsockname()[1]}", time_out=0.6) as policy:
            assert_fails(policy, r"no answer within 0\.6 s", dataclasses.replace(seen, views=views), within=3.0)
        ended.set()
        server.join(5.0)


def test_a_server_that_talks_without_being_asked() -> None:
    def handle(connection: ServerConnection) -> None:
        connection.send(METADATA)
        with contextlib.suppress(ConnectionClosed):
            while True:
                connection.send(pack(ANSWER))

    with fake_server(handle) as address, remote(address) as policy:
        assert policy.infer(observation()).horizon == 16
        assert_fails(policy, "belongs to the observation at 1000000000 ns", observation(2_000_000_000))
        assert_fails(policy, "belongs to the observation at 1000000000 ns", observation(3_000_000_000))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "http://127.0.0.1"}, r"url: 'http://127.0.0.1' is none like ws://"),
        ({"url": ""}, "url: '' is none like"),
        ({"url": "ws://127.0.0.1:x"}, "policy remote: "),
        ({"time_out": 0.0}, r"time_out: 0.0 is not positive"),
        ({"time_out": float("inf")}, "time_out: inf is not positive"),
        ({"token": "secret"}, "unknown option token; known: .*token_file"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PolicyError, match=f"^policy remote: .*{complaint}" if "policy" not in complaint else complaint):
        make_policy("remote", **options)
