"""The safety gate: whatever it is given, it refuses or stays within every limit."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from vipa.control.gate import GateConfig, JointVerdict, SafetyGate
from vipa.control.joint_path import STILL, JointBounds, follow, path_excess
from vipa.control.kinematics import Kinematics
from vipa.hardware.fr3.limits import (
    JOINT_LOWER,
    JOINT_UPPER,
    PLANNER_ACCELERATION,
    PLANNER_VELOCITY,
    velocity_limits,
)
from vipa_inference.policy import ActionChunk
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]
NS = 1_000_000_000
NOW = 100 * NS
HOME = np.array([0.0, -0.4, 0.0, -2.4, 0.0, 2.0, 0.785])
CONFIG = GateConfig()
KINEMATICS = Kinematics()
GATE = SafetyGate(CONFIG, KINEMATICS)
POSE = KINEMATICS.forward(HOME)
PERIOD = 0.05
CAP = PERIOD * 15.0  # the caps are for 15 Hz
LOWER, UPPER = JOINT_LOWER + CONFIG.joint_margin, JOINT_UPPER - CONFIG.joint_margin
SPEED = np.minimum(CONFIG.velocity_fraction * PLANNER_VELOCITY, CONFIG.step_joint * 15.0)
ACCELERATION = CONFIG.acceleration_fraction * PLANNER_ACCELERATION

AWKWARD = [math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324, -5e-324, 1e-310, 0.0, -0.0, 3.4e38, 1e16]
seeds = st.integers(0, 2**32 - 1)


def make_chunk(actions: Any = None, **changes: Any) -> ActionChunk:
    if actions is None:
        actions = np.zeros((16, 12))
        actions[:, 0] = 0.005 * np.arange(1, 17)
        actions[:, 6:] = 0.5
    fields: dict[str, Any] = {
        "actions": actions,
        "step_period": PERIOD,
        "reference_pose": POSE,
        "observation_ns": NOW - NS // 20,
        "policy": "test",
        "policy_hash": "0",
        "chunk_id": 1,
    }
    return ActionChunk(**{**fields, **changes})


def rules(verdict: Any) -> set[str]:
    return {change.rule for change in verdict.changes}


def assert_chunk_safe(chunk: ActionChunk, config: GateConfig = CONFIG) -> None:
    """Every limit of a chunk that passed, computed anew from the chunk."""
    assert chunk.actions.dtype == np.float64
    assert chunk.actions.shape[1] == 12
    assert 1 <= chunk.horizon <= config.max_horizon
    assert np.isfinite(chunk.actions).all()
    assert np.isfinite(chunk.reference_pose).all()
    cap = chunk.step_period * 15.0
    hand = chunk.actions[:, 6:]
    assert hand.min() >= 0.0
    assert hand.max() <= 1.0
    assert np.abs(np.diff(hand, axis=0)).max(initial=0.0) <= config.step_hand * cap + 1e-12
    poses = chunk.target_poses()
    positions = np.concatenate([chunk.reference_pose[None, :3, 3], poses[:, :3, 3]])
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() <= config.step_translation * cap + 1e-9
    low = np.maximum(config.workspace_min, [-np.inf, -np.inf, config.floor_z])
    # Where the reference pose is inside, every target is; where it is outside, the targets come nearer.
    outside = np.maximum(low - positions, positions - config.workspace_max).max(axis=1)
    assert (outside[1:] <= max(outside[0], 0.0) + 1e-9).all()
    rotations = np.concatenate([chunk.reference_pose[None, :3, :3], poses[:, :3, :3]])
    steps = rotation_vector_from_matrix(rotations[1:] @ rotations[:-1].transpose(0, 2, 1))
    assert np.linalg.norm(steps, axis=1).max() <= config.step_rotation * cap + 1e-6


def assert_path_safe(times: Array, verdict: JointVerdict, start: Array, start_dq: Array) -> None:
    """Every joint limit, by sampling the cubic pieces finely, independently of the gate's own check."""
    assert np.isfinite(verdict.q).all()
    assert np.isfinite(verdict.dq).all()
    assert verdict.q.shape == verdict.dq.shape == (len(times), 7)
    t = np.concatenate([[0.0], times])[:, None]
    q, dq = np.vstack([start, verdict.q]), np.vstack([start_dq, verdict.dq])
    lower, upper = np.minimum(LOWER, start), np.maximum(UPPER, start)
    h = np.diff(t, axis=0)
    rise = np.diff(q, axis=0) / h
    for x in np.linspace(0.0, 1.0, 21):
        place = (
            q[:-1] * (1 - x) ** 2 * (1 + 2 * x)
            + q[1:] * x**2 * (3 - 2 * x)
            + h * (dq[:-1] * x * (1 - x) ** 2 - dq[1:] * x**2 * (1 - x))
        )
        speed = 6 * x * (1 - x) * rise + dq[:-1] * (1 - x) * (1 - 3 * x) + dq[1:] * x * (3 * x - 2)
        acceleration = (6 * (1 - 2 * x) * rise + dq[:-1] * (6 * x - 4) + dq[1:] * (6 * x - 2)) / h
        assert (place >= lower - 1e-5).all()
        assert (place <= upper + 1e-5).all()
        assert (np.abs(speed) <= SPEED * (1 + 1e-5)).all()
        low, high = velocity_limits(place)
        assert (speed >= CONFIG.velocity_fraction * low - 5e-3).all()
        assert (speed <= CONFIG.velocity_fraction * high + 5e-3).all()
        assert (np.abs(acceleration) <= ACCELERATION * (1 + 1e-5)).all()
    positions = KINEMATICS.forward(q)[:, :3, 3]
    assert (positions[:, 2] >= min(CONFIG.floor_z, positions[0, 2]) - CONFIG.workspace_tolerance - 1e-9).all()


