"""A headset: the events of its hands, and the genuine server that takes them."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
from fabricated_hand import event_values, mirrored, right_hand

pytest.importorskip("vuer", reason="needs the package vuer: pip install '.[teleop]'")
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from vipa.errors import ConfigurationError, HardwareError
from vipa.teleop.command import TeleopCommand
from vipa.teleop.sources import make_source
from vipa.teleop.sources.xr import HandTracker, XrConfig, XrSource
from vipa_inference.rotations import matrix_from_rotation_vector

HAND = np.ones(6)


def pinching(distance: float) -> list[float]:
    """The left hand with so many m between the tips of thumb and index finger."""
    points = mirrored(right_hand())
    points[4] = points[9] + (0.0, distance, 0.0)
    return event_values(points)


def wrist(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: tuple[float, float, float] = (0, 0, 0)) -> Any:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = matrix_from_rotation_vector(turn), (x, y, z)
    return pose


def command(tracker: HandTracker, value: object) -> TeleopCommand:
    given = tracker.command(value, 7)
    assert given is not None
    return given


def test_the_wrist_moves_in_the_axes_of_the_base_frame_and_the_fingers_are_the_hand() -> None:
    tracker = HandTracker(XrConfig())
    fist = event_values(right_hand(1.3, 0.9, 1.0), wrist(0.2, 1.4, -0.5, (0.0, 0.5, 0.0)))
    given = command(tracker, {"right": fist, "left": pinching(0.01)})
    assert given.clutch
    assert given.pose is not None
    assert given.pose[:3, 3] == pytest.approx([0.5, -0.2, 1.4])
    other = command(tracker, {"right": event_values(right_hand(), wrist(turn=(0.0, 0.8, 0.0)))})
    assert other.pose is not None
    turned = other.pose[:3, :3] @ given.pose[:3, :3].T
    assert turned == pytest.approx(matrix_from_rotation_vector([0.0, 0.0, 0.3])), "about the vertical"
    assert given.hand == pytest.approx(np.zeros(6), abs=1e-6)
    assert other.hand == pytest.approx(np.ones(6), abs=1e-6)


def test_an_operator_who_looks_elsewhere() -> None:
    tracker = HandTracker(XrConfig(heading=np.pi / 2))
    given = command(tracker, {"right": event_values(right_hand(), wrist(z=-1.0))})
    assert given.pose is not None
    assert given.pose[:3, 3] == pytest.approx([0.0, 1.0, 0.0]), "his forward is the robot's left"


def test_the_other_hand_is_the_clutch_and_losing_it_opens_it() -> None:
    tracker = HandTracker(XrConfig())
    right = event_values(right_hand())
    held = [command(tracker, {"right": right, "left": pinching(d)}).clutch for d in (0.05, 0.018, 0.03, 0.04, 0.03)]
    assert held == [False, True, True, False, False], "closes below 2 cm, opens above 3.5 cm"
    assert command(tracker, {"right": right, "left": pinching(0.01)}).clutch
    assert not command(tracker, {"right": right}).clutch


def test_a_left_hander() -> None:
    left = event_values(mirrored(right_hand({"index": 1.3})), wrist(y=1.0))
    points = right_hand()
    points[4] = points[9] + (0.0, 0.01, 0.0)
    given = command(HandTracker(XrConfig(hand="left")), {"left": left, "right": event_values(points)})
    assert given.clutch
    assert given.hand.round(6).tolist() == [1, 1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    "value",
    [None, "hands", {}, {"right": None}, {"right": [1.0] * 399}, {"right": ["x"] * 400}, {"right": [0.0] * 400},
     {"right": [float("nan")] * 400}, {"left": event_values(mirrored(right_hand()))}],
)  # fmt: skip
def test_a_hand_that_is_not_tracked_gives_no_command(value: object) -> None:
    assert HandTracker(XrConfig()).command(value, 7) is None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served() -> Iterator[tuple[XrSource, int]]:
    port = free_port()
    source = XrSource(XrConfig(port=port))
    yield source, port
    source.close()


@pytest.mark.protocol
def test_a_headset_streams_its_hands_to_the_server(served: tuple[XrSource, int]) -> None:
    source, port = served
    assert source.read(0, HAND) is None
    with connect(f"ws://localhost:{port}", origin=f"http://localhost:{port}") as headset:
        headset.send(msgpack.packb({"etype": "INIT", "ts": time.time(), "value": {}}))
        asked = b""
        while b"Hands" not in asked:
            answer = headset.recv(timeout=10)
            asked = answer if isinstance(answer, bytes) else answer.encode()
        value = {"right": event_values(right_hand(), wrist(x=0.1)), "left": pinching(0.01)}
        headset.send(msgpack.packb({"etype": "HAND_MOVE", "ts": time.time(), "key": "hands", "value": value}))
        deadline = time.monotonic() + 10
        given = None
        while given is None and time.monotonic() < deadline:
            given = source.read(1_000_000_000, HAND)
            time.sleep(0.005)
    assert given is not None
    assert given.clutch
    assert given.pose is not None
    assert given.pose[1, 3] == pytest.approx(-0.1)
    assert 0 <= 1_000_000_000 - given.stamp_ns < 500_000_000
    assert source.read(0, HAND) is None, "each event is given once; silence stays silence"


@pytest.mark.protocol
@pytest.mark.parametrize(
    ("path", "origin"), [("/", "http://elsewhere.example"), ("/relay", None), ("/workspace/x", None)]
)
def test_no_other_page_and_no_other_path_is_served(served: tuple[XrSource, int], path: str, origin: str | None) -> None:
    _, port = served
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://localhost:{port}{path}", origin=origin)  # type: ignore[arg-type]
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n")
        assert b" 403 " in raw.recv(100)


@pytest.mark.protocol
def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HardwareError, match="choose another with port"):
            make_source("xr", {"port": taken.getsockname()[1]})


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="pinch_closed"):
        make_source("xr", {"pinch_closed": 0.1})
    with pytest.raises(ConfigurationError, match="hand"):
        make_source("xr", {"hand": "both"})
