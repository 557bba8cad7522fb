"""Chunk scheduler: one smooth joint trajectory out of action chunks that arrive late, early, or not at all.

The trajectory is a chain of cubic Hermite pieces between knots (time, q, dq), so position and velocity are continuous
by construction. A chunk changes nothing before now + lead, fades in over the blend window, and always ends at rest.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Times = NDArray[np.int64]

_NS = 1_000_000_000
_HISTORY_NS = _NS // 2


@dataclass(frozen=True)
class ScheduleConfig:
    """How chunks become a trajectory."""

    blend_s: float = 0.15  # s over which a new chunk fades in
    lead_s: float = 0.02  # s from now that are already committed; nothing before changes
    window_s: float = 1.0  # s of trajectory sent to the arm at a time
    grid_s: float = 0.05  # s between the knots of the plan, which are the waypoints for the arm
    brake_acceleration: float = 4.0  # rad/s^2 of the fastest joint in a stop and at the end of a plan
    window_acceleration: float = 1.5  # rad/s^2 that the end of a window adds to what its plan takes there

    def __post_init__(self) -> None:
        for name in ("blend_s", "window_s", "grid_s", "brake_acceleration", "window_acceleration"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be positive and finite, found {value}")
        if not (math.isfinite(self.lead_s) and self.lead_s >= 0.0):
            raise ValueError(f"lead_s must be finite and not negative, found {self.lead_s}")


@dataclass(frozen=True)
class ChunkPlan:
    """The joint waypoints of one chunk; overdue rows may be among them."""

    chunk_id: int
    rows: NDArray[np.int64]  # (N,) row numbers in the chunk
    times_ns: Times  # (N,) increasing
    q: Array  # (N, 7) rad
    hand: Array  # (N, 6) 0 closed - 1 open


@dataclass(frozen=True)
class Step:
    """A row of a chunk in the running plan."""

    time_ns: int
    chunk_id: int
    row: int


@dataclass(frozen=True)
class Sample:
    """The trajectory at one time or at several."""

    q: Array  # (..., 7) rad
    dq: Array  # (..., 7) rad/s
    hand: Array  # (..., 6)


@dataclass(frozen=True)
class Candidate:
    """What the trajectory would become from ``start_ns`` on; its first knot is the running trajectory's state there."""

    start_ns: int
    times_s: Array  # (K,) s after start_ns, from zero
    q: Array  # (K, 7) rad
    dq: Array  # (K, 7) rad/s; the last one is zero
    hand: Array  # (K, 6)
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class JointWindow:
    """A piece of trajectory for the arm."""

    start_ns: int
    times_s: Array  # (N,) s after start_ns, from zero
    positions: Array  # (N, 7) rad
    velocities: Array  # (N, 7) rad/s; the last one is zero


@dataclass(frozen=True)
class _Trajectory:
    times_ns: Times  # (K,)
    q: Array  # (K, 7)
    dq: Array  # (K, 7)
    hand: Array  # (K, 6)

    def sample(self, times_ns: Times) -> Sample:
        """The trajectory at the times (N,); it rests before its first knot and after its last."""
        seconds = (self.times_ns - self.times_ns[0]) / _NS
        wanted = (times_ns - self.times_ns[0]) / _NS
        q, dq = hermite(seconds, self.q, self.dq, wanted)
        return Sample(q, dq, _interpolate(seconds, self.hand, wanted))