# --- Chunks: what passes, what is changed, what is refused ---------------------------------------------------------


def test_a_good_chunk_passes_unchanged() -> None:
    chunk = make_chunk()
    verdict = GATE.check_chunk(chunk, NOW, POSE)
    assert verdict.accepted
    assert verdict.changes == ()
    assert verdict.chunk is not None
    np.testing.assert_array_equal(verdict.chunk.actions, chunk.actions)
    assert verdict.chunk.chunk_id == 1


def test_the_policy_chunk_is_never_written_to() -> None:
    actions = np.zeros((4, 12))
    actions[:, 2] = -0.04 * np.arange(1, 5)
    actions[:, 6:] = 1.5
    original = actions.copy()
    low = POSE.copy()
    low[2, 3] = 0.05
    verdict = GATE.check_chunk(make_chunk(actions, reference_pose=low), NOW)
    assert verdict.accepted
    assert rules(verdict) == {"workspace", "hand"}
    np.testing.assert_array_equal(actions, original)


@pytest.mark.parametrize(
    "junk", [None, "chunk", 3, 1.5, [], {}, object(), np.zeros((16, 12)), b"\x00", (make_chunk(),), make_chunk]
)
def test_what_is_no_chunk_is_refused(junk: object) -> None:
    verdict = GATE.check_chunk(junk, NOW, POSE)
    assert not verdict.accepted
    assert verdict.chunk is None
    assert rules(verdict) == {"format"}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"actions": None}, "format"),
        ({"actions": "nonsense"}, "format"),
        ({"actions": [[0.0] * 12]}, "format"),
        ({"actions": np.zeros((16, 12), dtype=object)}, "format"),
        ({"actions": np.zeros((16, 12), dtype=np.int64)}, "format"),
        ({"actions": np.zeros((16, 12), dtype=np.complex128)}, "format"),
        ({"actions": np.full((16, 12), "x")}, "format"),
        ({"actions": np.zeros((16, 12), dtype=bool)}, "format"),
        ({"actions": np.zeros(12)}, "shape"),
        ({"actions": np.zeros((16, 11))}, "shape"),
        ({"actions": np.zeros((16, 12, 1))}, "shape"),
        ({"actions": np.array(0.0)}, "shape"),
        ({"actions": np.zeros((0, 12))}, "horizon"),
        ({"actions": np.zeros((65, 12))}, "horizon"),
        ({"actions": np.full((16, 12), np.nan)}, "finite"),
        ({"actions": np.full((16, 12), np.inf)}, "finite"),
        ({"actions": np.full((16, 12), 1e300)}, "hand_range"),
        ({"step_period": None}, "step_period"),
        ({"step_period": "fast"}, "step_period"),
        ({"step_period": True}, "step_period"),
        ({"step_period": math.nan}, "step_period"),
        ({"step_period": math.inf}, "step_period"),
        ({"step_period": 0.0}, "step_period"),
        ({"step_period": -0.05}, "step_period"),
        ({"step_period": 10**400}, "step_period"),
        ({"step_period": np.zeros(3)}, "step_period"),
        ({"reference_pose": None}, "reference_pose"),
        ({"reference_pose": np.zeros((4, 4))}, "reference_pose"),
        ({"reference_pose": np.eye(3)}, "reference_pose"),
        ({"reference_pose": np.full((4, 4), np.nan)}, "reference_pose"),
        ({"reference_pose": np.full((4, 4), 1e300)}, "reference_pose"),
        ({"reference_pose": np.diag([1.0, 1.0, -1.0, 1.0])}, "reference_pose"),
        ({"reference_pose": np.eye(4, dtype=object)}, "reference_pose"),
        ({"observation_ns": None}, "chunk_age"),
        ({"observation_ns": 1.0e11}, "chunk_age"),
        ({"observation_ns": "now"}, "chunk_age"),
        ({"observation_ns": True}, "chunk_age"),
        ({"observation_ns": -5}, "chunk_age"),
        ({"observation_ns": 10**40}, "chunk_age"),
        ({"observation_ns": NOW - NS}, "chunk_age"),
        ({"observation_ns": NOW + NS}, "chunk_age"),
        ({"observation_ns": 0}, "chunk_age"),
        ({"chunk_id": None}, "format"),
        ({"chunk_id": -1}, "format"),
        ({"chunk_id": 2**64}, "format"),
        ({"chunk_id": 1.5}, "format"),
    ],
)
def test_malformed_chunks_are_refused_by_the_rule_that_says_why(changes: dict[str, Any], rule: str) -> None:
    verdict = GATE.check_chunk(replace(make_chunk(), **changes), NOW, POSE)
    assert not verdict.accepted
    assert verdict.chunk is None
    assert rules(verdict) == {rule}
    assert all(change.detail for change in verdict.changes)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_every_float_type_is_taken(dtype: Any) -> None:
    verdict = GATE.check_chunk(make_chunk(make_chunk().actions.astype(dtype)), NOW, POSE)
    assert verdict.accepted
    assert verdict.chunk is not None
    assert_chunk_safe(verdict.chunk)


