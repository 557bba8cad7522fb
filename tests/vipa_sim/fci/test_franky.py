"""The server under the genuine franky client: what works on the robot works here, and fails here as it fails there."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vipa_sim.fci import FciServer
from vipa_sim.fci.plant import HOME

from .conftest import ServerFactory, connect, wait_for

franky = pytest.importorskip("franky")
pytestmark = pytest.mark.protocol

CHUNK = 8
STEP_S = 1 / 15


def reach(robot, joint: int = 0, by: float = 0.3, asynchronous: bool = False) -> np.ndarray:
    """Move one joint by ``by`` rad; returns the target."""
    target = np.array(HOME)
    target[joint] += by
    robot.move(franky.JointMotion(target.tolist()), asynchronous=asynchronous)
    return target


def begin_long_motion(robot, server: FciServer) -> None:
    """Start a motion of some seconds and wait until it moves."""
    robot.relative_dynamics_factor = 0.05
    reach(robot, by=1.0, asynchronous=True)
    wait_for(lambda: robot.state.dq[0] > 0.01)
    assert server.statistics()["mode"] == "move"


def test_a_client_reads_the_state_it_set(server: FciServer):
    robot = connect(server.host)
    pose = np.eye(4)
    pose[2, 3] = 0.15
    robot.set_ee(pose.T.ravel().tolist())
    robot.set_load(0.5, [0.0, 0.0, 0.05], np.diag([1e-3] * 3).ravel().tolist())
    wait_for(lambda: abs(robot.state.m_load - 0.5) < 1e-6)
    state = robot.state
    np.testing.assert_allclose(state.q, HOME, atol=1e-5)
    assert state.robot_mode == franky.RobotMode.Idle
    np.testing.assert_allclose(state.F_T_EE.matrix, pose, atol=1e-6)
    flange = robot.model.pose(franky.Frame.Flange, state).matrix  # libfranka's own kinematics, from the URDF
    np.testing.assert_allclose(state.O_T_EE.matrix, flange @ pose, atol=1e-5)


def test_joint_motion_arrives_without_loss(server: FciServer):
    robot = connect(server.host)
    target = reach(robot, joint=1, by=0.4)
    np.testing.assert_allclose(robot.state.q, target, atol=2e-3)
    figures = server.statistics()
    assert figures["lost"] == 0
    assert figures["aborts"] == {}
    assert figures["commands"] > 300


def test_streamed_chunks_of_waypoints_pass_the_strict_checks(server: FciServer):
    robot = connect(server.host)

    def target(seconds: float) -> np.ndarray:
        q = np.array(HOME)
        q[[0, 3, 5]] += np.array([0.25, 0.15, 0.2]) * (1 - np.cos(2 * np.pi * 0.35 * seconds)) / 2
        return q

    began = None
    for index in range(30):
        points = np.array([target((index + k) * STEP_S) for k in range(CHUNK + 1)])
        velocities = np.gradient(points, STEP_S, axis=0)[1:]
        velocities[-1] = 0.0  # starvation becomes a smooth stop
        waypoints = [
            franky.JointWaypoint(franky.JointState(q, dq), minimum_time=franky.Duration(round(STEP_S * 1e3)))
            for q, dq in zip(points[1:].tolist(), velocities.tolist(), strict=True)
        ]
        robot.move(franky.JointWaypointMotion(waypoints, return_when_finished=False), asynchronous=True)
        began = time.monotonic() if began is None else began
        time.sleep(max(0.0, began + (index + 1) * STEP_S - time.monotonic()))
    robot.poll_motion()  # raises where the motion was aborted
    robot.move(franky.JointStopMotion())
    figures = server.statistics()
    assert figures["lost"] == 0
    assert figures["aborts"] == {}
    assert figures["commands"] > 1000
    assert np.abs(np.array(robot.state.q) - HOME).max() > 0.05


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.0, 0.3, 0.0)])
def test_cartesian_motion_arrives(server: FciServer, rotation: tuple[float, float, float]):
    robot = connect(server.host)
    robot.relative_dynamics_factor = 0.1
    start = robot.state.O_T_EE.matrix
    x, y, z = np.array(rotation) / 2
    quaternion = np.array([np.sin(x), np.sin(y), np.sin(z), np.cos(x) * np.cos(y) * np.cos(z)])
    offset = franky.Affine([0.03, 0.02, -0.08], (quaternion / np.linalg.norm(quaternion)).tolist())
    robot.move(franky.CartesianMotion(offset, franky.ReferenceType.Relative))
    np.testing.assert_allclose(robot.state.O_T_EE.matrix, start @ offset.matrix, atol=2e-3)
    assert server.statistics()["aborts"] == {}


def test_torque_control_follows_a_target(server: FciServer):
    robot = connect(server.host)
    target = np.array(HOME)
    target[6] += 0.2
    gains = np.array([200.0, 200.0, 200.0, 200.0, 50.0, 50.0, 50.0])
    with franky.JointImpedanceTracker(robot, stiffness=gains, period=0.01) as tracker:
        wait_for(lambda: tracker.set_target(target.tolist()) is None and abs(robot.state.q[6] - target[6]) < 0.02)
    assert server.statistics()["aborts"] == {}
    robot.join_motion()
    reach(robot, by=0.1)  # position control takes over where torque control ended


def test_a_push_is_a_reflex_until_recovery(server: FciServer):
    robot = connect(server.host)
    begin_long_motion(robot, server)
    server.push((0.0, 0.0, -60.0), 0.3)
    with pytest.raises(franky.ControlException, match="cartesian_reflex"):
        robot.join_motion()
    assert robot.state.robot_mode == franky.RobotMode.Reflex
    assert robot.state.last_motion_errors.cartesian_reflex
    with pytest.raises(franky.CommandException, match="not possible"):
        reach(robot)
    wait_for(lambda: np.abs(robot.state.tau_ext_hat_filtered).max() < 1.0)
    assert robot.recover_from_errors()
    reach(robot, by=0.1)
    assert set(server.statistics()["aborts"]) <= {"cartesian_reflex", "joint_reflex"}


def test_thresholds_decide_what_is_a_collision(server: FciServer):
    robot = connect(server.host)
    robot.set_collision_behavior([60.0] * 7, [120.0] * 6)
    begin_long_motion(robot, server)
    server.push((0.0, 0.0, -60.0), 0.2)
    wait_for(lambda: robot.state.O_F_ext_hat_K[2] < -50.0)
    wait_for(lambda: abs(robot.state.O_F_ext_hat_K[2]) < 1.0)
    assert not robot.poll_motion() or server.statistics()["mode"] == "move"
    assert server.statistics()["aborts"] == {}
    robot.move(franky.JointStopMotion())


def test_user_stop_ends_the_motion_and_holds_until_released(server: FciServer):
    robot = connect(server.host)
    begin_long_motion(robot, server)
    server.user_stop()
    with pytest.raises(franky.ControlException, match="User Stop pressed"):
        robot.join_motion()
    wait_for(lambda: robot.state.robot_mode == franky.RobotMode.UserStopped)
    assert not recovered(robot)
    with pytest.raises(franky.CommandException, match="User stopped"):
        reach(robot)
    wait_for(lambda: np.abs(robot.state.dq).max() < 1e-4)
    stopped_at = robot.state.q
    server.release_user_stop()
    wait_for(lambda: robot.state.robot_mode == franky.RobotMode.Idle)
    np.testing.assert_allclose(robot.state.q, stopped_at, atol=1e-4)
    reach(robot, by=0.1)


def recovered(robot) -> bool:
    """Whether recovery worked; the robot refuses it with an exception or with False."""
    try:
        return robot.recover_from_errors()
    except franky.CommandException:
        return False


def test_guiding_mode_refuses_motion(server: FciServer):
    robot = connect(server.host)
    server.guiding(True)
    wait_for(lambda: robot.state.robot_mode == franky.RobotMode.Guiding)
    server.push((0.0, 30.0, 0.0), 0.3)
    wait_for(lambda: abs(robot.state.q[0]) > 0.01)  # the arm gives way
    with pytest.raises(franky.CommandException, match="not possible"):
        reach(robot)
    server.guiding(False)
    wait_for(lambda: robot.state.robot_mode == franky.RobotMode.Idle and np.abs(robot.state.dq).max() < 1e-4)
    reach(robot, by=0.1)


def test_another_interface_version_is_refused(make_server: ServerFactory):
    server = make_server(server_version=9)
    with pytest.raises(franky.IncompatibleVersionException, match="9"):
        connect(server.host)


def test_a_load_cannot_change_in_motion(server: FciServer):
    robot = connect(server.host)
    begin_long_motion(robot, server)
    with pytest.raises(franky.CommandException, match="not possible"):
        robot.set_load(0.5, [0.0] * 3, [0.0] * 9)
    robot.move(franky.JointStopMotion())


def test_a_killed_client_leaves_a_reflex_that_the_next_one_recovers(server: FciServer):
    code = (
        "import franky, time, sys\n"
        f"robot = franky.Robot({server.host!r}, realtime_config=franky.RealtimeConfig.Ignore)\n"
        "robot.relative_dynamics_factor = 0.05\n"
        f"robot.move(franky.JointMotion({[HOME[0] + 1.0, *HOME[1:]]!r}), asynchronous=True)\n"
        "time.sleep(60)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: server.statistics()["commands"] > 100, timeout=20.0)
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    wait_for(lambda: server.statistics()["mode"] == "reflex")
    assert server.statistics()["aborts"] == {"communication_constraints_violation": 1}
    robot = connect(server.host)
    assert robot.recover_from_errors()
    reach(robot, by=0.1)


def test_a_client_that_hangs_is_given_up(make_server: ServerFactory):
    server = make_server(elastic_s=0.05)
    code = (
        "import franky, time\n"
        f"robot = franky.Robot({server.host!r}, realtime_config=franky.RealtimeConfig.Ignore)\n"
        "robot.relative_dynamics_factor = 0.05\n"
        f"robot.move(franky.JointMotion({[HOME[0] + 1.0, *HOME[1:]]!r}), asynchronous=True)\n"
        "time.sleep(60)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: server.statistics()["commands"] > 100, timeout=20.0)
        os.kill(client.pid, signal.SIGSTOP)
        wait_for(lambda: server.statistics()["mode"] == "reflex", timeout=2.0)
        assert server.statistics()["aborts"] == {"communication_constraints_violation": 1}
    finally:
        client.kill()
        client.wait()


def test_a_second_client_is_turned_away(server: FciServer):
    robot = connect(server.host)
    with pytest.raises((franky.NetworkException, franky.ProtocolException)):
        connect(server.host)
    reach(robot, by=0.1)


def test_lost_commands_are_bridged(server: FciServer):
    robot = connect(server.host)
    begin_long_motion(robot, server)
    time.sleep(0.3)
    server.drop_packets(5)
    wait_for(lambda: server.statistics()["lost"] == 5)
    time.sleep(0.1)
    robot.move(franky.JointStopMotion())
    assert server.statistics()["aborts"] == {}


def test_many_lost_commands_are_a_communication_error(server: FciServer):
    robot = connect(server.host)
    begin_long_motion(robot, server)
    server.drop_packets(25)
    with pytest.raises(franky.ControlException, match="communication_constraints_violation"):
        robot.join_motion()
    assert robot.recover_from_errors()
    server.drop_packets(0)
    reach(robot, by=0.1)


@pytest.mark.parametrize("fault", [lambda server: server.disconnect(), lambda server: server.delay(1500)])
def test_after_a_network_failure_a_new_client_goes_on(server: FciServer, fault):
    robot = connect(server.host)
    begin_long_motion(robot, server)
    fault(server)
    with pytest.raises((franky.NetworkException, franky.ControlException)):
        robot.join_motion()
    del robot
    wait_for(lambda: not server.statistics()["connected"])
    robot = connect(server.host)
    wait_for(lambda: server.statistics()["mode"] == "reflex")
    assert robot.recover_from_errors()
    reach(robot, by=0.1)


def test_without_real_time_a_motion_takes_less_time_than_it_lasts(make_server: ServerFactory):
    server = make_server(real_time=False)
    robot = connect(server.host)
    target = reach(robot, by=0.3)
    np.testing.assert_allclose(robot.state.q, target, atol=2e-3)
    assert server.statistics()["lost"] == 0
