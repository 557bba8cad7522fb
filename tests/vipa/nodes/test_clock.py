"""ROS time between two messages of /clock."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vipa import clock_page

clock_module = pytest.importorskip("vipa.nodes.clock")
MS = 1_000_000


class FakeNode:
    """A node whose /clock messages and wall time the test decides."""

    def __init__(self, simulated: bool = True) -> None:
        self.clock_subscription = object() if simulated else None
        self.message: Any = None

    def take_latest(self, subscription: Any) -> Any:
        message, self.message = self.message, None
        return message

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=42))

    def publish(self, now_ns: int) -> None:
        self.message = SimpleNamespace(clock=SimpleNamespace(sec=now_ns // 10**9, nanosec=now_ns % 10**9))


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    state = SimpleNamespace(ns=10**12)
    monkeypatch.setattr(clock_module.time, "monotonic_ns", lambda: state.ns)
    return state


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a ROS domain of the test's own."""
    monkeypatch.setattr(clock_page, "FOLDER", tmp_path)
    return clock_page.page_path()


def test_a_laboratory_on_this_computer_is_followed_to_the_millisecond(page: Path, wall: SimpleNamespace) -> None:
    node = FakeNode()
    writer = clock_page.ClockWriter(page)
    writer.write(5 * 10**9)
    clock = clock_module.FineClock(node)
    node.publish(4 * 10**9)  # /clock is older
    assert clock.now_ns() == 5 * 10**9
    wall.ns += MS // 2
    assert clock.now_ns() == 5 * 10**9 + MS // 2
    wall.ns += 30 * MS  # the laboratory waits for somebody
    assert clock.now_ns() == 5 * 10**9 + MS
    writer.write(5 * 10**9 + 2 * MS)
    assert clock.now_ns() == 5 * 10**9 + 2 * MS
    writer.close()
    assert not page.exists()


def test_without_a_living_laboratory_it_goes_back_to_the_messages(page: Path, wall: SimpleNamespace) -> None:
    node = FakeNode()
    clock = clock_module.FineClock(node)
    writer = clock_page.ClockWriter(page)
    writer.write(5 * 10**9)
    assert clock.now_ns() == 5 * 10**9
    wall.ns += 2 * 10**9  # killed: the page stays behind
    node.publish(6 * 10**9)
    assert clock.now_ns() == 6 * 10**9
    writer = clock_page.ClockWriter(page)  # the next one takes the page over
    wall.ns += 10**9
    writer.write(7 * 10**9)
    assert clock.now_ns() == 7 * 10**9


def test_without_simulated_time_it_is_the_nodes_clock() -> None:
    assert clock_module.FineClock(FakeNode(simulated=False)).now_ns() == 42


def test_zero_until_time_begins(wall: SimpleNamespace) -> None:
    assert clock_module.FineClock(FakeNode()).now_ns() == 0


def test_it_runs_on_with_the_wall_and_then_holds(wall: SimpleNamespace) -> None:
    node = FakeNode()
    clock = clock_module.FineClock(node)
    node.publish(5 * 10**9)
    assert clock.now_ns() == 5 * 10**9
    wall.ns += 7 * MS
    assert clock.now_ns() == 5 * 10**9 + 7 * MS
    wall.ns += 500 * MS
    assert clock.now_ns() == 5 * 10**9 + clock.HOLD_NS


def test_it_does_not_run_backwards_when_the_laboratory_stretches_time(wall: SimpleNamespace) -> None:
    node = FakeNode()
    clock = clock_module.FineClock(node)
    now_ns = 5 * 10**9
    node.publish(now_ns)
    times = [clock.now_ns()]
    for _ in range(30):  # simulated time at half the speed of the wall
        for _ in range(8):
            wall.ns += 10 * MS
            times.append(clock.now_ns())
        now_ns += 40 * MS
        node.publish(now_ns)
        times.append(clock.now_ns())
        assert now_ns <= times[-1] <= now_ns + clock.HOLD_NS
    assert times == sorted(times)


def test_a_message_that_was_taken_late_does_not_set_it_back(wall: SimpleNamespace) -> None:
    node = FakeNode()
    clock = clock_module.FineClock(node)
    start = wall.ns
    for number, delay in enumerate((0, 9, 3, 10)):
        wall.ns = start + number * 40 * MS + delay * MS
        node.publish(5 * 10**9 + number * 40 * MS)
        assert clock.now_ns() == 5 * 10**9 + (number * 40 + delay) * MS


def test_a_large_jump_back_is_followed(wall: SimpleNamespace) -> None:
    node = FakeNode()
    clock = clock_module.FineClock(node)
    node.publish(50 * 10**9)
    clock.now_ns()
    node.publish(5 * 10**9)
    assert clock.now_ns() == 5 * 10**9
