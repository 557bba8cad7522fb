"""An arm whose controller falls silent stops before the end of the last trajectory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.control.trajectory_watch import TrajectoryWatch

MS = 1_000_000
NOW = 5_000 * MS


def test_nothing_was_taken() -> None:
    assert not TrajectoryWatch(0.15).is_abandoned(NOW)


@pytest.mark.parametrize(
    ("after_ms", "abandoned"), [(0, False), (150, False), (151, True), (1019, True), (1020, False), (5000, False)]
)
def test_between_the_time_out_and_the_end_it_is_abandoned(after_ms: int, abandoned: bool) -> None:
    watch = TrajectoryWatch(0.15)
    watch.take(NOW, NOW + 20 * MS, 1.0)
    assert watch.is_abandoned(NOW + after_ms * MS) is abandoned


@given(st.lists(st.integers(1, 150), min_size=1, max_size=30))
def test_a_controller_that_renews_in_time_is_never_abandoned(pauses_ms: list[int]) -> None:
    watch, now = TrajectoryWatch(0.15), NOW
    for pause in pauses_ms:
        watch.take(now, now + 20 * MS, 1.0)
        now += pause * MS
        assert not watch.is_abandoned(now)
    assert watch.is_abandoned(now + 151 * MS)