def test_a_masked_array_does_not_hide_bad_values() -> None:
    data = np.ma.masked_array(np.full((4, 12), np.nan), mask=True)
    assert rules(GATE.check_chunk(make_chunk(data), NOW)) == {"finite"}


@pytest.mark.parametrize(
    ("age_s", "accepted"), [(0.299, True), (0.3001, False), (0.0, True), (-0.0099, True), (-0.0101, False)]
)
def test_age_limits_are_where_the_configuration_says(age_s: float, accepted: bool) -> None:
    assert GATE.check_chunk(make_chunk(observation_ns=NOW - round(age_s * NS)), NOW).accepted is accepted


def test_targets_below_the_floor_are_lifted() -> None:
    low = POSE.copy()
    low[2, 3] = 0.06
    actions = np.zeros((16, 12))
    actions[:, 2] = -0.01 * np.arange(1, 17)
    verdict = GATE.check_chunk(make_chunk(actions, reference_pose=low), NOW, low)
    assert verdict.chunk is not None
    assert rules(verdict) == {"workspace"}
    heights = verdict.chunk.target_poses()[:, 2, 3]
    np.testing.assert_allclose(heights, np.maximum(0.06 - 0.01 * np.arange(1, 17), 0.0), atol=1e-12)


def test_a_mild_step_is_slowed_and_caught_up() -> None:
    actions = np.zeros((8, 12))
    actions[2:, 0] = 1.5 * CONFIG.step_translation * CAP
    verdict = GATE.check_chunk(make_chunk(actions), NOW, POSE)
    assert rules(verdict) == {"step_translation"}
    assert verdict.chunk is not None
    assert_chunk_safe(verdict.chunk)
    np.testing.assert_allclose(verdict.chunk.actions[3:, 0], actions[3:, 0])