class ChunkScheduler:
    """Holds the running plan; every method is deterministic in its arguments and the calls before.

    Args:
        config: blend window, lead, window and grid.
        q: joint positions (7,) rad at which the plan begins, at rest.
        hand: hand targets (6,).
    """

    def __init__(self, config: ScheduleConfig, q: Array, hand: Array) -> None:
        self.config = config
        self._lead_ns = round(config.lead_s * _NS)
        self._knot_ns = max(1, round(config.grid_s * _NS))
        self._steps: list[Step] = []
        self._executed_until = 0
        self._trajectory = _rest(0, q, hand)

    def change_ns(self, now_ns: int) -> int:
        """The earliest time that a chunk accepted now can change; rows at or before it are overdue."""
        return max(now_ns + self._lead_ns, self._executed_until)

    def end_ns(self) -> int:
        """The time from which the plan is at rest."""
        return int(self._trajectory.times_ns[-1])

    def sample(self, time_ns: int) -> Sample:
        """The plan at a time: q (7,) rad, dq (7,) rad/s, hand (6,)."""
        sample = self._trajectory.sample(np.array([time_ns]))
        return Sample(sample.q[0], sample.dq[0], sample.hand[0])

    def samples(self, times_ns: Times) -> Sample:
        """The plan at the times (N,): q (N, 7) rad, dq (N, 7) rad/s, hand (N, 6)."""
        return self._trajectory.sample(times_ns)

    def hold(self, q: Array, hand: Array, now_ns: int) -> None:
        """Forget the plan and rest at the joint positions q (7,) rad."""
        self._steps = []
        self._trajectory = _rest(now_ns, q, hand)

    def shift(self, ns: int) -> None:
        """Let the whole plan be due so much later, as after a leap of the clock that the arm knows nothing of."""
        plan = self._trajectory
        self._trajectory = replace(plan, times_ns=plan.times_ns + ns)
        self._steps = [replace(step, time_ns=step.time_ns + ns) for step in self._steps]

    def accept(self, plan: ChunkPlan, now_ns: int) -> int:
        """Blend a chunk into the running plan; returns how many of its rows were not overdue."""
        candidate = self.blend(plan, now_ns)
        if candidate is None:
            return 0
        self.commit(candidate)
        return len(candidate.steps)

    def blend(self, plan: ChunkPlan, now_ns: int) -> Candidate | None:
        """What accepting the chunk would make of the trajectory; None where every row is overdue.

        Within the blend window the old and the new trajectory are mixed with the weight 10 x^3 - 15 x^4 + 6 x^5, whose
        first and second derivatives vanish at both ends.
        """
        start_ns = self.change_ns(now_ns)
        alive = plan.times_ns > start_ns
        if not alive.any():
            return None
        seconds, q, hand = (plan.times_ns[alive] - start_ns) / _NS, plan.q[alive], plan.hand[alive]
        dq = _finite_differences(seconds, q)
        end = float(seconds[-1])
        stretch = _stretch(dq[-1], self.config.brake_acceleration, end)
        duration = max(end + stretch / 2.0, self.config.blend_s)
        knots = np.arange(math.ceil(duration * _NS / self._knot_ns) + 1) * self._knot_ns
        times = knots / _NS

        path, pace = _slow_down(times, end, stretch)
        new_q, new_dq = hermite(seconds, q, dq, path)
        early = np.minimum(path - seconds[0], 0.0)[:, None]  # before the first row: straight on, backwards
        new_q, new_dq = new_q + early * dq[0], np.where(early < 0.0, dq[0], new_dq) * pace[:, None]

        old = self._trajectory.sample(start_ns + knots)
        x = np.minimum(times / self.config.blend_s, 1.0)[:, None]
        weight = x**3 * (10.0 + x * (6.0 * x - 15.0))
        slope = 30.0 * (x * (1.0 - x)) ** 2 / self.config.blend_s
        return Candidate(
            start_ns=start_ns,
            times_s=times,
            q=old.q + weight * (new_q - old.q),
            dq=old.dq + weight * (new_dq - old.dq) + slope * (new_q - old.q),
            hand=old.hand + weight * (_interpolate(seconds, hand, path) - old.hand),
            steps=tuple(
                Step(int(t), plan.chunk_id, int(row))
                for t, row in zip(plan.times_ns[alive], plan.rows[alive], strict=True)
            ),
        )

    def commit(self, candidate: Candidate) -> None:
        """Make a candidate the running plan; one that does not end at rest is given a brake."""
        times_ns = candidate.start_ns + np.rint(candidate.times_s * _NS).astype(np.int64)
        new = _Trajectory(times_ns, candidate.q, candidate.dq, candidate.hand)
        if np.any(candidate.dq[-1] != 0.0):
            brake = self._brake(int(times_ns[-1]), candidate.q[-1], candidate.dq[-1], candidate.hand[-1])
            new = _join(new, slice(0, -1), brake)
        old = self._trajectory
        first = int(np.searchsorted(old.times_ns, candidate.start_ns - _HISTORY_NS, side="right")) - 1
        keep = slice(max(first, 0), int(np.searchsorted(old.times_ns, candidate.start_ns)))
        self._trajectory = _join(old, keep, new)
        self._steps = [step for step in self._steps if step.time_ns <= candidate.start_ns] + list(candidate.steps)

    def stop(self, now_ns: int) -> None:
        """Flush the plan and come to rest, as ``braked`` says."""
        self.commit(self.braked(now_ns))

    def braked(self, now_ns: int) -> Candidate:
        """What a stop would make of the trajectory: from now + lead on the pace along the plan falls linearly to zero.

        The arm never leaves the path of the plan. The hand keeps its present target. No step of a chunk remains.
        """
        start_ns = self.change_ns(now_ns)
        duration = float(np.abs(self.sample(start_ns).dq).max()) / self.config.brake_acceleration
        ahead = self._trajectory.sample(start_ns + np.linspace(0, duration / 2.0 * _NS, 9).astype(np.int64))
        knots = self._braking_knots(ahead.dq)
        duration = float(knots[-1]) / _NS
        path, pace = _slow_down(knots / _NS, duration / 2.0, duration)
        old = self._trajectory.sample(start_ns + np.rint(path * _NS).astype(np.int64))
        hand = np.tile(self.sample(now_ns).hand, (len(knots), 1))
        return Candidate(start_ns, knots / _NS, old.q, old.dq * pace[:, None], hand, ())

    def window(self, now_ns: int, duration_s: float | None = None) -> JointWindow:
        """The next piece of the plan, ending at rest.

        Its waypoints are the plan's own knots from now + lead on, so that a window sent again repeats the same curve.
        Where the plan goes on beyond the window, the end of the window is slowed down along the path, so that an arm
        that hears no more stops smoothly, with ``window_acceleration`` at most on top of the plan's own; a plan that is
        over gives two waypoints at rest.
        """
        plan, earliest = self._trajectory, now_ns + self._lead_ns
        first = int(np.searchsorted(plan.times_ns, earliest))
        if first == len(plan.times_ns):
            times = np.array([0.0, self.config.grid_s])
            return JointWindow(earliest, times, np.tile(plan.q[-1], (2, 1)), np.zeros((2, 7)))
        start_ns = int(plan.times_ns[first])
        left = (self.end_ns() - start_ns) / _NS
        end = self.config.window_s if duration_s is None else max(duration_s, 0.0)
        if end < left:
            last = int(np.searchsorted(plan.times_ns, start_ns + round(end * _NS))) + 1
            stretch = _stretch(plan.dq[first:last], self.config.window_acceleration, end)
            times = np.arange(max(math.ceil((end + stretch / 2.0) * _NS / self._knot_ns), 1) + 1) * self._knot_ns / _NS
            path, pace = _slow_down(times, end, stretch)
            sample = plan.sample(start_ns + np.rint(path * _NS).astype(np.int64))
            return JointWindow(start_ns, times, sample.q, sample.dq * pace[:, None])
        times = (plan.times_ns[first:] - start_ns) / _NS
        rest = times[-1] + self.config.grid_s
        return JointWindow(
            start_ns,
            np.append(times, rest),
            np.concatenate([plan.q[first:], plan.q[-1:]]),
            np.concatenate([plan.dq[first:], np.zeros((1, 7))]),
        )

    def executed(self, now_ns: int) -> tuple[Step, ...]:
        """The rows whose time has come since the last call, in order of time; each is returned once."""
        self._executed_until = max(self._executed_until, now_ns)
        done = tuple(step for step in self._steps if step.time_ns <= now_ns)
        self._steps = self._steps[len(done) :]
        return done

    def _braking_knots(self, dq: Array) -> Times:
        """Knots (K,) ns, from zero, of a stop that takes the fastest of the velocities dq (..., 7) to rest."""
        duration_ns = float(np.abs(dq).max()) / self.config.brake_acceleration * _NS
        return np.arange(max(math.ceil(duration_ns / self._knot_ns), 1) + 1) * self._knot_ns

    def _brake(self, start_ns: int, q: Array, dq: Array, hand: Array) -> _Trajectory:
        """Straight on with a constant deceleration to rest, all joints together."""
        knots = self._braking_knots(dq)
        duration = float(knots[-1]) / _NS
        path, pace = _slow_down(knots / _NS, duration / 2.0, duration)
        return _Trajectory(
            start_ns + knots,
            q + path[:, None] * dq,
            pace[:, None] * dq,
            np.tile(hand, (len(knots), 1)),
        )


