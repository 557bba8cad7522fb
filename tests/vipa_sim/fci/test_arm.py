"""The arm's internal controller without a network: impedance, torque control, reflexes, recovery."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_sim.fci import KinematicPlant, limits
from vipa_sim.fci.arm import ACCELERATING, Arm
from vipa_sim.fci.motion import RealtimeCommand
from vipa_sim.fci.plant import HOME
from vipa_sim.fci.protocol import Controller, Error, FloatArray, Generator, MoveStatus, RobotMode

PUSH = np.array([0.0, 0.0, -20.0, 0.0, 0.0, 0.0])


class DisplacedPlant(KinematicPlant):
    """An arm whose first joint reports a position that lies off by ``offset`` rad."""

    offset = 0.0

    @property
    def positions(self) -> FloatArray:
        return super().positions + np.array([self.offset, 0, 0, 0, 0, 0, 0])


def make_arm(**arguments) -> tuple[Arm, DisplacedPlant]:
    plant = DisplacedPlant(time_ns=0)
    return Arm(plant, **arguments), plant


def command(torque=(0.0,) * 7, dq=(0.0,) * 7, finished: bool = False) -> RealtimeCommand:
    return (1, *(0.0,) * 7, *dq, *(0.0,) * 24, 0, finished, *torque, 0)


def steps(arm: Arm, count: int) -> None:
    for _ in range(count):
        arm.step()


def test_at_rest_the_arm_gives_way_to_a_push_as_far_as_its_stiffness_says():
    deflections = []
    for stiffness in (2000.0, 500.0):
        arm, plant = make_arm()
        assert arm.set_joint_stiffness([stiffness] * 7)
        plant.apply_push(PUSH)
        steps(arm, 3000)
        expected = plant.external_torques() / stiffness
        np.testing.assert_allclose(plant.positions - HOME, expected, atol=2e-4)
        deflections.append(np.abs(plant.positions - HOME).max())
        assert arm.mode is RobotMode.IDLE  # reflexes belong to motions
        plant.apply_push(None)
        steps(arm, 3000)
        np.testing.assert_allclose(plant.positions, HOME, atol=1e-3)
    assert deflections[1] > 3 * deflections[0]


@pytest.mark.parametrize("stiffness", [-1.0, 14251.0, float("nan")])
def test_impossible_stiffness_is_refused(stiffness: float):
    arm, _ = make_arm()
    assert not arm.set_joint_stiffness([1000.0] * 6 + [stiffness])


@given(
    force=st.lists(st.floats(-25.0, 25.0), min_size=3, max_size=3),
    offset=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
)
@settings(max_examples=10, deadline=None)
def test_external_wrench_is_the_push_seen_from_the_end_effector(force: list[float], offset: list[float]):
    arm, plant = make_arm()
    arm.tool = np.eye(4)
    arm.tool[:3, 3] = offset
    plant.apply_push(np.array([*force, 0.0, 0.0, 0.0]))
    steps(arm, 600)
    lever = plant.flange_pose(plant.positions)[:3, :3] @ offset
    np.testing.assert_allclose(arm.external_wrench, [*force, *np.cross(-lever, force)], atol=0.3)


@pytest.mark.parametrize(
    ("accelerating", "nominal", "moving_off", "reflex"),
    [(100.0, 100.0, True, False), (100.0, 10.0, True, False), (10.0, 100.0, True, True), (100.0, 10.0, False, True)],
)
def test_thresholds_for_accelerating_hold_while_accelerating(
    accelerating: float, nominal: float, moving_off: bool, reflex: bool
):
    arm, plant = make_arm(strict=False)
    arm.thresholds[0], arm.thresholds[1] = accelerating, nominal
    arm.start_motion(Controller.JOINT_IMPEDANCE, Generator.JOINT_VELOCITY)
    plant.apply_push(PUSH)
    for index in range(100):
        speed = 2 * ACCELERATING * 1e-3 * (index + 1) if moving_off else 0.0
        arm.command(command(dq=(speed, 0, 0, 0, 0, 0, 0)))
        arm.step()
        if arm.mode is not RobotMode.MOVE:
            break
    assert (arm.mode is RobotMode.REFLEX) == reflex
    if reflex:
        assert Error.CARTESIAN_REFLEX in arm.errors
        assert arm.ended is MoveStatus.REFLEX_ABORTED
        assert arm.collision[9] == 1.0  # force along z
    else:
        assert arm.aborts == {}


def test_a_contact_is_shown_below_the_collision_threshold():
    arm, plant = make_arm()
    arm.thresholds[:, 0], arm.thresholds[:, 1] = 10.0, 100.0
    plant.apply_push(PUSH)
    steps(arm, 200)
    assert arm.contact[9] == 1.0
    assert not arm.collision.any()
    plant.apply_push(None)
    steps(arm, 400)
    assert not arm.contact.any()


def test_torques_move_the_arm_and_their_end_leaves_it_standing():
    arm, plant = make_arm()
    arm.start_motion(Controller.EXTERNAL, Generator.NONE)
    for _ in range(300):
        arm.command(command(torque=(0.9, 0, 0, 0, 0, 0, 0)))
        arm.step()
    assert plant.velocities[0] > 0.2
    arm.command(command(finished=True))
    assert arm.ended is MoveStatus.SUCCESS
    steps(arm, 500)
    assert np.abs(plant.velocities).max() < 1e-3
    assert np.abs(plant.positions - arm.setpoint.q).max() < 1e-3


@pytest.mark.parametrize(
    ("torques", "error"),
    [
        ([(1.5, 0, 0, 0, 0, 0, 0)], Error.CONTROLLER_TORQUE_DISCONTINUITY),
        ([(0, 0, 0, 0, 0, 0, float(k)) for k in range(1, 14)], Error.TAU_J_RANGE_VIOLATION),
    ],
)
def test_torques_beyond_the_limits_abort(torques: list[tuple[float, ...]], error: Error):
    arm, _ = make_arm()
    arm.start_motion(Controller.EXTERNAL, Generator.NONE)
    for torque in torques:
        arm.command(command(torque=torque))
        arm.step()
    assert arm.errors == (error,)
    assert arm.mode is RobotMode.REFLEX


def test_a_joint_that_torques_make_too_fast_aborts():
    arm, plant = make_arm()
    arm.start_motion(Controller.EXTERNAL, Generator.NONE)
    for index in range(2000):
        arm.command(command(torque=(0, 0, 0, 0, 0, 0, min(12.0, 0.5 * (index + 1)))))
        arm.step()
        if arm.mode is not RobotMode.MOVE:
            break
    assert arm.errors == (Error.JOINT_VELOCITY_VIOLATION,)
    assert plant.velocities[6] < limits.DQ_MAX[6] + 0.2


def test_a_joint_beyond_its_range_needs_a_person():
    arm, plant = make_arm()
    arm.start_motion(Controller.EXTERNAL, Generator.NONE)
    plant.offset = 3.0
    arm.step()
    arm.command(command())
    assert arm.errors == (Error.JOINT_POSITION_LIMITS_VIOLATION,)
    plant.offset = 0.0
    arm.guide(True)
    assert arm.mode is RobotMode.GUIDING
    assert arm.errors == ()
    arm.guide(False)
    steps(arm, 50)
    assert arm.mode is RobotMode.IDLE
    np.testing.assert_allclose(plant.positions, HOME, atol=1e-3)


def test_a_user_stop_outlasts_guiding_and_motion():
    arm, _ = make_arm()
    arm.guide(True)
    arm.user_stop()
    arm.guide(False)
    assert arm.mode is RobotMode.USER_STOPPED
    arm.release()
    assert arm.mode is RobotMode.IDLE


def test_a_motion_whose_client_never_begins_is_given_up():
    arm, _ = make_arm()
    arm.start_motion(Controller.JOINT_IMPEDANCE, Generator.JOINT_POSITION)
    for _ in range(1000):
        assert arm.mode is RobotMode.MOVE
        arm.command(None)
        arm.step()
    assert arm.errors == (Error.COMMUNICATION_CONSTRAINTS_VIOLATION,)
    assert arm.lost == 0


def test_the_arm_stays_where_it_is_after_an_abort_at_speed():
    arm, plant = make_arm()
    arm.start_motion(Controller.JOINT_IMPEDANCE, Generator.JOINT_VELOCITY)
    for index in range(200):
        arm.command(command(dq=(0.5 * (1 - np.cos(np.pi * index / 199)) / 2, 0, 0, 0, 0, 0, 0)))
        arm.step()
    at, speed = plant.positions[0], plant.velocities[0]
    arm.command(command(dq=(2.0, 0, 0, 0, 0, 0, 0)))
    assert arm.mode is RobotMode.REFLEX
    steps(arm, 400)
    stopping = speed**2 / (2 * limits.DDQ_MAX)
    assert plant.positions[0] - at == pytest.approx(stopping, abs=0.005)
    assert abs(plant.velocities[0]) < 1e-3