def test_a_mild_turn_is_slowed_and_caught_up() -> None:
    actions = np.zeros((8, 12))
    actions[2:, 4] = 1.5 * CONFIG.step_rotation * CAP
    verdict = GATE.check_chunk(make_chunk(actions), NOW, POSE)
    assert rules(verdict) == {"step_rotation"}
    assert verdict.chunk is not None
    assert_chunk_safe(verdict.chunk)
    np.testing.assert_allclose(verdict.chunk.actions[3:, 3:6], actions[3:, 3:6], atol=1e-12)


@pytest.mark.parametrize(("column", "cap", "rule"), [(0, 0.075, "step_translation"), (5, 0.15, "step_rotation")])
def test_steps_of_ten_caps_are_refused(column: int, cap: float, rule: str) -> None:
    for row in range(16):
        actions = np.zeros((16, 12))
        actions[row:, column] = 10.0 * cap * CAP
        assert rules(GATE.check_chunk(make_chunk(actions), NOW, POSE)) == {rule}


def test_the_caps_scale_with_the_step_period() -> None:
    actions = np.zeros((8, 12))
    actions[:, 0] = 0.07 * np.arange(1, 9)
    assert GATE.check_chunk(make_chunk(actions, step_period=1 / 15), NOW).changes == ()
    assert rules(GATE.check_chunk(make_chunk(actions, step_period=1 / 30), NOW)) == {"step_translation"}
    assert not GATE.check_chunk(make_chunk(actions, step_period=1 / 60), NOW).accepted


def test_the_hand_is_clamped_and_slowed_but_nonsense_is_refused() -> None:
    actions = np.zeros((8, 12))
    actions[:, 6:] = 1.05
    actions[4:, 6:] = -0.05
    verdict = GATE.check_chunk(make_chunk(actions), NOW)
    assert rules(verdict) == {"hand"}
    assert verdict.chunk is not None
    assert_chunk_safe(verdict.chunk)
    actions[3, 8] = 7.0
    assert rules(GATE.check_chunk(make_chunk(actions), NOW)) == {"hand_range"}


def test_a_first_target_far_from_the_arm_is_refused() -> None:
    far = POSE.copy()
    far[0, 3] += 0.2
    assert rules(GATE.check_chunk(make_chunk(), NOW, far)) == {"first_target"}
    turned = POSE.copy()
    turned[:3, :3] = matrix_from_rotation_vector([0.0, 0.8, 0.0]) @ POSE[:3, :3]
    assert rules(GATE.check_chunk(make_chunk(), NOW, turned)) == {"first_target"}
    assert rules(GATE.check_chunk(make_chunk(), NOW, np.full((4, 4), np.nan))) == {"first_target"}


# --- Chunks: fuzz --------------------------------------------------------------------------------------------------


def fuzzed_actions(rng: np.random.Generator) -> Array:
    """Anything from a good path to noise, with scales over many decades and awkward values strewn in."""
    horizon = int(rng.integers(1, 24))
    scale = 10.0 ** rng.uniform(-5, 1)
    actions = rng.normal(size=(horizon, 12)) * scale
    if rng.random() < 0.7:  # a path
        actions[:, :6] = np.cumsum(actions[:, :6], axis=0)
    if rng.random() < 0.7:  # a hand
        actions[:, 6:] = rng.uniform(-0.5, 1.5, (horizon, 6))
    if rng.random() < 0.2:  # one step of ten caps
        actions[int(rng.integers(horizon)) :, int(rng.integers(6))] += 0.75 * CAP
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            actions[int(rng.integers(horizon)), int(rng.integers(12))] = AWKWARD[int(rng.integers(len(AWKWARD)))]
    return actions