def _join(before: _Trajectory, keep: slice, after: _Trajectory) -> _Trajectory:
    """Some knots of one trajectory and then another one, which begins in the state where they end."""
    return _Trajectory(
        np.concatenate([before.times_ns[keep], after.times_ns]),
        np.concatenate([before.q[keep], after.q]),
        np.concatenate([before.dq[keep], after.dq]),
        np.concatenate([before.hand[keep], after.hand]),
    )


def _rest(time_ns: int, q: Array, hand: Array) -> _Trajectory:
    return _Trajectory(
        np.array([time_ns]), np.array([q], dtype=np.float64), np.zeros((1, 7)), np.array([hand], dtype=np.float64)
    )


def hermite(times: Array, q: Array, dq: Array, wanted: Array) -> tuple[Array, Array]:
    """Value and derivative (N, D) at ``wanted`` (N,) of the cubic Hermite chain of K knots; constant outside."""
    inside = (wanted >= times[0]) & (wanted <= times[-1])
    if len(times) == 1:
        return np.repeat(q, len(wanted), axis=0), np.where(inside[:, None], dq, 0.0)
    i = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 2)
    h = (times[i + 1] - times[i])[:, None]
    x = np.clip((wanted - times[i])[:, None] / h, 0.0, 1.0)
    rise, start, end = q[i + 1] - q[i], h * dq[i], h * dq[i + 1]
    square, cube = 3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise
    value = q[i] + x * (start + x * (square + x * cube))
    return value, np.where(inside[:, None], (start + x * (2.0 * square + 3.0 * x * cube)) / h, 0.0)


