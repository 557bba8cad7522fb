"""The world as the arm's plant: kinematics, gravity, forces, clock, determinism."""

import pickle
import threading
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa_sim.hand_model import PINCH_IN_FLANGE
from vipa_sim.robot_model import FLANGE_OFFSET, joint_limits
from vipa_sim.scenes import make_scene
from vipa_sim.scenes.base import Scene
from vipa_sim.world import HOME, World

Array = NDArray[np.float64]
START_NS = 1_700_000_000_000_000_000
LIMITS = joint_limits()
configurations = st.tuples(*(st.floats(low, high) for low, high in LIMITS)).map(np.array)


@pytest.fixture(scope="module")
def shared() -> World:
    """A world that no test of this file changes."""
    return World(make_scene("reach"), seed=0, start_ns=START_NS)


def make_world(seed: int = 0) -> World:
    return World(make_scene("reach"), seed=seed, start_ns=START_NS)


def hold(world: World, target: Array, steps: int, each: Callable[[], None] = lambda: None) -> None:
    """A joint-impedance controller such as the robot's own."""
    stiffness, damping = np.array([600.0] * 4 + [250.0, 150.0, 100.0]), np.array([50.0] * 4 + [30.0, 25.0, 10.0])
    for _ in range(steps):
        world.step(stiffness * (target - world.positions) - damping * world.velocities)
        each()


def denavit_hartenberg(joints: Array) -> Array:
    """Flange of the FR3 by Craig's parameters, from the robot's data sheet."""
    pose = np.eye(4)
    for angle, a, d, alpha in zip(
        joints,
        [0, 0, 0, 0.0825, -0.0825, 0, 0.088],
        [0.333, 0, 0.316, 0, 0.384, 0, 0],
        np.radians([0, -90, 90, 90, -90, 90, 90]),
        strict=True,
    ):
        c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
        link = [[c, -s, 0, a], [s * ca, c * ca, -sa, -sa * d], [s * sa, c * sa, ca, ca * d], [0, 0, 0, 1]]
        pose = pose @ np.array(link)
    pose[:3, 3] += FLANGE_OFFSET * pose[:3, 2]
    return pose


