"""When the arm counts as at rest, slowed, moved; when the hand counts as opened."""

import math

import numpy as np
import pytest

from vipa.faults.judging import Sample, largest, median, milliseconds, moved, opened, rest_ns, slowed_ns

MS = 1_000_000


def samples(speeds: list[float], hand: list[float] | None = None) -> list[Sample]:
    """One sample every 10 ms."""
    q, found = np.zeros(7), list[Sample]()
    for k, speed in enumerate(speeds):
        found.append(Sample(k * 10 * MS, q.copy(), np.array([speed] + [0.0] * 6), np.full(6, hand[k] if hand else 0.2)))
        q[0] += speed * 0.01
    return found


def test_rest_begins_with_the_first_sample_after_the_last_that_moves() -> None:
    assert rest_ns(samples([0.4, 0.2] + [0.0] * 10), 0) == 20 * MS


def test_a_pause_of_the_motion_is_no_rest() -> None:
    assert rest_ns(samples([0.4] + [0.0] * 10 + [0.3] + [0.0] * 10), 0) == 120 * MS


@pytest.mark.parametrize("speeds", [[0.4] * 20, [0.4] * 18 + [0.0] * 2, []])
def test_an_arm_that_moves_or_was_seen_too_shortly_is_not_at_rest(speeds: list[float]) -> None:
    assert rest_ns(samples(speeds), 0) is None


def test_what_moves_after_the_end_of_the_watch_does_not_count() -> None:
    moving_again = samples([0.4] + [0.0] * 10 + [0.3] * 10)
    assert rest_ns(moving_again, 0, 110 * MS) == 10 * MS
    assert rest_ns(moving_again, 0) is None


def test_slowed_is_half_the_speed_of_the_beginning() -> None:
    assert slowed_ns(samples([0.8, 0.4, 0.3, 0.1]), 10 * MS) == 30 * MS
    assert slowed_ns(samples([0.4, 0.3, 0.3]), 0) is None


def test_moved_is_the_longest_way_of_a_joint_from_the_first_moment() -> None:
    there_and_back = samples([0.5] * 10 + [-0.5] * 10 + [0.0])
    assert moved(there_and_back, 0, 200 * MS) == pytest.approx(0.05)
    assert moved(there_and_back, 100 * MS, 100 * MS) == 0.0


def test_a_finger_that_closes_is_not_opened() -> None:
    assert opened(samples([0.0] * 3, hand=[0.2, 0.1, 0.05]), 0, 20 * MS) == 0.0
    assert opened(samples([0.0] * 3, hand=[0.2, 0.5, 0.3]), 0, 20 * MS) == pytest.approx(0.3)


def test_what_never_came_is_infinitely_late_and_nothing_is_no_number() -> None:
    assert milliseconds(0, None) == math.inf
    assert milliseconds(5 * MS, 7 * MS) == 2.0
    assert math.isnan(largest([]))
    assert math.isnan(median([]))