def fuzzed_pose(rng: np.random.Generator) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = matrix_from_rotation_vector(rng.normal(size=3))
    pose[:3, 3] = rng.uniform([-0.5, -0.7, -0.1], [0.8, 0.7, 1.0])
    if rng.random() < 0.05:
        pose[int(rng.integers(4)), int(rng.integers(4))] = AWKWARD[int(rng.integers(len(AWKWARD)))]
    return pose


def test_twenty_thousand_paths_are_followed_within_every_limit() -> None:
    """The follower under random, jumping and diverging requests, all at once."""
    rng = np.random.default_rng(11)
    count, knots = 20_000, 20
    bounds = JointBounds(LOWER, UPPER, SPEED, CONFIG.velocity_fraction, ACCELERATION, CONFIG.brake_acceleration)
    narrow = GATE.joint_bounds(HOME, 0.97)
    start = rng.uniform(LOWER, UPPER, (count, 7))
    start[:2000] = np.where(rng.random((2000, 7)) < 0.5, LOWER, UPPER)  # on the limit itself
    low, high = narrow.velocity_range(start)
    speed = rng.uniform(low, high)
    speed[:5000] = np.where(rng.random((5000, 7)) < 0.5, low[:5000], high[:5000])
    steps = rng.choice([0.005, 0.025, 0.05, 0.1], (count, knots - 1)) * rng.uniform(0.5, 1.0, (count, knots - 1))
    times = np.concatenate([np.zeros((count, 1)), np.cumsum(steps, axis=1)], axis=1)
    q = rng.uniform(LOWER - 0.5, UPPER + 0.5, (count, knots, 7))
    walk = slice(count // 3, count)
    q[walk] = start[walk, None] + np.cumsum(rng.normal(0.0, 0.1, (count - count // 3, knots, 7)), axis=1)
    dq = rng.normal(size=(count, knots, 7)) * 10.0 ** rng.uniform(-3, 6, (count, 1, 1))
    q[:, 0], dq[:, 0] = start, speed
    followed_q, followed_dq = follow(times, q, dq, narrow)
    assert np.isfinite(followed_q).all()
    assert np.isfinite(followed_dq).all()
    # Independently of path_excess: a constant acceleration between the knots, so these differences are exact.
    h = np.diff(times, axis=1)[..., None]
    acceleration = np.diff(followed_dq, axis=1) / h
    assert (np.abs(acceleration) <= ACCELERATION * (1 + 1e-6)).all()
    np.testing.assert_allclose(
        np.diff(followed_q, axis=1), 0.5 * h * (followed_dq[:, 1:] + followed_dq[:, :-1]), atol=1e-12
    )
    for x in (0.2, 0.4, 0.6, 0.8, 1.0):
        s = x * h
        place = followed_q[:, :-1] + s * (followed_dq[:, :-1] + 0.5 * s * acceleration)
        v = followed_dq[:, :-1] + s * acceleration
        assert (place >= LOWER - 1e-6).all()
        assert (place <= UPPER + 1e-6).all()
        assert (np.abs(v) <= SPEED * (1 + 1e-6)).all()
        low, high = velocity_limits(place)
        assert (v >= CONFIG.velocity_fraction * low - 2 * STILL).all()
        assert (v <= CONFIG.velocity_fraction * high + 2 * STILL).all()
        # It can still stop before the margin.
        room = np.where(v > 0, UPPER - place, place - LOWER)
        assert (v**2 / (2 * CONFIG.brake_acceleration) <= room + 1e-5).all()
    assert path_excess(times, followed_q, followed_dq, bounds).inside().all()


def test_five_thousand_fuzzed_chunks_are_refused_or_safe() -> None:
    rng = np.random.default_rng(12)
    accepted = changed = 0
    for _ in range(5000):
        pose = fuzzed_pose(rng) if rng.random() < 0.5 else POSE
        chunk = make_chunk(
            fuzzed_actions(rng),
            reference_pose=pose,
            step_period=float(rng.choice([0.02, 0.05, 1 / 15, 0.1, math.nan], p=[0.24, 0.25, 0.25, 0.25, 0.01])),
            observation_ns=NOW + int(rng.choice([0, -20_000_000, -140_000_000, -400_000_000, 5_000_000, 10**12])),
        )
        verdict = GATE.check_chunk(chunk, NOW, pose if rng.random() < 0.8 else None)
        assert verdict.accepted == (verdict.chunk is not None)
        assert verdict.accepted or len(verdict.changes) == 1
        if verdict.chunk is not None:
            assert_chunk_safe(verdict.chunk)
            assert (
                -CONFIG.future_tolerance_s * NS <= NOW - verdict.chunk.observation_ns <= CONFIG.chunk_age_limit_s * NS
            )
            accepted += 1
            changed += bool(verdict.changes)
    assert accepted > 500, "the fuzz must reach the rules, not only the refusals"
    assert changed > 300


@given(
    hnp.arrays(
        dtype=st.sampled_from([np.float16, np.float32, np.float64]),
        shape=st.tuples(st.integers(0, 70), st.integers(10, 13)),
        elements=st.floats(width=16) | st.sampled_from([0.0, 0.5, 0.01, -0.01]),
        fill=st.sampled_from([0.0, 0.5]),
    ),
    st.integers(-(2**70), 2**70) | st.integers(NOW - NS // 4, NOW + NS // 50),
    st.floats() | st.sampled_from([0.05, 1 / 15]),
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_chunks_are_refused_or_safe(actions: Array, observation_ns: int, period: float) -> None:
    verdict = GATE.check_chunk(make_chunk(actions, observation_ns=observation_ns, step_period=period), NOW, POSE)
    assert verdict.accepted == (verdict.chunk is not None)
    if verdict.chunk is not None:
        assert_chunk_safe(verdict.chunk)


@given(
    st.dictionaries(
        st.sampled_from(["actions", "step_period", "reference_pose", "observation_ns", "chunk_id"]),
        st.none()
        | st.text()
        | st.binary()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.lists(st.floats())
        | st.just(object()),
        min_size=1,
    )
)
@settings(max_examples=200, deadline=None)
def test_fields_of_any_type_never_raise(changes: dict[str, Any]) -> None:
    verdict = GATE.check_chunk(replace(make_chunk(), **changes), NOW, POSE)
    if verdict.chunk is not None:
        assert_chunk_safe(verdict.chunk)


# --- Joint paths ---------------------------------------------------------------------------------------------------


def smooth_path(seconds: float = 0.8, amplitude: float = 0.1) -> tuple[Array, Array, Array]:
    times: Array = np.arange(1.0, round(seconds / 0.025) + 1) * np.float64(0.025)
    phase = 2 * np.pi * times / seconds
    q = HOME + amplitude * (1 - np.cos(phase))[:, None] * np.ones(7) / 2
    dq = amplitude * np.pi / seconds * np.sin(phase)[:, None] * np.ones(7)
    return times, q, dq


def test_a_smooth_path_passes_unchanged() -> None:
    times, q, dq = smooth_path()
    verdict = GATE.check_joints(times, q, HOME, np.zeros(7), dq)
    assert verdict.accepted
    assert verdict.changes == ()
    np.testing.assert_array_equal(verdict.q, q)
    np.testing.assert_array_equal(verdict.dq, dq)


def test_velocities_are_worked_out_where_none_are_given() -> None:
    times, q, dq = smooth_path(1.6)
    verdict = GATE.check_joints(times, q, HOME, np.zeros(7))
    assert verdict.accepted
    np.testing.assert_allclose(verdict.dq, dq, atol=0.03)


def test_a_mild_excess_is_limited_in_time() -> None:
    times, q, dq = smooth_path(0.5, 0.13)
    dq_max = np.abs(dq).max()
    verdict = GATE.check_joints(times, q, HOME, np.zeros(7), dq)
    assert verdict.accepted
    assert rules(verdict) == {"joint_rate"}
    assert dq_max > 0.5
    assert_path_safe(times, verdict, HOME, np.zeros(7))
    assert 0.0 < np.abs(verdict.q - q).max() < CONFIG.joint_deviation


def test_a_target_inside_the_margin_is_held_at_the_margin() -> None:
    start = HOME.copy()
    start[6] = UPPER[6] - 0.05
    times = np.linspace(0.025, 1.0, 40)
    q = np.tile(start, (40, 1))
    q[:, 6] += np.minimum(0.1, 0.1 * times)
    verdict = GATE.check_joints(times, q, start, np.zeros(7))
    assert verdict.accepted
    assert rules(verdict) == {"joint_rate"}
    assert verdict.q[:, 6].max() <= UPPER[6] + 1e-6
    assert_path_safe(times, verdict, start, np.zeros(7))


def test_an_arm_inside_the_margin_may_come_out_but_not_go_further_in() -> None:
    start = HOME.copy()
    start[6] = JOINT_UPPER[6] - 0.04
    times = np.arange(1, 41) * 0.025
    back, on = np.tile(start, (40, 1)), np.tile(start, (40, 1))
    back[:, 6] -= 0.05 * times**2
    on[:, 6] += 0.03 * np.minimum(times, 1.0) ** 2
    out = GATE.check_joints(times, back, start, np.zeros(7))
    assert out.accepted
    np.testing.assert_allclose(out.q, back, atol=1e-3)
    further = GATE.check_joints(times, on, start, np.zeros(7))
    assert not further.accepted or further.q[:, 6].max() <= start[6] + 1e-6


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((None, None, None, None), "format"),
        (("a", "b", "c", "d"), "format"),
        ((np.array([0.1]), np.full((1, 7), np.nan), HOME, np.zeros(7)), "format"),
        ((np.array([0.1]), HOME[None].astype(object), HOME, np.zeros(7)), "format"),
        ((np.array([0.1]), [[1.0], [1.0, 2.0]], HOME, np.zeros(7)), "format"),
        ((np.array([]), np.empty((0, 7)), HOME, np.zeros(7)), "shape"),
        ((np.array([0.1]), HOME, HOME, np.zeros(7)), "shape"),
        ((np.array([0.1, 0.2]), HOME[None], HOME, np.zeros(7)), "shape"),
        ((np.array(0.1), HOME[None], HOME, np.zeros(7)), "shape"),
        ((np.array([0.1]), HOME[None], HOME[:6], np.zeros(7)), "shape"),
        ((np.array([0.1]), HOME[None], HOME, np.zeros(7), np.zeros((2, 7))), "shape"),
        ((np.arange(1, 5001) * 0.01, np.tile(HOME, (5000, 1)), HOME, np.zeros(7)), "shape"),
        ((np.array([0.0]), HOME[None], HOME, np.zeros(7)), "times"),
        ((np.array([0.2, 0.1]), np.stack([HOME, HOME]), HOME, np.zeros(7)), "times"),
        ((np.array([1e300]), HOME[None], HOME, np.zeros(7)), "times"),
        ((np.array([-0.1]), HOME[None], HOME, np.zeros(7)), "times"),
        ((np.array([0.1]), HOME[None], np.full(7, 9.0), np.zeros(7)), "start"),
        ((np.array([0.1]), HOME[None], HOME, np.full(7, 9.0)), "start"),
        ((np.array([0.1]), np.full((1, 7), 9.0), HOME, np.zeros(7)), "joint_position"),
        ((np.array([0.1]), np.full((1, 7), 1e300), HOME, np.zeros(7)), "joint_position"),
        ((np.array([0.05]), HOME[None] + 0.5, HOME, np.zeros(7)), "joint_velocity"),
        ((np.array([0.2]), HOME[None] + 0.3, HOME, np.zeros(7)), "joint_deviation"),
    ],
)
def test_bad_paths_are_refused_by_the_rule_that_says_why(arguments: tuple[Any, ...], rule: str) -> None:
    verdict = GATE.check_joints(*arguments)
    assert not verdict.accepted
    assert verdict.q.shape == verdict.dq.shape == (0, 7)
    assert rules(verdict) == {rule}


def test_a_path_through_the_floor_is_refused() -> None:
    """Between clamped targets the joints may bulge out a little, but not through the table."""
    times = np.arange(1, 81) * 0.025
    q = np.tile(HOME, (80, 1))
    q[:, 1] += 1.5 * 0.5 * (1 - np.cos(np.pi * times / times[-1]))
    assert KINEMATICS.forward(q)[-1, 2, 3] < -0.05
    verdict = GATE.check_joints(times, q, HOME, np.zeros(7))
    assert rules(verdict) == {"workspace"}


def test_two_thousand_fuzzed_joint_paths_are_refused_or_safe() -> None:
    rng = np.random.default_rng(13)
    accepted = limited = 0
    for _ in range(2000):
        n = int(rng.integers(1, 24))
        times = np.cumsum(rng.choice([0.01, 0.025, 0.05], n))
        start = (
            HOME + rng.normal(size=7) * 0.3 if rng.random() < 0.8 else rng.uniform(JOINT_LOWER - 0.1, JOINT_UPPER + 0.1)
        )
        start_dq = rng.normal(size=7) * float(rng.choice([0.0, 0.2, 1.0]))
        q = start + np.cumsum(rng.normal(size=(n, 7)), axis=0) * 10.0 ** rng.uniform(-4, -0.5)
        dq = rng.normal(size=(n, 7)) * 10.0 ** rng.uniform(-4, 1) if rng.random() < 0.5 else None
        if rng.random() < 0.2:
            q[int(rng.integers(n)), int(rng.integers(7))] = AWKWARD[int(rng.integers(len(AWKWARD)))]
        if rng.random() < 0.1:
            times[int(rng.integers(n))] = AWKWARD[int(rng.integers(len(AWKWARD)))]
        verdict = GATE.check_joints(times, q, start, start_dq, dq)
        if verdict.accepted:
            assert_path_safe(times, verdict, start, start_dq)
            accepted += 1
            limited += bool(verdict.changes)
        else:
            assert len(verdict.changes) == 1
    assert accepted > 200
    assert limited > 100


@given(seeds, st.floats(0.0, 0.05))
@settings(max_examples=60, deadline=None)
def test_noise_of_a_policy_is_smoothed_within_the_limits(seed: int, noise: float) -> None:
    """A path with joint noise at every knot, as a learned policy gives it."""
    rng = np.random.default_rng(seed)
    times, q, _ = smooth_path(1.6)
    verdict = GATE.check_joints(times, q + rng.uniform(-noise, noise, q.shape), HOME, np.zeros(7))
    if verdict.accepted:
        assert_path_safe(times, verdict, HOME, np.zeros(7))
    if noise < 0.01:
        assert verdict.accepted
        assert np.abs(verdict.q - q).max() < 0.05


@given(
    st.lists(st.floats() | st.sampled_from(AWKWARD), max_size=6),
    hnp.arrays(np.float64, st.tuples(st.integers(0, 6), st.integers(6, 8)), elements=st.floats()),
    hnp.arrays(np.float64, st.integers(6, 8), elements=st.floats(-4, 4) | st.sampled_from(AWKWARD)),
)
@settings(max_examples=200, deadline=None)
def test_arbitrary_joint_data_never_raise(times: list[float], q: Array, start: Array) -> None:
    verdict = GATE.check_joints(times, q, start, np.zeros(7))
    if verdict.accepted:
        assert_path_safe(np.asarray(times), verdict, start, np.zeros(7))


# --- Settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("chunk_age_limit_s", 0.0),
        ("chunk_age_limit_s", math.nan),
        ("max_horizon", 0),
        ("velocity_fraction", 1.2),
        ("acceleration_fraction", 1.01),
        ("brake_acceleration", 8.0),
        ("hard_factor", 0.5),
        ("joint_margin", 0.7),
        ("workspace_min", (2.0, -1.0, -1.0)),
        ("floor_z", 5.0),
        ("step_hand", -1.0),
    ],
)
def test_bad_settings_name_the_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        GateConfig(**{key: value})