def _interpolate(times: Array, values: Array, wanted: Array) -> Array:
    """Linear interpolation (N, D) at ``wanted`` (N,) of the values (K, D); constant outside."""
    return np.stack([np.interp(wanted, times, column) for column in values.T], axis=-1)


def _finite_differences(times: Array, q: Array) -> Array:
    """Velocities (N, D) at the waypoints of a path (N, D): central differences, one-sided at the ends."""
    if len(times) == 1:
        return np.zeros_like(q)
    h = np.diff(times)[:, None]
    slope = np.diff(q, axis=0) / h
    inner = (slope[:-1] * h[1:] + slope[1:] * h[:-1]) / (h[:-1] + h[1:])
    return np.concatenate([slope[:1], inner, slope[-1:]])


def _stretch(dq: Array, acceleration: float, end: float) -> float:
    """How long (s) a path with the velocities dq (..., 7) may take to come to rest at its end, at most all of it."""
    return min(float(np.abs(dq).max()) / acceleration, 2.0 * end)


def _slow_down(times: Array, end: float, stretch: float) -> tuple[Array, Array]:
    """Path time and pace at the times (N,) for a path of length ``end`` whose pace falls linearly to zero at its end.

    The slowing takes ``stretch`` s for the last half of that in path time, so the path itself is not left.
    """
    slowing = np.clip(times - (end - stretch / 2.0), 0.0, stretch)
    if stretch <= 0.0:
        return np.minimum(times, end), (times < end).astype(np.float64)
    path = np.minimum(times, end - stretch / 2.0) + slowing - slowing**2 / (2.0 * stretch)
    return np.minimum(path, end), 1.0 - slowing / stretch