@settings(max_examples=40, deadline=None)
@given(joints=configurations)
def test_flange_pose_is_that_of_the_data_sheet(shared: World, joints: Array) -> None:
    np.testing.assert_allclose(shared.flange_pose(joints), denavit_hartenberg(joints), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(joints=configurations)
def test_jacobian_is_the_derivative_of_the_pose(shared: World, joints: Array) -> None:
    jacobian, step = shared.flange_jacobian(joints), 1e-6
    pose = shared.flange_pose(joints)
    for joint in range(7):
        moved = shared.flange_pose(joints + step * np.eye(7)[joint])
        turn = (moved[:3, :3] @ pose[:3, :3].T - np.eye(3)) / step
        numeric = [*(moved[:3, 3] - pose[:3, 3]) / step, turn[2, 1], turn[0, 2], turn[1, 0]]
        np.testing.assert_allclose(jacobian[:, joint], numeric, atol=1e-4)


def test_asking_for_kinematics_leaves_the_state_alone(shared: World) -> None:
    before = shared.state_hash()
    shared.flange_pose(np.zeros(7))
    shared.flange_jacobian(np.ones(7))
    assert shared.state_hash() == before


def test_end_effector_sits_on_the_flange_as_declared(shared: World) -> None:
    expected = shared.flange_pose(shared.positions) @ PINCH_IN_FLANGE
    np.testing.assert_allclose(shared.end_effector_pose(), expected, atol=1e-9)


def test_home_hangs_the_fingers_down_over_the_table(shared: World) -> None:
    pose = shared.end_effector_pose()
    np.testing.assert_allclose(pose[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-6)
    assert 0.38 < pose[0, 3] < 0.62
    assert 0.25 < pose[2, 3] < 0.40
    assert np.minimum(HOME - LIMITS[:, 0], LIMITS[:, 1] - HOME).min() > 0.5


def test_urdf_names_the_joints_and_their_velocity_limits(shared: World) -> None:
    robot = ElementTree.fromstring(shared.urdf)
    joints = robot.findall("joint[@type='revolute']")
    assert [joint.get("name") for joint in joints] == [f"joint{i}" for i in range(1, 8)]
    assert all(joint.find("position_based_velocity_limits") is not None for joint in joints)
    np.testing.assert_allclose(LIMITS[[0, 3, 5]], [[-2.9007, 2.9007], [-3.0770, -0.1169], [0.4398, 4.6216]])


def test_arm_hangs_weightless_without_torques() -> None:
    world = make_world()
    for _ in range(500):
        world.step(np.zeros(7))
    np.testing.assert_allclose(world.positions, HOME, atol=1e-4)


def test_arm_holds_a_bent_configuration_with_the_hand_half_closed() -> None:
    world = make_world()
    target = HOME + np.array([0.3, 0.1, -0.2, 0.1, 0.3, -0.2, 0.4])
    hold(world, target, 1000)
    world.set_hand_targets(np.full(6, 0.5))
    hold(world, target, 1000)
    np.testing.assert_allclose(world.positions, target, atol=2e-4)
    np.testing.assert_allclose(world.external_torques(), 0.0, atol=1e-9)


def test_torque_accelerates_its_own_joint_in_its_direction() -> None:
    for joint in range(7):
        world = make_world()
        for _ in range(20):
            world.step(2.0 * np.eye(7)[joint])
        assert np.argmax(np.abs(world.velocities)) >= joint - 1
        assert world.velocities[joint] > 0.01


def test_clock_counts_milliseconds_and_runs_on_through_resets() -> None:
    world = make_world()
    assert world.time_ns == START_NS
    for _ in range(7):
        world.step(np.zeros(7))
    world.reset(5)
    world.step(np.zeros(7))
    assert world.time_ns == START_NS + 8_000_000
    assert world.snapshot().time_ns == world.time_ns


@pytest.mark.parametrize("axis", range(3))
def test_external_torques_see_a_push(axis: int) -> None:
    world = make_world()
    hold(world, HOME, 100)
    wrench = 15.0 * np.eye(6)[axis]
    world.apply_push(wrench)
    hold(world, HOME, 1500)
    jacobian = world.flange_jacobian(world.positions)
    offset = world.end_effector_pose()[:3, 3] - world.flange_pose(world.positions)[:3, 3]
    jacobian[:3] += np.cross(jacobian[3:].T, offset).T
    expected = jacobian.T @ wrench
    np.testing.assert_allclose(world.external_torques(), expected, atol=0.1 * np.abs(expected).max())
    shift = world.positions - HOME
    assert shift @ expected > 0
    world.apply_push(None)
    hold(world, HOME, 10)
    np.testing.assert_allclose(world.external_torques(), 0.0, atol=1e-9)


def test_external_torques_see_the_table() -> None:
    world = make_world()
    straight_down = HOME.copy()
    while world.flange_pose(straight_down)[2, 3] > 0.21:  # the fingers reach 0.225 below the flange
        straight_down[1] += 0.01
        straight_down[5] += 0.01
    for target in np.linspace(HOME, straight_down, 400):
        hold(world, target, 3)
    hold(world, straight_down, 500)
    force = np.linalg.lstsq(world.flange_jacobian(world.positions).T, world.external_torques(), rcond=None)[0]
    assert world.touches(world.hand_geoms, world.geoms("table"))
    assert 5.0 < force[2] < 200.0


@pytest.mark.parametrize("torques", [[np.nan] * 7, [np.inf] + [0.0] * 6, [0.0] * 6, 0.0, [[0.0] * 7]])
def test_bad_torques_are_refused_and_change_nothing(torques: object) -> None:
    world = make_world()
    before = world.state_hash()
    with pytest.raises(ValueError, match="torques: expected 7 finite numbers"):
        world.step(torques)  # type: ignore[arg-type]
    assert world.state_hash() == before


@pytest.mark.parametrize("wrench", [[np.nan] * 6, [0.0] * 3])
def test_bad_pushes_are_refused(shared: World, wrench: list[float]) -> None:
    with pytest.raises(ValueError, match="push: expected 6 finite numbers"):
        shared.apply_push(wrench)


def test_same_seed_same_course() -> None:
    rng = np.random.default_rng(3)
    torques, hands = rng.normal(0, 3, (200, 7)), rng.uniform(0, 1, (200, 6))
    hashes: list[list[str]] = []
    for seed in (4, 4, 5):
        world = World(make_scene("reach"), seed=seed)
        course = [world.state_hash()]
        for torque, hand in zip(torques, hands, strict=True):
            world.set_hand_targets(hand)
            world.step(torque)
        hashes.append([*course, world.state_hash()])
    assert hashes[0] == hashes[1]
    assert all(a != b for a, b in zip(hashes[0], hashes[2], strict=True))
    assert all(a != b for a, b in pairwise(hashes[0]))


def test_reset_redraws_the_scene_and_leaves_the_robot() -> None:
    world = make_world(seed=1)
    world.set_hand_targets([0.2, 0.4, 0.6, 0.8, 1.0, 0.5])
    hold(world, HOME + 0.05, 700)
    arm, speed, hand = world.positions, world.velocities, world.hand_positions()
    places = [world.body_pose(f"{colour}_stand")[:3, 3] for colour in ("red", "green", "blue")]
    world.reset(2)
    np.testing.assert_array_equal(world.positions, arm)
    np.testing.assert_array_equal(world.velocities, speed)
    np.testing.assert_array_equal(world.hand_positions(), hand)
    moved = [world.body_pose(f"{colour}_stand")[:3, 3] for colour in ("red", "green", "blue")]
    assert all(np.linalg.norm(a - b) > 1e-3 for a, b in zip(places, moved, strict=True))
    hold(world, HOME + 0.05, 10)
    np.testing.assert_allclose(world.hand_positions(), hand, atol=0.01)


def test_snapshot_is_a_copy_that_travels_between_processes() -> None:
    world = make_world()
    snapshot = world.snapshot()
    copy = pickle.loads(pickle.dumps(snapshot))  # noqa: S301
    for _ in range(50):
        world.step([5.0, 0, 0, 0, 0, 0, 0])
    world.place_mocap("red_stand", [0.5, 0.0, 0.1])
    for name in ("qpos", "mocap_pos", "mocap_quat", "geom_rgba", "geom_matid", "mat_rgba"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(snapshot, name))
    assert not np.array_equal(world.snapshot().qpos, snapshot.qpos)
    assert not np.array_equal(world.snapshot().mocap_pos, snapshot.mocap_pos)


def test_snapshot_carries_painted_textures_and_only_those(painted_table: Scene) -> None:
    world = World(painted_table)
    assert world.snapshot().textures == {}
    before = world.state_hash()
    world.texture("sheet")[10:20, 10:20] = (1, 2, 3)
    world.texture_painted("sheet")
    ((revision, pixels),) = world.snapshot().textures.values()
    assert revision == 1
    np.testing.assert_array_equal(pixels.reshape(world.texture("sheet").shape)[15, 15], (1, 2, 3))
    assert world.state_hash() != before


def test_snapshots_from_another_thread_never_catch_a_half_made_step() -> None:
    world = make_world()
    seen: list[tuple[int, float]] = []
    finished = threading.Event()

    def watch() -> None:
        while not finished.is_set():
            snapshot = world.snapshot()
            seen.append((snapshot.time_ns, float(snapshot.qpos[0])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    truth = {world.time_ns: float(world.positions[0])}
    for _ in range(500):
        world.step([1.0, 0, 0, 0, 0, 0, 0])
        truth[world.time_ns] = float(world.positions[0])
    finished.set()
    watcher.join()
    assert len(seen) > 5
    assert all(truth[time_ns] == angle for time_ns, angle in seen)
