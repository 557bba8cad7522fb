"""The target never moves faster, or accelerates more, than it may, whatever is wanted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa.teleop.config import TeleopConfig
from vipa.teleop.motion import LONGEST_STEP, Goal, Target, TargetMotion, _rotation_vector
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]
CONFIG = TeleopConfig()
LOW, HIGH = np.array([0.25, -0.45, 0.02]), np.array([0.75, 0.45, 0.75])
MOTION = TargetMotion(CONFIG, LOW, HIGH)
DT = 0.01
SLACK = 1.0 + 1e-6


def pose(position: Array, rotation_vector: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = matrix_from_rotation_vector(rotation_vector), position
    return matrix


def start(position: tuple[float, float, float] = (0.5, 0.0, 0.4)) -> Target:
    return Target.at_rest(pose(np.array(position), np.array([3.0, 0.2, -0.1])), np.full(6, 0.7))


numbers = st.floats(-50.0, 50.0)
vectors = st.tuples(*[numbers] * 3)
hands = st.tuples(*[st.one_of(st.just(float("nan")), st.floats(-1.0, 2.0))] * 6).map(np.array)
twists = st.builds(lambda v, w, h: Goal(h, twist=np.array([*v, *w])), vectors, vectors, hands)
poses = st.builds(lambda p, r, h: Goal(h, pose=pose(np.array(p), np.array(r))), vectors, vectors, hands)
goals = st.lists(st.tuples(st.one_of(st.none(), twists, poses), st.integers(1, 25)), min_size=1, max_size=10)
places = st.tuples(st.floats(0.0, 1.0), st.floats(-0.6, 0.6), st.floats(-0.1, 0.9))


@given(goals, places)
@settings(max_examples=40, deadline=None)
def test_speed_acceleration_and_hand_stay_within_their_limits(
    wanted: list[tuple[Goal | None, int]], place: tuple[float, float, float]
) -> None:
    path = [start(place)]
    for goal, cycles in wanted:
        for _ in range(cycles):
            path.append(MOTION.advance(path[-1], goal, DT))
    positions = np.array([target.position for target in path])
    turns = rotation_vector_from_matrix(np.array([b.rotation @ a.rotation.T for a, b in itertools.pairwise(path)]))
    for velocity, speed, acceleration in (
        (np.diff(positions, axis=0) / DT, CONFIG.linear_speed, CONFIG.linear_acceleration),
        (turns / DT, CONFIG.angular_speed, CONFIG.angular_acceleration),
    ):
        assert np.linalg.norm(velocity, axis=1).max(initial=0.0) <= speed * SLACK
        before = np.concatenate([np.zeros((1, 3)), velocity])
        assert np.linalg.norm(np.diff(before, axis=0), axis=1).max() <= acceleration * DT * SLACK + 1e-7
    hand = np.array([target.hand for target in path])
    assert np.abs(np.diff(hand, axis=0)).max(initial=0.0) <= CONFIG.hand_speed * DT * SLACK
    assert 0.0 <= hand.min() <= hand.max() <= 1.0
    for target in path:
        assert np.abs(target.rotation @ target.rotation.T - np.eye(3)).max() < 1e-9


@given(goals)
@settings(max_examples=15, deadline=None)
def test_without_a_goal_it_comes_to_rest_within_the_horizon_and_keeps_the_hand(
    wanted: list[tuple[Goal | None, int]],
) -> None:
    target = start()
    for goal, cycles in wanted:
        target = MOTION.advance(target, goal, cycles * DT)
    resting = MOTION.advance(target, None, CONFIG.horizon * CONFIG.step_period - CONFIG.stale)
    assert np.abs(resting.velocity[:3]).max() < 3e-3
    assert np.abs(resting.velocity[3:]).max() < 1.2e-2
    assert (resting.hand == target.hand).all()
    assert MOTION.advance(target, None, 1.0).resting


@given(vectors, st.integers(0, 300))
@settings(max_examples=15, deadline=None)
def test_it_stops_within_the_workspace(direction: tuple[float, float, float], cycles: int) -> None:
    target = start()
    for _ in range(4):
        target = MOTION.advance(target, Goal(np.full(6, np.nan), twist=np.array([*direction, 0, 0, 0.0])), cycles * DT)
        assert (target.position >= LOW).all()
        assert (target.position <= HIGH).all()


def test_from_outside_of_the_workspace_there_is_only_the_way_in() -> None:
    target = start((0.9, 0.0, 0.4))
    out, back = np.array([0.2, 0, 0, 0, 0, 0]), np.array([-0.2, 0, 0, 0, 0, 0])
    leave = np.full(6, np.nan)
    assert MOTION.advance(target, Goal(leave, twist=out), 1.0).position[0] == pytest.approx(0.9)
    assert MOTION.advance(target, Goal(leave, twist=back), 1.0).position[0] < 0.75


@given(vectors, vectors)
@settings(max_examples=10, deadline=None)
def test_a_pose_is_reached_and_held(way: tuple[float, float, float], turn: tuple[float, float, float]) -> None:
    target = start()
    wanted = pose(target.position + 0.15 * np.tanh(way), np.zeros(3))
    wanted[:3, :3] = matrix_from_rotation_vector(np.tanh(turn)) @ target.rotation
    reached = MOTION.advance(target, Goal(np.zeros(6), pose=wanted), 4.0)
    assert np.abs(reached.pose() - wanted).max() < 1e-3
    assert reached.resting
    assert (reached.hand == 0.0).all()


def test_a_step_is_about_as_fast_as_the_limits_permit() -> None:
    target = start()
    twist = np.array([CONFIG.linear_speed, 0, 0, 0, 0, 0])
    moved = MOTION.advance(target, Goal(np.full(6, np.nan), twist=twist), 0.6)
    ideal = CONFIG.linear_speed * (0.6 - 0.5 * CONFIG.linear_speed / CONFIG.linear_acceleration)
    assert moved.position[0] - target.position[0] > 0.9 * ideal
    assert moved.velocity[0] == pytest.approx(CONFIG.linear_speed, rel=0.02)


def test_no_time_moves_nothing_and_long_times_are_taken_in_steps() -> None:
    target, goal = start(), Goal(np.zeros(6), twist=np.full(6, 0.1))
    assert MOTION.advance(target, goal, 0.0) is target
    once, twice = MOTION.advance(target, goal, 4 * LONGEST_STEP), target
    for _ in range(4):
        twice = MOTION.advance(twice, goal, LONGEST_STEP)
    assert np.abs(once.position - twice.position).max() < 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear_speed": 0.0}, "linear_speed"),
        ({"tether": float("nan")}, "tether"),
        ({"horizon": 6}, "horizon: 6 steps of 0.05 s are shorter than"),
        ({"linear_acceleration": 0.1}, "horizon"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeleopConfig(**changes)  # type: ignore[arg-type]


@given(vectors)
@settings(max_examples=200, deadline=None)
def test_the_quick_rotation_vector_is_the_other_one(vector: tuple[float, float, float]) -> None:
    matrix = matrix_from_rotation_vector(np.array(vector) % 3.2 - 1.6)
    assert np.abs(_rotation_vector(matrix) - rotation_vector_from_matrix(matrix)).max() < 1e-7
