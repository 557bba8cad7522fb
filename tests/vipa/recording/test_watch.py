"""What is noticed around a recorder: cameras that fall silent, clocks that jump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.recording.watch import NS, ClockWatch, StreamWatch


def test_a_silent_camera_is_reported_once_and_its_return_too():
    watch = StreamWatch(["/front", "/side"], 0.5)
    watch.begin(0)
    for step in range(1, 30):
        now = step * NS // 10
        watch.seen("/side", now)
        if step <= 10 or step >= 25:
            watch.seen("/front", now)
        lines = watch.check(now)
        if step == 16:
            assert len(lines) == 1
            assert lines[0].startswith("/front: no message for 0.5 s; everything else is recorded")
        elif step == 25:
            assert lines == ["/front: messages arrive again"]
        else:
            assert lines == []


def test_a_camera_that_never_began_is_reported():
    watch = StreamWatch(["/front"], 0.5)
    watch.begin(7 * NS)
    assert watch.check(7 * NS + NS // 2) == []
    assert len(watch.check(7 * NS + NS // 2 + 1)) == 1
    watch.begin(20 * NS)
    assert watch.check(20 * NS) == []


def test_other_topics_may_be_silent():
    watch = StreamWatch(["/front"], 0.5)
    watch.begin(0)
    watch.seen("/gate", 1)
    watch.seen("/front", NS)
    assert watch.check(NS) == []


@pytest.mark.parametrize(("passed", "wall", "jump"), [
    (0.01, 0.01, 0.0), (0.0, 5.0, 0.0), (0.5, 5.0, 0.0), (1.0, 0.01, 0.0), (3.0, 0.01, 2.99), (-0.5, 0.01, 0.0),
    (-3.0, 0.01, -3.01), (1e9, 0.01, 1e9 - 0.01),
])  # fmt: skip
def test_jumps_of_the_clock(passed, wall, jump):
    watch = ClockWatch(1.0)
    start = 2_000_000_000 * NS
    assert watch.check(start, 100.0) == 0.0
    assert watch.check(start + round(passed * NS), 100.0 + wall) == pytest.approx(jump, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 0.9), st.floats(0, 2)), max_size=20))
def test_a_clock_that_runs_slower_than_the_wall_never_jumps(steps):
    watch, now, wall = ClockWatch(1.0), NS, 0.0
    for passed, passed_wall in steps:
        now, wall = now + round(passed * NS), wall + passed_wall
        assert watch.check(now, wall) == 0.0


def test_a_new_episode_forgets_the_clock():
    watch = ClockWatch(1.0)
    watch.check(NS, 0.0)
    watch.begin()
    assert watch.check(500 * NS, 0.1) == 0.0
