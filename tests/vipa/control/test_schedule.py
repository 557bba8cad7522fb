"""The chunk scheduler under random chunks, latencies and arrival times."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa.control.schedule import ChunkPlan, ChunkScheduler, ScheduleConfig

Array = NDArray[np.float64]
NS = 1_000_000_000
MS = 1_000_000
START = 5 * NS
HOME = np.array([0.0, -0.4, 0.0, -2.4, 0.0, 2.0, 0.785])
OPEN = np.ones(6)
CONFIG = ScheduleConfig()


def wave(time_ns: NDArray[np.int64]) -> Array:
    """A smooth joint motion (N, 7): velocity at most 0.5 rad/s, acceleration at most 1.26 rad/s^2."""
    t = (time_ns - START) / NS
    return HOME + 0.2 * np.sin(2.5 * t[:, None] + np.arange(7))


BEGIN = wave(np.array([START]))[0]


def make_plan(
    chunk_id: int, observation_ns: int, rows: int = 16, step_ns: int = 50 * MS, offset: float = 0.0
) -> ChunkPlan:
    times = observation_ns + step_ns * np.arange(1, rows + 1)
    hand = np.clip(0.5 + 0.5 * np.sin(times[:, None] / NS + np.arange(6)), 0.0, 1.0)
    return ChunkPlan(chunk_id, np.arange(rows), times, wave(times) + offset, hand)


def dense(scheduler: ChunkScheduler, begin_ns: int, end_ns: int, step_ns: int = MS) -> tuple[Array, Array, Array]:
    sample = scheduler.samples(np.arange(begin_ns, end_ns, step_ns))
    return sample.q, sample.dq, sample.hand


def new_scheduler(config: ScheduleConfig = CONFIG) -> ChunkScheduler:
    scheduler = ChunkScheduler(config, HOME, OPEN)
    scheduler.hold(BEGIN, OPEN, START)
    return scheduler


def test_rows_are_met_at_their_times_once_blended_in() -> None:
    scheduler = new_scheduler()
    plan = make_plan(1, START)
    assert scheduler.accept(plan, START) == 16
    for k in range(4, 13):  # after the blend window, before the end slows down
        np.testing.assert_allclose(scheduler.sample(int(plan.times_ns[k])).q, plan.q[k], atol=1e-5)
        np.testing.assert_allclose(scheduler.sample(int(plan.times_ns[k])).hand, plan.hand[k], atol=2e-3)


def test_starved_plan_comes_to_rest_at_its_last_row() -> None:
    scheduler = new_scheduler()
    plan = make_plan(1, START)
    scheduler.accept(plan, START)
    end = scheduler.end_ns()
    q, dq, _ = dense(scheduler, START, end + 200 * MS)
    np.testing.assert_allclose(q[-1], plan.q[-1], atol=1e-9)
    assert (dq[-200:] == 0.0).all()
    acceleration = np.diff(dq, axis=0) / 1e-3
    assert np.abs(acceleration[len(q) - 600 :]).max() < CONFIG.brake_acceleration + 2.0
    assert end < plan.times_ns[-1] + 200 * MS


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_random_chunks_give_one_smooth_trajectory(data: st.DataObject) -> None:
    """Latency 0-300 ms, arrivals 20-400 ms apart, rows that disagree with the plan by up to 20 mrad."""
    scheduler = new_scheduler()
    now, executed, due = START, [], {}
    q_all, dq_all = [], []
    for chunk_id in range(8):
        latency = data.draw(st.integers(0, 300)) * MS
        offset = data.draw(st.floats(-0.02, 0.02))
        plan = make_plan(
            chunk_id, now - latency, data.draw(st.integers(1, 20)), data.draw(st.integers(20, 70)) * MS, offset
        )
        change = scheduler.change_ns(now)
        before, state = [scheduler.sample(t) for t in range(now, change + 1, MS)], scheduler.sample(change)
        alive = scheduler.accept(plan, now)
        assert alive == int((plan.times_ns > change).sum())
        due.update({(chunk_id, int(r)): (int(t), now) for r, t in zip(plan.rows, plan.times_ns, strict=True)})
        for old, t in zip(before, range(now, change + 1, MS), strict=True):  # nothing before the lead changes
            np.testing.assert_allclose(scheduler.sample(t).q, old.q, atol=1e-12)
        left, right = scheduler.sample(change - 1000), scheduler.sample(change + 1000)
        assert np.abs(right.dq - left.dq).max() < 1e-3  # within 2 us: no jump
        after = scheduler.sample(change)
        np.testing.assert_allclose(after.q, state.q, atol=1e-12)
        np.testing.assert_allclose(after.dq, state.dq, atol=1e-12)
        wait = data.draw(st.integers(20, 400))
        for t in range(now, now + wait * MS, 10 * MS):
            executed += [(step, t) for step in scheduler.executed(t)]
        q, dq, hand = dense(scheduler, now, now + wait * MS)
        assert (hand >= -1e-12).all()
        assert (hand <= 1.0 + 1e-12).all()
        q_all.append(q)
        dq_all.append(dq)
        now += wait * MS
    q, dq = np.concatenate(q_all), np.concatenate(dq_all)
    # Position, its difference quotient and the reported velocity agree everywhere, seams included.
    np.testing.assert_allclose(np.diff(q, axis=0) / 1e-3, 0.5 * (dq[1:] + dq[:-1]), atol=2e-3)
    # What changes within 1 ms is an acceleration that the blend may have: a resting plan may be 0.44 rad from the
    # wave, and to close that gap within the window, over its three knots, takes 6.5 gap / window^2.
    assert np.abs(np.diff(dq, axis=0)).max() < 1e-3 * (6.5 * 0.44 / CONFIG.blend_s**2 + 30.0)
    keys = [(step.chunk_id, step.row) for step, _ in executed]
    assert len(keys) == len(set(keys))
    for step, seen in executed:
        time_ns, accepted_at = due[(step.chunk_id, step.row)]
        assert step.time_ns == time_ns
        assert accepted_at + CONFIG.lead_s * NS < time_ns <= seen
    assert [step.time_ns for step, _ in executed] == sorted(step.time_ns for step, _ in executed)


def seam_jump(blend_s: float) -> float:
    """The largest change of velocity within 1 ms at the seam between two chunks that disagree by 15 mrad."""
    scheduler = new_scheduler(replace(CONFIG, blend_s=blend_s))
    scheduler.accept(make_plan(1, START), START)
    now = START + 200 * MS
    scheduler.accept(make_plan(2, now - 40 * MS, offset=0.015), now)
    _, dq, _ = dense(scheduler, now - 20 * MS, now + 300 * MS)
    return float(np.abs(np.diff(dq, axis=0)).max())


def test_blending_removes_the_jump_at_the_seam() -> None:
    assert seam_jump(0.15) < 0.01
    assert seam_jump(0.002) > 5 * seam_jump(0.15)


def test_an_agreeing_chunk_changes_nothing() -> None:
    scheduler = new_scheduler()
    scheduler.accept(make_plan(1, START), START)
    now = START + 250 * MS
    before, _, _ = dense(scheduler, now, now + 300 * MS)
    scheduler.accept(make_plan(2, now - 60 * MS), now)
    after, _, _ = dense(scheduler, now, now + 300 * MS)
    assert np.abs(after - before).max() < 5e-4


def test_only_overdue_rows_change_nothing() -> None:
    scheduler = new_scheduler()
    scheduler.accept(make_plan(1, START), START)
    now = START + 400 * MS
    before, _, _ = dense(scheduler, now, now + 500 * MS)
    scheduler.executed(now)
    assert scheduler.accept(make_plan(2, now - 600 * MS, rows=12, offset=1.0), now) == 0
    after, _, _ = dense(scheduler, now, now + 500 * MS)
    np.testing.assert_array_equal(before, after)
    assert {step.chunk_id for step in scheduler.executed(now + NS)} == {1}


def test_a_late_chunk_replaces_the_rows_it_overlaps() -> None:
    scheduler = new_scheduler()
    scheduler.accept(make_plan(1, START), START)
    now = START + 160 * MS
    scheduler.accept(make_plan(2, START + 100 * MS), now)
    steps = scheduler.executed(START + 2 * NS)
    assert [(s.chunk_id, s.row) for s in steps] == [(1, 0), (1, 1), (1, 2)] + [(2, k) for k in range(1, 16)]
    assert scheduler.executed(START + 3 * NS) == ()


@given(st.integers(0, 1200), st.floats(1.0, 8.0))
@settings(max_examples=60, deadline=None)
def test_stop_brakes_along_the_plan_and_nothing_moves_after(at_ms: int, brake: float) -> None:
    scheduler = new_scheduler(replace(CONFIG, brake_acceleration=brake))
    scheduler.accept(make_plan(1, START), START)
    path, speeds, _ = dense(scheduler, START, START + 2 * NS)
    now = START + at_ms * MS
    scheduler.executed(now)
    hand = scheduler.sample(now).hand
    scheduler.stop(now)
    q, dq, hands = dense(scheduler, now, now + 2 * NS)
    assert np.abs(np.diff(dq, axis=0)).max() < (brake + 20.0) * 1e-3  # the plan's own acceleration, and the brake
    rest = round(20 + 1e3 * np.abs(speeds).max() / brake) + 60
    assert (dq[rest:] == 0.0).all()
    np.testing.assert_array_equal(q[rest:], np.tile(q[-1], (len(q) - rest, 1)))
    distance = np.abs(q[:, None] - path[None, ::5]).max(-1).min(1)
    assert distance.max() < 6e-3  # on the path, to the spacing of the samples compared
    np.testing.assert_allclose(hands[30:], np.tile(hand, (len(hands) - 30, 1)), atol=1e-12)
    assert all(step.time_ns <= now + 20 * MS for step in scheduler.executed(now + 5 * NS))


def test_stop_at_rest_stays_at_rest() -> None:
    scheduler = new_scheduler()
    scheduler.stop(START + NS)
    q, dq, _ = dense(scheduler, START, START + 2 * NS, 10 * MS)
    np.testing.assert_allclose(q, np.tile(BEGIN, (len(q), 1)), atol=1e-15)
    assert (dq == 0.0).all()


def test_a_chunk_after_a_stop_starts_smoothly() -> None:
    scheduler = new_scheduler()
    scheduler.accept(make_plan(1, START), START)
    scheduler.stop(START + 300 * MS)
    now = START + 350 * MS
    scheduler.accept(make_plan(2, now - 50 * MS), now)
    _, dq, _ = dense(scheduler, START + 280 * MS, START + 900 * MS)
    assert np.abs(np.diff(dq, axis=0)).max() < 0.02
    assert {step.chunk_id for step in scheduler.executed(START + 2 * NS) if step.time_ns > now + 20 * MS} == {2}


def test_a_shifted_plan_is_the_same_plan_later() -> None:
    usual, late = new_scheduler(), new_scheduler()
    for scheduler in (usual, late):
        scheduler.accept(make_plan(1, START), START)
    late.shift(70 * MS)
    for at in range(START, START + 2 * NS, 90 * MS):
        np.testing.assert_allclose(late.sample(at + 70 * MS).q, usual.sample(at).q, atol=1e-12)
    rows = [(step.time_ns + 70 * MS, step.row) for step in usual.executed(START + 3 * NS)]
    assert [(step.time_ns, step.row) for step in late.executed(START + 3 * NS)] == rows


def test_hold_forgets_the_plan() -> None:
    scheduler = new_scheduler()
    scheduler.accept(make_plan(1, START), START)
    scheduler.hold(HOME + 0.3, OPEN * 0.5, START + 100 * MS)
    sample = scheduler.sample(START + 500 * MS)
    np.testing.assert_array_equal(sample.q, HOME + 0.3)
    np.testing.assert_array_equal(sample.dq, np.zeros(7))
    np.testing.assert_array_equal(sample.hand, OPEN * 0.5)
    assert scheduler.executed(START + NS) == ()


@given(st.integers(0, 1500), st.floats(0.0, 1.5), st.floats(0.02, 0.1))
@example(0, 0.5, 0.046875)  # the fastest knot lies between the plan's start and whole multiples of the grid
@settings(max_examples=60, deadline=None)
def test_windows_follow_the_plan_and_end_at_rest(at_ms: int, duration: float, grid: float) -> None:
    scheduler = new_scheduler(replace(CONFIG, grid_s=grid))
    scheduler.accept(make_plan(1, START), START)
    now = START + at_ms * MS
    window = scheduler.window(now, duration)
    assert now + 20 * MS <= window.start_ns <= now + 20 * MS + round(grid * NS)
    assert len(window.times_s) >= 2
    np.testing.assert_allclose(np.diff(window.times_s), grid)
    assert window.times_s[0] == 0.0
    assert window.positions.shape == window.velocities.shape == (len(window.times_s), 7)
    assert (window.velocities[-1] == 0.0).all()
    start = scheduler.sample(window.start_ns)
    np.testing.assert_allclose(window.positions[0], start.q, atol=1e-12)
    # The end is no jolt: what slowing down adds is bounded, beside the plan's own acceleration.
    spacing = round(grid * NS)
    knots = range(START + (window.start_ns - START) % spacing, scheduler.end_ns(), spacing)
    samples = [scheduler.sample(ns) for ns in knots]
    q, dq = (np.stack([getattr(sample, name) for sample in samples]) for name in ("q", "dq"))
    own, speed = accelerations(q, dq, grid).max(initial=0.0), np.abs(dq).max()
    stretch = 1.1 * speed / CONFIG.window_acceleration
    slow = window.times_s[:-1] > duration - stretch / 2.0
    if duration > stretch / 2.0 and slow.any():
        added = accelerations(window.positions, window.velocities, grid)[:, slow].max() - own
        assert added < 1.5 * CONFIG.window_acceleration
    for t, position in zip(window.times_s, window.positions, strict=True):
        if t < duration - stretch / 2.0 - 0.01:
            np.testing.assert_allclose(position, scheduler.sample(window.start_ns + round(t * NS)).q, atol=1e-9)


def accelerations(q: Array, dq: Array, h: float) -> Array:
    """Sizes (2, K - 1, 7), rad/s^2, where the cubic pieces between knots (K, 7) begin and end."""
    rise = np.diff(q, axis=0) / h
    return np.abs([(6 * rise - 4 * dq[:-1] - 2 * dq[1:]) / h, (6 * rise - 2 * dq[:-1] - 4 * dq[1:]) / h])


def test_a_window_of_a_plan_that_is_over_rests() -> None:
    scheduler = new_scheduler()
    window = scheduler.window(START + NS)
    assert len(window.times_s) == 2
    np.testing.assert_array_equal(window.positions, np.tile(BEGIN, (2, 1)))
    assert (window.velocities == 0.0).all()


def test_a_candidate_that_does_not_end_at_rest_is_braked() -> None:
    scheduler = new_scheduler()
    candidate = scheduler.blend(make_plan(1, START), START)
    assert candidate is not None
    cut = slice(0, 16)
    scheduler.commit(
        replace(
            candidate,
            times_s=candidate.times_s[cut],
            q=candidate.q[cut],
            dq=candidate.dq[cut],
            hand=candidate.hand[cut],
        )
    )
    assert np.abs(candidate.dq[15]).max() > 0.3
    q, speeds, _ = dense(scheduler, START, START + 2 * NS)
    np.testing.assert_allclose(np.diff(q, axis=0) / 1e-3, 0.5 * (speeds[1:] + speeds[:-1]), atol=2e-3)
    for t, wanted in zip(candidate.times_s[cut], candidate.q[cut], strict=True):  # all of it is kept
        np.testing.assert_allclose(scheduler.sample(candidate.start_ns + round(t * NS)).q, wanted, atol=1e-9)
    assert (speeds[-1] == 0.0).all()
    end = round(1e3 * (CONFIG.lead_s + candidate.times_s[15]))
    assert np.abs(np.diff(speeds[end:], axis=0)).max() < 1.01e-3 * CONFIG.brake_acceleration


def test_the_past_does_not_grow() -> None:
    scheduler = new_scheduler()
    lengths = []
    for k in range(100):
        now = START + k * 100 * MS
        scheduler.accept(make_plan(k, now - 40 * MS), now)
        scheduler.executed(now)
        _, dq, _ = dense(scheduler, now - 3 * NS, now, 50 * MS)
        lengths.append(int(np.any(dq != 0.0, axis=1).sum()))
    assert max(lengths) < 15


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("blend_s", 0.0),
        ("lead_s", -0.1),
        ("grid_s", float("nan")),
        ("brake_acceleration", -1.0),
    ],
)
def test_bad_settings_name_the_key(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        ScheduleConfig(**{key: value})
