"""The FR3 driver over the genuine control interface: the franky-sim package, and this project's server with faults."""

import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vipa.errors import HardwareError
from vipa.hardware.fr3 import FR3, ArmMode, ArmReading, FR3Config, JointTrajectory
from vipa.hardware.fr3.config import RECOVERABLE_ERRORS

pytest.importorskip("franky")
pytest.importorskip("franky_sim")

pytestmark = pytest.mark.protocol

PERIOD = 0.05  # s between waypoints
HORIZON = 8
REPLAN = 1.0 / 15.0  # s
SIMULATION = Path(__file__).parents[3] / "ros2_ws" / "src" / "vipa_sim"

# A server in a process of its own; every line on its standard input is a call on it.
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from vipa_sim.fci import FciServer, KinematicPlant

class Displaced(KinematicPlant):
    positions = property(lambda self: self._q + [0.3 if sys.argv[4] == "displaced" else 0.0, 0, 0, 0, 0, 0, 0])

q = (2.7 if sys.argv[4] == "displaced" else 0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
server = FciServer(Displaced(q), sys.argv[2], server_version=int(sys.argv[3]))
server.start()
print("ready", flush=True)
for line in sys.stdin:
    eval("server." + line)
    print("done", flush=True)
server.stop()
"""


class Server:
    """An FCI server process."""

    def __init__(self, version: int = 10, plant: str = "home") -> None:
        for _ in range(20):
            self.address = f"127.0.0.{random.randrange(10, 251)}"
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(SIMULATION), self.address, str(version), plant],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline() == "ready\n":
                return
            self._process.wait()
        raise AssertionError("no free loopback address for the FCI server")

    def call(self, expression: str) -> None:
        """Call a method of the server: ``push([0, 0, 60, 0, 0, 0], 0.1)``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def freeze(self, on: bool) -> None:
        """Stop or continue the process: the network goes silent."""
        os.kill(self._process.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def close(self) -> None:
        """End the process."""
        self.freeze(False)
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def server() -> Iterator[Server]:
    """The project's server with an arm at rest."""
    process = Server()
    yield process
    process.close()


@pytest.fixture
def arm(server: Server) -> Iterator[FR3]:
    """A driver that is connected to ``server``."""
    with FR3(configuration(server.address)) as driver:
        yield driver


def configuration(address: str, **values: Any) -> FR3Config:
    return FR3Config(address, realtime="ignore", **values)


def clock_ns(arm: FR3) -> int:
    """The robot's clock, which a busy computer stretches, carried on between two states."""
    reading = arm.state()
    return int(reading.robot_time * 1e9) + min(time.time_ns() - reading.stamp_ns, 5_000_000)


def wait_for(condition: Callable[[], bool], what: str, time_out: float = 10.0) -> None:
    until = time.monotonic() + time_out
    while not condition():
        assert time.monotonic() < until, f"waited {time_out} s for: {what}"
        time.sleep(0.005)


def wait_for_mode(arm: FR3, mode: ArmMode) -> ArmReading:
    wait_for(lambda: arm.state().mode is mode, mode.name)
    return arm.state()


def resting(arm: FR3) -> bool:
    return bool(np.abs(arm.state().desired_joint_velocities).max() < 1e-3)


def sinusoid(start: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity (7,) of a 0.35 Hz movement of all joints that begins at rest."""
    w = 2.0 * math.pi * 0.35
    return start + 0.12 * (1.0 - math.cos(w * t)), np.full(7, 0.12 * w * math.sin(w * t))


def chunk(start: np.ndarray, t: float, now_ns: int) -> JointTrajectory:
    """The next waypoints of the sinusoid at its time ``t``."""
    times = np.arange(1, HORIZON + 1) * PERIOD
    points = [sinusoid(start, t + dt) for dt in times]
    return JointTrajectory(now_ns, times, np.array([q for q, _ in points]), np.array([v for _, v in points]))


def straight(arm: FR3, offset: float = 0.3, duration: float = 1.0, joint: int = 0) -> JointTrajectory:
    """One joint at constant speed, from where the arm is."""
    times = np.arange(1, 21) * duration / 20
    positions = np.tile(arm.state().joint_positions, (20, 1))
    positions[:, joint] += offset * times / duration
    velocities = np.zeros((20, 7))
    velocities[:, joint] = offset / duration
    return JointTrajectory(clock_ns(arm), times, positions, velocities)


def move(arm: FR3, offset: float = 0.3) -> None:
    """Start a straight movement and wait until the arm is at speed."""
    verdict = arm.stream(straight(arm, offset), clock_ns(arm))
    assert verdict.accepted, verdict.reason
    wait_for(lambda: abs(arm.state().desired_joint_velocities[0]) > 0.9 * abs(offset), "speed")


def follow_sinusoid(arm: FR3, duration: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stream chunks; returns the target (7,), the errors (N, 7) rad once under way, and the robot times (N,) s seen."""
    start, begin_ns = arm.state().joint_positions, clock_ns(arm)
    errors: list[np.ndarray] = []
    seen: list[float] = []
    while (t := (clock_ns(arm) - begin_ns) * 1e-9) < duration:
        verdict = arm.stream(chunk(start, t, begin_ns + int(t * 1e9)), clock_ns(arm))
        assert verdict.accepted, verdict.reason
        while (clock_ns(arm) - begin_ns) * 1e-9 < t + REPLAN:
            reading = arm.state()
            at = reading.robot_time - begin_ns * 1e-9
            seen.append(reading.robot_time)
            if at > 0.5:
                errors.append(reading.desired_joint_positions - sinusoid(start, at)[0])
            time.sleep(0.002)
    return sinusoid(start, t + HORIZON * PERIOD)[0], np.array(errors), np.unique(seen)


def check_streaming(arm: FR3, *, tracking: float) -> None:
    """Chunks at 15 Hz are followed, states come at 100 Hz or more, and the arm rests at the last waypoint."""
    target, errors, times = follow_sinusoid(arm, 2.5)
    assert np.sqrt((errors**2).mean()) < tracking
    assert len(times) / (times[-1] - times[0]) >= 100.0
    t_end = times[-1]
    wait_for(lambda: resting(arm) and arm.state().robot_time > t_end + 0.5, "rest at the last waypoint")
    # The last chunk began up to one period of the control loop after ``t``: its end differs by that much movement.
    assert np.abs(arm.state().desired_joint_positions - target).max() < 0.01
    assert arm.state().mode is ArmMode.STREAMING
    assert arm.counters.get("aborts", 0) == 0


def check_stop(arm: FR3, *, waits: float = 10.0) -> None:
    """A stop in mid-motion is short, goes only forward, and frees the arm."""
    move(arm)
    before = arm.state()
    speed = before.desired_joint_velocities[0]
    arm.stop()
    path = [before.desired_joint_positions[0]]
    until = time.monotonic() + waits
    while arm.state().mode is not ArmMode.IDLE:
        path.append(arm.state().desired_joint_positions[0])
        assert time.monotonic() < until
        time.sleep(0.002)
    path.append(arm.state().desired_joint_positions[0])
    braking = speed**2 / (2 * 0.6 * 10.0)
    assert 0.5 * braking < path[-1] - path[0] < 2.0 * braking + 0.03 * speed
    assert np.diff(path).min() > -1e-3
    assert arm.stream(straight(arm, -0.1), clock_ns(arm)).accepted
    wait_for_mode(arm, ArmMode.STREAMING)


# --------------------------------------------------------------------------------------------------- plain franky-sim
@pytest.fixture
def plain() -> Iterator[str]:
    """Address of the franky-sim package's own server."""
    address = f"127.0.1.{random.randrange(10, 251)}"
    process = subprocess.Popen(  # the console script's module, in this interpreter
        [sys.executable, "-u", "-m", "franky_sim.run_server", "--simulator", "mujoco", "--hostname", address],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("Press Ctrl+C" in line for line in process.stdout), "franky-sim did not start"
    yield address
    process.kill()
    process.communicate()


@pytest.mark.alone  # that server does not wait for who is late
def test_streams_to_a_server_of_other_people(plain: str) -> None:
    with FR3(configuration(plain, load_mass=0.6, load_centre=(0.0, 0.0, 0.06))) as arm:
        check_streaming(arm, tracking=0.005)
        arm.stop()
        wait_for_mode(arm, ArmMode.IDLE)
        check_stop(arm)


# ------------------------------------------------------------------------------------------------- connection, motion
def test_connect_sets_the_end_effector_and_the_load(server: Server) -> None:
    values: dict[str, Any] = {"end_effector_translation": (0.0, 0.0, 0.2), "end_effector_rpy": (0.0, 0.0, math.pi / 2)}
    with FR3(configuration(server.address)) as arm:
        bare = arm.state()
    with FR3(configuration(server.address, load_mass=0.7, **values)) as arm:
        held = arm.state()
    assert bare.mode is held.mode is ArmMode.IDLE
    relative = np.linalg.inv(bare.end_effector_pose) @ held.end_effector_pose
    np.testing.assert_allclose(relative[:3, 3], [0.0, 0.0, 0.2], atol=1e-5)
    np.testing.assert_allclose(relative[:3, 0], [0.0, 1.0, 0.0], atol=1e-5)


def test_streams_chunks_at_15_hz(arm: FR3) -> None:
    check_streaming(arm, tracking=0.005)


def test_stops_smoothly_in_mid_motion_without_swinging_back(arm: FR3) -> None:
    check_stop(arm)


@pytest.mark.parametrize("step_ms", [25.0, 18.5, 15.5, 10.3])
def test_starvation_ends_at_the_last_waypoint_without_passing_it(arm: FR3, step_ms: float) -> None:
    """Also where steps take no whole milliseconds, in which the planner counts."""
    trajectory = straight(arm, 0.5 * 20 * step_ms * 1e-3, 20 * step_ms * 1e-3)
    end = trajectory.positions[-1, 0]
    assert arm.stream(trajectory, clock_ns(arm))
    path = [0.0]
    begin = arm.state().robot_time
    while arm.state().robot_time < begin + 1.0:
        path.append(arm.state().desired_joint_positions[0])
        time.sleep(0.002)
    assert max(path) < end + 1e-3
    assert np.diff(path).min() > -1e-3, "neither a run-up nor a return"
    assert path[-1] == pytest.approx(end, abs=1e-3)


def test_an_arm_that_is_done_leaves_the_motion(server: Server) -> None:
    with FR3(configuration(server.address, idle_after=0.2)) as arm:
        move(arm)
        wait_for_mode(arm, ArmMode.IDLE)
        assert arm.counters.get("aborts", 0) == 0


def test_the_newest_trajectory_wins(arm: FR3) -> None:
    move(arm)
    here = arm.state().desired_joint_positions[0]
    assert arm.stream(straight(arm, -0.3), clock_ns(arm))
    wait_for(lambda: arm.state().desired_joint_positions[0] < here - 0.1, "the other direction")


def test_stop_outranks_a_trajectory_that_waits(arm: FR3) -> None:
    here = arm.state().joint_positions
    for _ in range(5):
        arm.stream(straight(arm), clock_ns(arm))
        arm.stop()
    wait_for_mode(arm, ArmMode.IDLE)
    time.sleep(0.1)
    assert arm.state().mode is ArmMode.IDLE
    assert np.abs(arm.state().joint_positions - here).max() < 0.02


def test_impedance_mode_follows_and_stops(server: Server) -> None:
    with FR3(configuration(server.address, mode="impedance")) as arm:
        for goal in (0.15, 0.3):
            offset = goal - arm.state().joint_positions[0]
            assert arm.stream(straight(arm, offset, 0.8), clock_ns(arm))
            wait_for(lambda goal=goal: abs(arm.state().joint_positions[0] - goal) < 0.02, "the end of the movement")
        arm.stop()
        wait_for_mode(arm, ArmMode.IDLE)
        assert arm.counters.get("aborts", 0) == 0


def test_close_stops_the_arm_first(server: Server) -> None:
    with FR3(configuration(server.address)) as arm:
        move(arm)
    with FR3(configuration(server.address)) as arm:
        assert arm.state().mode is ArmMode.IDLE
        assert arm.state().errors == ()


# ---------------------------------------------------------------------------------------------- refused trajectories
def test_bad_trajectories_do_not_move_the_arm_and_are_counted(arm: FR3) -> None:
    here, now = arm.state().joint_positions, clock_ns(arm)
    good = straight(arm)
    nan, fast, jump = (np.array(good.positions) for _ in range(3))
    nan[3, 3] = math.nan
    fast[:, 0] = here[0] + 2.0 * good.times
    jump += 0.5
    bad = [
        (JointTrajectory(now, good.times, nan, good.velocities), "not finite"),
        (JointTrajectory(now, good.times, fast, good.velocities), "rad/s"),
        (JointTrajectory(now, good.times, jump, good.velocities), "from the first waypoint"),
        (JointTrajectory(now - 10_000_000_000, good.times, good.positions, good.velocities), "stale"),
        (JointTrajectory(now, good.times, good.positions[:, :6], good.velocities), "expected"),
        (JointTrajectory(now, good.times, good.positions + 5.0, good.velocities), "permitted are"),
    ]
    for trajectory, reason in bad:
        verdict = arm.stream(trajectory, now)
        assert not verdict
        assert reason in verdict.reason
    time.sleep(0.1)
    assert arm.state().mode is ArmMode.IDLE
    np.testing.assert_allclose(arm.state().joint_positions, here, atol=1e-4)
    assert arm.counters == {"refused": len(bad)}


def test_a_bad_trajectory_does_not_disturb_a_motion(arm: FR3) -> None:
    move(arm)
    trajectory = straight(arm)
    trajectory.positions[2, 2] = math.inf
    assert not arm.stream(trajectory, clock_ns(arm))
    time.sleep(0.05)
    assert arm.state().mode is ArmMode.STREAMING
    assert arm.state().desired_joint_velocities[0] > 0.2


def test_the_driver_without_a_connection() -> None:
    arm = FR3(configuration("127.0.0.1"))
    assert arm.state().mode is ArmMode.DISCONNECTED
    verdict = arm.stream(JointTrajectory(0, np.ones(1), np.zeros((1, 7)), np.zeros((1, 7))), 0)
    assert verdict.reason == "not connected"
    arm.stop()
    arm.close()
    with pytest.raises(HardwareError, match="Reconnect first"):
        arm.recover()


# ------------------------------------------------------------------------------------------------------------- faults
def test_a_user_stop_waits_for_release_and_for_the_operator(server: Server, arm: FR3) -> None:
    move(arm)
    server.call("user_stop()")
    assert "release it" in wait_for_mode(arm, ArmMode.USER_STOP).detail
    assert "USER_STOP" in arm.stream(straight(arm), clock_ns(arm)).reason
    with pytest.raises(HardwareError, match="user stop is pressed"):
        arm.recover()
    server.call("release_user_stop()")
    wait_for(lambda: "recover to go on" in arm.state().detail, "release")
    assert arm.state().mode is ArmMode.USER_STOP
    assert not arm.stream(straight(arm), clock_ns(arm))
    arm.recover()
    wait_for_mode(arm, ArmMode.IDLE)
    move(arm)


def test_a_user_stop_at_rest_is_held_too(server: Server, arm: FR3) -> None:
    server.call("user_stop()")
    wait_for_mode(arm, ArmMode.USER_STOP)
    server.call("release_user_stop()")
    wait_for(lambda: "recover to go on" in arm.state().detail, "release")
    assert arm.stream(straight(arm), clock_ns(arm)).accepted is False


def test_a_collision_waits_for_the_operator(server: Server, arm: FR3) -> None:
    move(arm)
    server.call("push([0.0, 120.0, 0.0, 0.0, 0.0, 0.0], 0.2)")
    reading = wait_for_mode(arm, ArmMode.REFLEX)
    assert any("reflex" in name for name in reading.errors)
    assert reading.errors[0] in reading.detail
    assert "REFLEX" in arm.stream(straight(arm), clock_ns(arm)).reason
    time.sleep(0.3)
    assert arm.state().mode is ArmMode.REFLEX
    assert arm.counters.get("recoveries", 0) == 0
    arm.recover()
    wait_for_mode(arm, ArmMode.IDLE)
    move(arm, -0.3)


def test_lost_packets_are_recovered_from_by_a_driver_that_may(server: Server) -> None:
    with FR3(configuration(server.address, recoverable_errors=RECOVERABLE_ERRORS)) as arm:
        move(arm)
        server.call("drop_packets(20)")
        wait_for(lambda: arm.counters.get("recoveries", 0) == 1, "a recovery")
        wait_for_mode(arm, ArmMode.IDLE)
        move(arm, -0.3)


def test_recovery_by_the_driver_is_capped(server: Server) -> None:
    allowed = configuration(server.address, recoverable_errors=RECOVERABLE_ERRORS, recovery_attempts=1)
    with FR3(allowed) as arm:
        for mode in (ArmMode.IDLE, ArmMode.REFLEX):
            move(arm)
            server.call("drop_packets(20)")
            wait_for(lambda: arm.state().mode is not ArmMode.STREAMING, "an abort")
            wait_for_mode(arm, mode)
        time.sleep(0.2)
        assert arm.state().mode is ArmMode.REFLEX
        assert arm.counters["recoveries"] == 1
        arm.recover()
        wait_for_mode(arm, ArmMode.IDLE)


def test_an_error_that_is_not_listed_waits_for_the_operator(server: Server, arm: FR3) -> None:
    move(arm)
    server.call("drop_packets(20)")
    assert wait_for_mode(arm, ArmMode.REFLEX).errors == ("communication_constraints_violation",)
    time.sleep(0.2)
    assert arm.counters.get("recoveries", 0) == 0
    arm.recover()
    wait_for_mode(arm, ArmMode.IDLE)
    move(arm, -0.3)


@pytest.mark.parametrize("in_motion", [False, True])
def test_a_silent_network_needs_a_new_connection(server: Server, arm: FR3, in_motion: bool) -> None:
    if in_motion:
        move(arm)
    server.freeze(True)
    wait_for(lambda: not arm.stream(straight(arm), clock_ns(arm)), "a refusal for want of a state")
    assert "connection lost" in wait_for_mode(arm, ArmMode.DISCONNECTED).detail
    server.freeze(False)
    time.sleep(0.3)
    assert arm.state().mode is ArmMode.DISCONNECTED, "nothing that is old by now is followed"
    with pytest.raises(HardwareError, match="Reconnect first"):
        arm.recover()
    wait_for(lambda: _reconnects(arm), "a new connection")
    arm.recover()
    wait_for_mode(arm, ArmMode.IDLE)
    assert abs(arm.state().joint_positions[0]) < 0.2
    move(arm)


def _reconnects(arm: FR3) -> bool:
    try:
        arm.reconnect()
    except HardwareError:
        return False
    return True


def test_a_closed_connection_is_noticed(server: Server, arm: FR3) -> None:
    move(arm)
    server.call("disconnect()")
    wait_for_mode(arm, ArmMode.DISCONNECTED)
    wait_for(lambda: _reconnects(arm), "a new connection")
    assert arm.state().mode in (ArmMode.USER_STOP, ArmMode.REFLEX)
    refused = arm.stream(straight(arm), clock_ns(arm))
    assert not refused
    assert "recover" in refused.reason
    time.sleep(0.3)
    assert arm.state().mode is not ArmMode.IDLE, "it waits for the operator"
    arm.recover()
    assert arm.state().mode is ArmMode.IDLE
    move(arm)


# ----------------------------------------------------------------------------------------------------- start-up checks
def test_another_server_version_is_named_with_the_cure() -> None:
    process = Server(version=9)
    try:
        with pytest.raises(HardwareError) as error:
            FR3(configuration(process.address)).connect()
    finally:
        process.close()
    assert "interface version 9" in str(error.value)
    assert "libfranka 0.17" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_user_stop_at_start_up_is_refused(server: Server) -> None:
    server.call("user_stop()")
    arm = FR3(configuration(server.address))
    with pytest.raises(HardwareError, match="user stop is pressed: release it"):
        arm.connect()
    assert arm.state().mode is ArmMode.DISCONNECTED
    server.call("release_user_stop()")
    wait_for(lambda: _reconnects(arm), "a connection after the release")
    arm.close()


def test_guiding_at_start_up_is_refused(server: Server) -> None:
    server.call("guiding(True)")
    with pytest.raises(HardwareError, match="guided by hand"):
        FR3(configuration(server.address)).connect()


def test_a_joint_outside_its_limits_is_refused() -> None:
    process = Server(plant="displaced")
    try:
        with pytest.raises(HardwareError, match=r"joint 1 stands at 3.000 rad, outside -2.9007 to 2.9007 rad"):
            FR3(configuration(process.address)).connect()
    finally:
        process.close()


def test_an_address_where_nobody_listens() -> None:
    with pytest.raises(HardwareError, match=r"arm 127.0.2.1: cannot connect: .*activate FCI in Desk"):
        FR3(configuration("127.0.2.1")).connect()


def test_a_robot_that_does_not_answer() -> None:
    with socket.create_server((f"127.0.3.{random.randrange(10, 251)}", 1337)) as silent:
        address = silent.getsockname()[0]
        with pytest.raises(HardwareError, match=r"no answer within 0.3 s"):
            FR3(configuration(address, connect_time_out=0.3)).connect()


def test_a_kernel_without_realtime_is_named_with_the_cure(server: Server) -> None:
    if Path("/sys/kernel/realtime").exists():
        pytest.skip("this kernel is a real-time kernel")
    with pytest.raises(HardwareError, match=r"set arm\.realtime: ignore"):
        FR3(FR3Config(server.address, realtime="enforce")).connect()
