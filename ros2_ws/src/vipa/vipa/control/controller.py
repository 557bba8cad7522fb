"""The controller's logic without ROS: action chunks and arm states in, joint windows, hand targets and traces out."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from vipa.control.config import ControlConfig
from vipa.control.gate import Change, JointVerdict, SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.control.schedule import Array, Candidate, ChunkPlan, ChunkScheduler, JointWindow
from vipa.hardware.fr3.limits import PLANNER_ACCELERATION
from vipa_inference.policy import ActionChunk, CommittedPlan

_NS = 1_000_000_000
_SETTLED = 0.02  # rad between plan and arm, beyond which a resting plan moves to where the arm is
_REMEMBERED = 64  # chunks for which a trace can still be asked
_CLOCK_JUMP_NS = _NS // 10  # back
_CLOCK_LEAP_NS = _NS // 4  # forward


@dataclass(frozen=True)
class ArmSnapshot:
    """A reading of the arm."""

    q: Array  # (7,) rad
    dq: Array  # (7,) rad/s
    stamp_ns: int


@dataclass(frozen=True)
class GateEvent:
    """A chunk that was refused (``accepted`` False) or changed, by which rule and why."""

    accepted: bool
    chunk_id: int
    rule: str
    detail: str


@dataclass(frozen=True)
class TraceRecord:
    """One executed row of a chunk."""

    chunk: ActionChunk  # as the policy gave it
    row: int
    scheduled_ns: int
    gate_ns: int  # when the gate passed the chunk
    sent_ns: int  # when a window that holds this row first left; zero: never
    requested: Array  # (12,) the policy's row
    joint_positions: Array  # (7,) rad commanded at scheduled_ns
    hand_positions: Array  # (6,)
    changes: tuple[Change, ...]

    @property
    def chunk_id(self) -> int:
        """The id of the chunk."""
        return self.chunk.chunk_id


@dataclass(frozen=True)
class ControlOutput:
    """What one tick sends."""

    window: JointWindow | None  # for the arm
    hand: Array | None  # (6,) target for the hand
    stopping: bool  # the arm is being stopped, or was
    reason: str  # why motion stopped at this tick; empty otherwise
    trace: tuple[TraceRecord, ...]


@dataclass
class _Accepted:
    chunk: ActionChunk
    gate_ns: int
    changes: tuple[Change, ...]
    sent_ns: int = 0


class Controller:
    """Turns action chunks into joint windows.

    Motion begins only after a tick that allows it. Call ``tick`` right after ``accept``, so that the window leaves at
    once. A clock that jumps back resets the controller.

    Raises:
        ValueError: the scheduler brakes less hard than the gate relies on, or ends a window harder than the gate leaves
            room for.
    """

    def __init__(
        self, kinematics: Kinematics, gate: SafetyGate, scheduler: ChunkScheduler, config: ControlConfig | None = None
    ) -> None:
        spare = (1.0 - gate.config.acceleration_fraction) * float(PLANNER_ACCELERATION.min())
        if scheduler.config.window_acceleration > spare + 1e-9:
            raise ValueError(
                f"schedule.window_acceleration {scheduler.config.window_acceleration} must be at most {spare:.3g} "
                "rad/s^2, what gate.acceleration_fraction leaves"
            )
        if scheduler.config.brake_acceleration < gate.config.brake_acceleration:
            raise ValueError(
                f"schedule.brake_acceleration {scheduler.config.brake_acceleration} must be at least "
                f"gate.brake_acceleration {gate.config.brake_acceleration}"
            )
        self._kinematics, self._gate, self._scheduler = kinematics, gate, scheduler
        self._config = config or ControlConfig()
        self._arm: ArmSnapshot | None = None
        self._hand_known = False
        self._hand_ns: int | None = None  # of the newest reading of the hand; None: there was none
        self._motion_allowed = False
        self._stopped = True
        self._send = False
        self._next_send_ns = 0
        self._last_observation_ns = -1
        self._latest_ns = 0
        self._void_until_ns = 0  # chunks that arrive before may have been inferred before the clock jumped
        self._leap: Change | None = None  # forward, since the last tick
        self._chunks: OrderedDict[int, _Accepted] = OrderedDict()

    def update_state(self, arm: ArmSnapshot, hand: Array | None = None, hand_ns: int | None = None) -> None:
        """Take a reading of the arm, and of the hand (6,) where there is one; what is not finite is ignored.

        The plan begins at rest where the first reading of each says. Once it is known when the hand was read, at
        ``hand_ns``, an old reading of it stops the arm.
        """
        if hand_ns is not None:
            self._hand_ns = hand_ns
        if hand is not None and not self._hand_known and self._resting(arm.stamp_ns) and _finite(hand, 6):
            self._hand_known = True
            self._scheduler.hold(self._scheduler.sample(arm.stamp_ns).q, np.clip(hand, 0.0, 1.0), arm.stamp_ns)
        if _finite(arm.q, 7) and _finite(arm.dq, 7):
            if self._arm is None:  # after a jump of the clock, the reading's time may lie ahead
                begin_ns = min(arm.stamp_ns, self._latest_ns or arm.stamp_ns)
                self._scheduler.hold(arm.q, self._scheduler.sample(begin_ns).hand, begin_ns)
            self._arm = arm

    def reset(self) -> None:
        """Forget plan, chunks and readings, as at the start; after a jump of the clock, for instance."""
        state = self._scheduler.sample(0)
        self._scheduler = ChunkScheduler(self._scheduler.config, state.q, state.hand)
        self._arm, self._hand_known, self._hand_ns = None, False, None
        self._motion_allowed, self._stopped, self._send = False, True, False
        self._next_send_ns, self._last_observation_ns, self._latest_ns = 0, -1, 0
        self._void_until_ns, self._leap = 0, None
        self._chunks.clear()

    def accept(self, chunk: object, now_ns: int) -> tuple[GateEvent, ...]:
        """Judge a chunk and blend it into the plan; no event means that it passed unchanged."""
        chunk_id = cast(Any, chunk).chunk_id if isinstance(chunk, ActionChunk) else 0
        chunk_id = chunk_id if isinstance(chunk_id, int) else 0
        self._watch_clock(now_ns)
        accepted, changes = self._judge(chunk, now_ns)
        return tuple(GateEvent(accepted, chunk_id, change.rule, change.detail) for change in changes)

    def tick(self, now_ns: int, motion_allowed: bool) -> ControlOutput | None:
        """What to send now; None where there is nothing.

        A window leaves after every accepted chunk and is repeated while the plan runs. Where motion is not allowed, or
        the state of arm or hand is too old, or the arm is not where the plan says, or the clock has leapt forward, or
        no chunk from a fresh observation comes, the plan is flushed and one stop leaves. In the last two cases the next
        chunk moves the arm again.
        """
        self._watch_clock(now_ns)
        trace = self._executed(now_ns)
        fault = self._state_fault(now_ns) if motion_allowed else Change("motion", "motion is not allowed")
        self._motion_allowed = fault is None
        fault = fault or self._leap or self._observation_fault(now_ns)
        self._leap = None
        if fault is not None:
            window = self._stop(now_ns, fault)
        elif self._send or (not self._stopped and now_ns >= self._next_send_ns and not self._resting(now_ns)):
            window = self._scheduler.window(now_ns)
            self._stopped, self._send = False, False
            self._next_send_ns = now_ns + round(self._config.resend * _NS)
            for accepted in self._chunks.values():
                accepted.sent_ns = accepted.sent_ns or now_ns
        else:
            window = None
        if window is None and not trace:
            return None
        hand = self._scheduler.sample(now_ns).hand if window is not None else None
        reason = fault.detail if fault is not None and window is not None else ""
        return ControlOutput(window, hand, self._stopped, reason, trace)

    def committed(self, now_ns: int) -> CommittedPlan | None:
        """What will be done unless a later chunk changes it; None where no chunk is being executed.

        The rows lie at the step period of the newest chunk, from its observation on (so that every later observation
        has rows around it) to the end of the plan, or of the window that the arm has.
        """
        if self._stopped or self._resting(now_ns) or not self._chunks:
            return None
        chunk = next(reversed(self._chunks.values())).chunk
        end_ns = min(self._scheduler.end_ns(), now_ns + round(self._scheduler.config.window_s * _NS))
        times_ns = np.arange(chunk.observation_ns, end_ns + 1, round(chunk.step_period * _NS), dtype=np.int64)
        plan = self._scheduler.samples(times_ns)
        return CommittedPlan(times_ns, self._kinematics.forward(plan.q), plan.hand)

    def _judge(self, chunk: object, now_ns: int) -> tuple[bool, tuple[Change, ...]]:
        fault = self._state_fault(now_ns)
        if fault is not None:
            return False, (fault,)
        if not self._motion_allowed:
            return False, (Change("motion", "motion is not allowed"),)
        if now_ns < self._void_until_ns:
            return False, (Change("clock", "the clock has jumped back; what was seen before is void"),)
        self._settle(now_ns)
        scheduler, gate = self._scheduler, self._gate
        verdict = gate.check_chunk(chunk, now_ns, self._kinematics.forward(scheduler.sample(now_ns).q))
        if verdict.chunk is None:
            return False, verdict.changes
        passed = verdict.chunk
        if passed.observation_ns <= self._last_observation_ns or passed.chunk_id in self._chunks:
            return False, (Change("order", "a chunk with this id or from a later observation was already accepted"),)

        change_ns = scheduler.change_ns(now_ns)
        rows = np.arange(passed.horizon)
        times_ns = passed.observation_ns + np.rint((rows + 1) * passed.step_period * _NS).astype(np.int64)
        alive = times_ns > change_ns
        if not alive.any():
            return False, (Change("overdue", "the time of every step has passed"),)
        rows, times_ns = rows[alive], times_ns[alive]
        alive_chunk = replace(passed, actions=passed.actions[alive])
        start = scheduler.sample(change_ns)
        q, errors = self._kinematics.solve_path(alive_chunk.target_poses(), start.q)
        limits = (gate.config.reach_tolerance, gate.config.reach_rotation_tolerance)
        if (errors > limits).any():
            missed, turned = errors.max(axis=0)
            return False, (
                Change("reach", f"a target is missed by {missed:.3g} m, {turned:.3g} rad; {limits} are allowed"),
            )
        candidate = scheduler.blend(ChunkPlan(passed.chunk_id, rows, times_ns, q, alive_chunk.actions[:, 6:]), now_ns)
        assert candidate is not None
        joints, candidate = self._gated(candidate)
        if not joints.accepted:
            return False, joints.changes
        scheduler.commit(candidate)
        changes = (*verdict.changes, *joints.changes)
        self._remember(_Accepted(cast(ActionChunk, chunk), now_ns, changes))
        return True, changes

    def _gated(self, candidate: Candidate) -> tuple[JointVerdict, Candidate]:
        """The gate's verdict, and the candidate as the gate leaves it."""
        verdict = self._gate.check_joints(
            candidate.times_s[1:], candidate.q[1:], candidate.q[0], candidate.dq[0], candidate.dq[1:]
        )
        if verdict.accepted:
            q, dq = np.concatenate([candidate.q[:1], verdict.q]), np.concatenate([candidate.dq[:1], verdict.dq])
            candidate = replace(candidate, q=q, dq=dq)
        return verdict, candidate

    def _remember(self, accepted: _Accepted) -> None:
        self._last_observation_ns = int(accepted.chunk.observation_ns)
        self._chunks[accepted.chunk.chunk_id] = accepted
        self._send = True
        while len(self._chunks) > _REMEMBERED:
            self._chunks.popitem(last=False)

    def _state_fault(self, now_ns: int) -> Change | None:
        """Why the arm must not move: no reading, an old one of arm or hand, or one that is far from the plan."""
        if self._arm is None:
            return Change("arm_state", "no reading of the arm yet")
        age = abs(now_ns - self._arm.stamp_ns) / _NS
        if age > self._config.state_age_limit:
            return Change(
                "arm_state", f"the reading of the arm is {age:.3f} s off; {self._config.state_age_limit} s are allowed"
            )
        if self._hand_ns is not None and now_ns - self._hand_ns > self._config.hand_age_limit * _NS:
            age = (now_ns - self._hand_ns) / _NS
            return Change(
                "hand_state", f"the hand was read {age:.3f} s ago; {self._config.hand_age_limit} s are allowed"
            )
        if self._resting(now_ns):
            return None
        off = float(np.abs(self._arm.q - self._scheduler.sample(self._arm.stamp_ns).q).max())
        if off > self._gate.config.tracking_limit:
            return Change(
                "tracking",
                f"the arm is {off:.3g} rad from the plan; {self._gate.config.tracking_limit} rad are allowed",
            )
        return None

    def _observation_fault(self, now_ns: int) -> Change | None:
        """Why the plan must not go on: what it was made from is too old."""
        age, limit = (now_ns - self._last_observation_ns) / _NS, self._config.observation_age_limit
        if self._resting(now_ns) or age <= limit:
            return None
        return Change("observation_age", f"the newest chunk is from {age:.3f} s ago; {limit} s are allowed")

    def _resting(self, now_ns: int) -> bool:
        return self._scheduler.end_ns() <= now_ns

    def _settle(self, now_ns: int) -> None:
        """A plan that is over begins anew where the arm is, if somebody has moved it."""
        assert self._arm is not None
        if not self._resting(now_ns):
            return
        state = self._scheduler.sample(now_ns)
        if np.abs(self._arm.q - state.q).max() > _SETTLED:
            self._scheduler.hold(self._arm.q, state.hand, now_ns)

    def _stop(self, now_ns: int, fault: Change) -> JointWindow | None:
        """One braking window; nothing where the arm was already stopped.

        An arm that is not where the plan says stays where it is. Any other brakes along the plan, which the gate has
        passed; so the stop is not given up where braking is more than the gate would pass.
        """
        self._send = False
        if self._stopped:
            return None
        self._stopped = True
        if fault.rule == "tracking" and self._arm is not None:
            self._scheduler.hold(self._arm.q, self._scheduler.sample(now_ns).hand, now_ns)
        else:
            self._scheduler.commit(self._gated(self._scheduler.braked(now_ns))[1])
        return self._scheduler.window(now_ns)

    def _watch_clock(self, now_ns: int) -> None:
        if now_ns < self._latest_ns - _CLOCK_JUMP_NS:
            self.reset()
            self._void_until_ns = now_ns + round(self._gate.config.chunk_age_limit_s * _NS)
        elif self._latest_ns and now_ns > self._latest_ns + _CLOCK_LEAP_NS:
            leap_ns = now_ns - self._latest_ns
            detail = f"the clock has leapt by {leap_ns / _NS:.3g} s; what was planned before is void"
            self._leap = Change("clock", detail)
            self._follow_leap(leap_ns - round(_NS / self._config.rate))
        self._latest_ns = max(self._latest_ns, now_ns)

    def _follow_leap(self, leap_ns: int) -> None:
        """Where the arm did not leap with the clock, put the plan off, so that the stop begins where the arm is.

        It did where only this controller was late; a reading from before the leap does not tell.
        """
        if self._arm is None or self._arm.stamp_ns <= self._latest_ns:
            return
        now, before = (self._scheduler.sample(self._arm.stamp_ns - ns).q for ns in (0, leap_ns))
        if np.abs(self._arm.q - before).max() < np.abs(self._arm.q - now).max():
            self._scheduler.shift(leap_ns)

    def _executed(self, now_ns: int) -> tuple[TraceRecord, ...]:
        records: list[TraceRecord] = []
        for step in self._scheduler.executed(now_ns):
            accepted = self._chunks.get(step.chunk_id)
            if accepted is None:
                continue
            sample = self._scheduler.sample(step.time_ns)
            requested = np.array(accepted.chunk.actions[step.row], dtype=np.float64)
            records.append(
                TraceRecord(
                    accepted.chunk,
                    step.row,
                    step.time_ns,
                    accepted.gate_ns,
                    accepted.sent_ns,
                    requested,
                    sample.q,
                    sample.hand,
                    accepted.changes,
                )
            )
        return tuple(records)


def _finite(values: Any, size: int) -> bool:
    return (
        isinstance(values, np.ndarray)
        and values.shape == (size,)
        and values.dtype.kind == "f"
        and bool(np.isfinite(values).all())
    )
