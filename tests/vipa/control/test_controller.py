"""The controller from end to end, with a simulated arm that follows perfectly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa.control.config import ControlConfig
from vipa.control.controller import ArmSnapshot, Controller, ControlOutput, GateEvent, TraceRecord
from vipa.control.gate import GateConfig, SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.control.schedule import ChunkScheduler, JointWindow, ScheduleConfig
from vipa.hardware.fr3.limits import PLANNER_ACCELERATION, PLANNER_VELOCITY
from vipa_inference.policy import ActionChunk

Array = NDArray[np.float64]
NS = 1_000_000_000
MS = 1_000_000
START = 10 * NS
HOME = np.array([0.0, -0.4, 0.0, -2.4, 0.0, 2.0, 0.785])
PERIOD = 0.05
RADIUS, TURN = 0.05, 3.0  # m, s
SPEED = GateConfig().velocity_fraction * PLANNER_VELOCITY * (1 + 1e-5)
ACCELERATION = GateConfig().acceleration_fraction * PLANNER_ACCELERATION * (1 + 1e-5)


def circle(time_ns: NDArray[np.int64]) -> Array:
    """Offsets (N, 3) m from the start of a circle in the horizontal plane that begins and goes on smoothly."""
    t = np.maximum((time_ns - START) / NS, 0.0)
    angle = 2 * np.pi * np.where(t < 1.0, 0.5 * t**2, t - 0.5) / TURN
    return np.stack([RADIUS * np.sin(angle), RADIUS * (1 - np.cos(angle)), np.zeros_like(angle)], -1)


class Bench:
    """A controller with a perfect arm on the clock of a test."""

    def __init__(
        self,
        gate: GateConfig | None = None,
        schedule: ScheduleConfig | None = None,
        config: ControlConfig | None = None,
    ) -> None:
        self.kinematics = Kinematics()
        self.config = config or ControlConfig()
        scheduler = ChunkScheduler(schedule or self.config.schedule, HOME, np.ones(6))
        self.controller = Controller(
            self.kinematics, SafetyGate(gate or self.config.gate, self.kinematics), scheduler, self.config
        )
        self.origin = self.kinematics.forward(HOME)
        self.window: JointWindow | None = None
        self.windows: list[JointWindow] = []
        self.q = HOME.copy()
        self.now_ns = START
        self.trace: list[TraceRecord] = []
        self.outputs: list[tuple[int, ControlOutput]] = []
        self.path: list[tuple[int, Array]] = []
        self.next_id = 1

    def arm_q(self, time_ns: int) -> Array:
        """Where the arm is: on the cubic pieces of the latest window that has begun."""
        w = next((w for w in reversed(self.windows) if time_ns >= w.start_ns), None)
        if w is None:
            return self.q
        t = (time_ns - w.start_ns) / NS
        i = min(int(np.searchsorted(w.times_s, t, side="right")) - 1, len(w.times_s) - 2)
        h = w.times_s[i + 1] - w.times_s[i]
        x = min((t - w.times_s[i]) / h, 1.0)
        self.q = (
            w.positions[i] * (1 - x) ** 2 * (1 + 2 * x)
            + w.positions[i + 1] * x**2 * (3 - 2 * x)
            + h * (w.velocities[i] * x * (1 - x) ** 2 - w.velocities[i + 1] * x**2 * (1 - x))
        )
        return self.q

    def read(self, age_ns: int = 0) -> None:
        self.controller.update_state(
            ArmSnapshot(self.arm_q(self.now_ns), np.zeros(7), self.now_ns - age_ns), np.full(6, 0.5)
        )

    def tick(self, motion_allowed: bool = True) -> ControlOutput | None:
        output = self.controller.tick(self.now_ns, motion_allowed)
        if output is not None:
            self.outputs.append((self.now_ns, output))
            self.trace += output.trace
            if output.window is not None:
                self.window = output.window
                self.windows.append(output.window)
        return output

    def run(self, milliseconds: int, motion_allowed: bool = True, reading: bool = True) -> None:
        """Let time pass in control cycles of 10 ms."""
        for _ in range(milliseconds // 10):
            if reading:
                self.read()
            self.tick(motion_allowed)
            self.path += [(self.now_ns + k * MS, self.arm_q(self.now_ns + k * MS)) for k in range(10)]
            self.now_ns += 10 * MS

    def chunk(self, observation_ns: int, rows: int = 16, **changes: Any) -> ActionChunk:
        """What a perfect policy says at ``observation_ns``: where the circle goes from here."""
        times = observation_ns + np.rint(np.arange(1, rows + 1) * PERIOD * NS).astype(np.int64)
        reference = self.origin.copy()
        here = circle(np.array([observation_ns]))[0]
        reference[:3, 3] += here
        actions = np.zeros((rows, 12))
        actions[:, :3] = circle(times) - here
        actions[:, 6:] = 0.7
        self.next_id += 1
        chunk = ActionChunk(actions, PERIOD, reference, observation_ns, "circle", "0", chunk_id=self.next_id)
        return replace(chunk, **changes)

    def accept(self, chunk: object) -> tuple[GateEvent, ...]:
        events = self.controller.accept(chunk, self.now_ns)
        self.tick()
        return events

    def follow_circle(self, seconds: float, latency_ms: int = 40, every_ms: int = 100) -> list[GateEvent]:
        events: list[GateEvent] = []
        self.run(20)
        for _ in range(round(seconds * 1000 / every_ms)):
            self.read()
            events += self.accept(self.chunk(self.now_ns - latency_ms * MS))
            self.run(every_ms)
        return events

    def speeds(self) -> tuple[Array, Array]:
        """Velocities and accelerations of the arm by differences over 1 ms."""
        q = np.array([q for _, q in self.path])
        velocity = np.diff(q, axis=0) / 1e-3
        return velocity, np.diff(velocity, axis=0) / 1e-3


def test_a_circle_is_followed_through_all_seams() -> None:
    """16 steps of 50 ms at 10 Hz, 40 ms late: within 2 mm, and within the limits of the joints at every seam."""
    bench = Bench()
    events = bench.follow_circle(6.0)
    assert events == []
    times = np.array([t for t, _ in bench.path])
    reached = bench.kinematics.forward(np.array([q for _, q in bench.path]))
    wanted = bench.origin[:3, 3] + circle(times)
    error = np.linalg.norm(reached[:, :3, 3] - wanted, axis=1)
    assert error[300:].max() < 2e-3
    turn = np.trace(reached[:, :3, :3].transpose(0, 2, 1) @ bench.origin[:3, :3], axis1=1, axis2=2)
    assert np.arccos(np.clip((turn - 1) / 2, -1, 1)).max() < 0.01
    velocity, acceleration = bench.speeds()
    assert (np.abs(velocity) <= SPEED).all()
    assert (np.abs(acceleration) <= ACCELERATION).all()


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(4, 30)), min_size=4, max_size=12))
@settings(max_examples=20, deadline=None)
def test_random_latencies_and_arrivals_stay_smooth(arrivals: list[tuple[int, int]]) -> None:
    bench = Bench()
    bench.run(20)
    for latency, wait in arrivals:
        bench.read()
        bench.accept(bench.chunk(bench.now_ns - latency * 10 * MS))
        bench.run(wait * 10)
    velocity, acceleration = bench.speeds()
    assert (np.abs(velocity) <= SPEED).all()
    assert (np.abs(acceleration) <= ACCELERATION).all()
    keys = [(record.chunk_id, record.row) for record in bench.trace]
    assert len(keys) == len(set(keys))
    stamps = [record.scheduled_ns for record in bench.trace]
    assert stamps == sorted(stamps)


def test_every_executed_row_is_traced_once_with_its_times() -> None:
    bench = Bench(config=ControlConfig(observation_age_limit=1.0))
    bench.follow_circle(1.0)
    bench.run(1500)
    keys = [(record.chunk_id, record.row) for record in bench.trace]
    assert len(keys) == len(set(keys))
    assert len(keys) >= 30
    for record in bench.trace:
        assert record.scheduled_ns == record.chunk.observation_ns + round((record.row + 1) * PERIOD * NS)
        assert record.chunk.observation_ns + 40 * MS == record.gate_ns == record.sent_ns
        assert record.scheduled_ns > record.gate_ns + 20 * MS
        np.testing.assert_array_equal(record.requested, record.chunk.actions[record.row])
        assert record.changes == ()
        assert record.joint_positions.shape == (7,)
        assert record.hand_positions.shape == (6,)
        path = dict(bench.path)
        np.testing.assert_allclose(record.joint_positions, path[record.scheduled_ns // MS * MS], atol=3e-3)
    np.testing.assert_allclose(bench.trace[-1].hand_positions, 0.7, atol=1e-9)


def test_starvation_ends_at_rest_on_the_last_target() -> None:
    bench = Bench(config=ControlConfig(observation_age_limit=1.0))
    bench.run(20)
    chunk = bench.chunk(bench.now_ns - 40 * MS)
    bench.accept(chunk)
    bench.run(1500)
    velocity, acceleration = bench.speeds()
    assert np.abs(velocity[-300:]).max() < 1e-9
    assert (np.abs(acceleration) <= ACCELERATION).all()
    reached = bench.kinematics.forward(bench.q)[:3, 3]
    np.testing.assert_allclose(reached, chunk.target_poses()[-1, :3, 3], atol=5e-4)
    sent = [t for t, output in bench.outputs if output.window is not None]
    assert sent[-1] < START + 1200 * MS  # nothing is repeated for an arm at rest
    assert max(np.diff(sent)) <= 60 * MS


def test_a_plan_from_an_old_observation_is_stopped_until_a_fresh_chunk_comes() -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    observed_ns, limit_s = bench.now_ns - 140 * MS, bench.config.observation_age_limit
    bench.run(1000)
    stops = [(t, output) for t, output in bench.outputs if output.window is not None and output.stopping]
    assert len(stops) == 1
    assert 0 < stops[0][0] - observed_ns - limit_s * NS <= 20 * MS
    assert "the newest chunk is from" in stops[0][1].reason
    velocity, acceleration = bench.speeds()
    assert np.abs(velocity[-300:]).max() < 1e-9
    assert (np.abs(acceleration) <= ACCELERATION).all()
    assert all(event.accepted for event in bench.accept(bench.chunk(bench.now_ns - 40 * MS)))
    bench.run(400)
    assert np.abs(bench.speeds()[0][-200:]).max() > 0.01


def test_the_arm_stops_once_the_hand_is_not_read_any_more() -> None:
    bench = Bench()
    bench.read()
    bench.controller.update_state(ArmSnapshot(bench.q, np.zeros(7), bench.now_ns), np.full(6, 0.5), bench.now_ns)
    read_ns = bench.now_ns
    bench.run(50)
    bench.accept(bench.chunk(bench.now_ns - 40 * MS))
    bench.run(300)
    stops = [(t, output) for t, output in bench.outputs if output.window is not None and output.stopping]
    assert len(stops) == 1
    assert 0 < stops[0][0] - read_ns - bench.config.hand_age_limit * NS <= 20 * MS
    assert [event.rule for event in bench.accept(bench.chunk(bench.now_ns - 40 * MS))] == ["hand_state"]
    bench.controller.update_state(ArmSnapshot(bench.q, np.zeros(7), bench.now_ns), np.full(6, 0.5), bench.now_ns)
    assert "hand_state" not in [event.rule for event in bench.accept(bench.chunk(bench.now_ns - 40 * MS))]


def test_nothing_moves_before_motion_is_allowed() -> None:
    bench = Bench()
    bench.read()
    events = bench.controller.accept(bench.chunk(bench.now_ns), bench.now_ns)
    assert [(e.accepted, e.rule) for e in events] == [(False, "motion")]
    bench.run(200, motion_allowed=False)
    events = bench.controller.accept(bench.chunk(bench.now_ns), bench.now_ns)
    assert [(e.accepted, e.rule) for e in events] == [(False, "motion")]
    assert bench.outputs == []


def test_nothing_moves_without_a_reading() -> None:
    bench = Bench()
    assert bench.tick() is None
    assert [e.rule for e in bench.accept(bench.chunk(bench.now_ns))] == ["arm_state"]
    bad = ArmSnapshot(np.full(7, np.nan), np.zeros(7), bench.now_ns)
    bench.controller.update_state(bad)
    assert [e.rule for e in bench.accept(bench.chunk(bench.now_ns))] == ["arm_state"]
    assert bench.outputs == []


@pytest.mark.parametrize("cause", ["motion", "stale"])
def test_a_stop_is_sent_once_and_is_smooth(cause: str) -> None:
    bench = Bench()
    bench.follow_circle(1.5)
    count = len(bench.outputs)
    bench.run(600, motion_allowed=cause != "motion", reading=cause != "stale")
    new = [output for _, output in bench.outputs[count:] if output.window is not None and output.stopping]
    assert len(new) == 1
    assert new[0].reason
    assert new[0].hand is not None
    np.testing.assert_allclose(new[0].hand, 0.7, atol=1e-9)
    velocity, acceleration = bench.speeds()
    assert np.abs(velocity[-100:]).max() < 1e-9
    assert (np.abs(acceleration[-650:]) <= ACCELERATION).all()
    late = [record for record in bench.trace if record.scheduled_ns > bench.now_ns - 400 * MS]
    assert late == []


def test_motion_resumes_after_a_stop_with_the_next_chunk() -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    bench.run(300, motion_allowed=False)
    bench.run(20)
    assert all(event.accepted for event in bench.accept(bench.chunk(bench.now_ns - 40 * MS)))
    bench.run(400)
    velocity, acceleration = bench.speeds()
    assert np.abs(velocity[-200:]).max() > 0.01
    assert (np.abs(acceleration) <= ACCELERATION).all()


def test_an_arm_that_does_not_follow_is_held_where_it_is() -> None:
    bench = Bench(gate=GateConfig(tracking_limit=0.05))
    bench.follow_circle(1.5)
    stuck = bench.q + 0.1
    bench.controller.update_state(ArmSnapshot(stuck, np.zeros(7), bench.now_ns))
    output = bench.tick()
    assert output is not None
    assert output.window is not None
    assert output.stopping
    assert "rad from the plan" in output.reason
    np.testing.assert_array_equal(output.window.positions, np.tile(stuck, (2, 1)))
    assert (output.window.velocities == 0.0).all()


def test_a_resting_plan_moves_to_an_arm_that_was_moved_by_hand() -> None:
    bench = Bench()
    bench.run(50)
    moved = HOME + 0.1
    bench.controller.update_state(ArmSnapshot(moved, np.zeros(7), bench.now_ns))
    pose = bench.kinematics.forward(moved)
    actions = np.zeros((8, 12))
    actions[:, 6:] = 0.5
    chunk = ActionChunk(actions, PERIOD, pose, bench.now_ns - 20 * MS, "still", "0", chunk_id=7)
    assert bench.accept(chunk) == ()
    assert bench.window is not None
    assert np.abs(bench.window.positions - moved).max() < 5e-3


def test_late_old_and_repeated_chunks_are_refused() -> None:
    bench = Bench()
    bench.run(200)
    first = bench.chunk(bench.now_ns - 40 * MS)
    assert bench.accept(first) == ()
    assert [e.rule for e in bench.accept(first)] == ["order"]
    assert [e.rule for e in bench.accept(bench.chunk(bench.now_ns - 60 * MS))] == ["order"]
    assert [e.rule for e in bench.accept(bench.chunk(bench.now_ns - 400 * MS))] == ["chunk_age"]
    bench.run(100)
    assert [e.rule for e in bench.accept(bench.chunk(bench.now_ns - 130 * MS, rows=2))] == ["overdue"]
    same_id = bench.chunk(bench.now_ns - 10 * MS, chunk_id=first.chunk_id)
    assert [e.rule for e in bench.accept(same_id)] == ["order"]


def test_a_refused_chunk_leaves_the_plan_alone() -> None:
    bench = Bench()
    bench.follow_circle(0.5)
    before = bench.controller.tick(bench.now_ns, True)
    good = bench.chunk(bench.now_ns - 40 * MS)
    actions = good.actions.copy()
    actions[5, 1] = np.nan
    assert [e.rule for e in bench.accept(replace(good, actions=actions))] == ["finite"]
    assert before is None or before.window is None or bench.window is not None
    assert bench.accept(good) == ()  # the refused one does not count as accepted


def test_unreachable_targets_are_refused() -> None:
    bench = Bench()
    bench.run(20)
    chunk = bench.chunk(bench.now_ns - 40 * MS, rows=24)
    actions = chunk.actions.copy()
    actions[:, 0] = 0.03 * np.arange(1, 25)
    assert [(e.accepted, e.rule) for e in bench.accept(replace(chunk, actions=actions))] == [(False, "reach")]


def test_what_the_gate_changed_is_an_event_and_in_the_trace() -> None:
    bench = Bench()
    bench.run(20)
    chunk = bench.chunk(bench.now_ns - 40 * MS)
    actions = chunk.actions.copy()
    actions[:, 6:] = 1.4
    events = bench.accept(replace(chunk, actions=actions))
    assert [(e.accepted, e.chunk_id, e.rule) for e in events] == [(True, chunk.chunk_id, "hand")]
    bench.run(900)
    assert bench.trace
    for record in bench.trace:
        assert [change.rule for change in record.changes] == ["hand"]
        assert record.requested[6] == 1.4
        assert record.hand_positions.max() <= 1.0


@given(st.none() | st.text() | st.integers() | st.floats() | st.binary() | st.lists(st.floats()))
@settings(max_examples=50, deadline=None)
def test_junk_is_refused_and_never_raises(junk: object) -> None:
    bench = Bench()
    bench.run(20)
    assert [(e.accepted, e.rule) for e in bench.accept(junk)] == [(False, "format")]
    bad = replace(bench.chunk(bench.now_ns), chunk_id=junk, actions=junk)  # type: ignore[arg-type]
    assert [e.accepted for e in bench.accept(bad)] == [False]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_wild_policy_never_leaves_the_limits(seed: int) -> None:
    """Random walks of all sizes: whatever is sent to the arm is within the limits of velocity and workspace."""
    rng = np.random.default_rng(seed)
    bench = Bench()
    bench.run(20)
    for _ in range(8):
        bench.read()
        reference = bench.kinematics.forward(bench.q)
        actions = np.cumsum(rng.normal(size=(16, 12)) * 10.0 ** rng.uniform(-3.5, -1.3), axis=0)
        actions[:, 6:] = rng.uniform(-0.2, 1.2, (16, 6))
        bench.next_id += 1
        chunk = ActionChunk(actions, PERIOD, reference, bench.now_ns - 30 * MS, "wild", "0", chunk_id=bench.next_id)
        bench.accept(chunk)
        bench.run(int(rng.integers(2, 30)) * 10)
    bench.run(200, motion_allowed=bool(rng.random() < 0.5))
    velocity, acceleration = bench.speeds()
    assert np.isfinite(velocity).all()
    assert (np.abs(velocity) <= SPEED).all()
    assert (np.abs(acceleration) <= ACCELERATION).all()
    for _, output in bench.outputs:
        if output.window is not None:
            assert (np.abs(output.window.velocities) <= SPEED).all()
            assert (output.window.velocities[-1] == 0.0).all()
            poses = bench.kinematics.forward(output.window.positions)
            assert poses[:, 2, 3].min() > -0.025
            if output.hand is not None:
                assert output.hand.min() >= 0.0
                assert output.hand.max() <= 1.0


def test_a_clock_that_jumps_back_starts_anew() -> None:
    bench = Bench()
    bench.follow_circle(0.5)
    bench.now_ns -= 5 * NS
    bench.window, bench.windows = None, []
    assert bench.tick() is None
    bench.read()
    bench.tick()
    assert bench.accept(bench.chunk(bench.now_ns - 20 * MS))[0].rule == "clock", "it may be from before the jump"
    bench.run(300)
    reference = bench.kinematics.forward(bench.q)
    actions = np.zeros((16, 12))
    actions[:, 0] = 0.002 * np.arange(1, 17)
    actions[:, 6:] = 0.5
    chunk = ActionChunk(actions, PERIOD, reference, bench.now_ns - 20 * MS, "slow", "0", chunk_id=2)
    assert bench.accept(chunk) == ()
    assert bench.window is not None
    assert np.abs(bench.window.positions[0] - bench.q).max() < 1e-6


@pytest.mark.parametrize(("leap_ms", "stops"), [(200, False), (500, True), (60_000, True)])
def test_a_clock_that_leaps_forward_voids_the_plan(leap_ms: int, stops: bool) -> None:
    bench = Bench()
    bench.follow_circle(0.5)
    bench.now_ns += leap_ms * MS
    bench.read()
    output = bench.tick()
    assert (output is not None and output.stopping) == stops
    bench.run(300)
    events = bench.accept(bench.chunk(bench.now_ns - 20 * MS))
    assert all(event.accepted for event in events), "the next sound chunk moves the arm again"


@pytest.mark.parametrize("is_late", [True, False], ids=["only the controller was late", "the clock leapt"])
def test_a_stop_after_a_leap_begins_where_the_arm_is_and_is_sent_once(is_late: bool) -> None:
    bench = Bench()
    bench.follow_circle(0.5)
    before_ns = bench.now_ns
    bench.now_ns += 300 * MS
    q = bench.arm_q(bench.now_ns if is_late else before_ns).copy()
    bench.controller.update_state(ArmSnapshot(q, np.zeros(7), bench.now_ns), np.full(6, 0.5))
    output = bench.tick()
    assert output is not None
    assert output.stopping
    assert output.window is not None
    assert np.abs(output.window.positions[0] - q).max() < 0.02
    assert (output.window.velocities[-1] == 0.0).all()
    sent = len(bench.windows)
    bench.run(300)
    assert len(bench.windows) == sent


def test_the_hand_begins_where_it_is() -> None:
    bench = Bench()
    bench.run(20)
    bench.accept(bench.chunk(bench.now_ns - 40 * MS))
    output = bench.outputs[-1][1]
    assert output.hand is not None
    np.testing.assert_allclose(output.hand, 0.5)
    bench.run(300)
    assert bench.outputs[-1][1].hand is None or np.allclose(bench.outputs[-1][1].hand, 0.7)


def test_a_scheduler_that_brakes_too_gently_for_the_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="brake_acceleration"):
        Bench(schedule=ScheduleConfig(brake_acceleration=2.0))


def test_a_scheduler_that_ends_windows_too_hard_for_the_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="window_acceleration"):
        Bench(schedule=ScheduleConfig(window_acceleration=3.0))
