"""Arm node: the FR3 through franky, in a process of its own."""

import sys
from typing import Any

from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage
from vipa_msgs.msg import ArmState, Heartbeat

from vipa.control.trajectory_watch import TrajectoryWatch
from vipa.errors import HardwareError, VipaError
from vipa.hardware.fr3 import FR3, ArmMode, JointTrajectory
from vipa.nodes.base import LATEST, RELIABLE, ManagedNode, run_node
from vipa.nodes.messages import from_joint_trajectory, to_pose, to_time
from vipa.scheduling import CHAIN_PRIORITY

JOINT_NAMES = [f"fr3_joint{i}" for i in range(1, 8)]
RECONNECT_CYCLES = 100
STATE_CYCLES = 2  # of 5 ms


class ArmNode(ManagedNode):
    """Publishes the arm's state at 100 Hz and hands joint trajectories to the robot while motion is allowed."""

    def __init__(self) -> None:
        super().__init__("arm", period_s=0.005)
        self._arm: FR3 | None = None
        self._accepted_stamp = self._accepted_at = 0
        self._accepted = self._refused = 0
        self._detail = ""
        self._stopping = False
        self._trajectory_watch = TrajectoryWatch(0.0)
        self._cycles_disconnected = self._cycle = 0
        self._trajectories = self.polled(JointTrajectoryMessage, "/fr3/joint_trajectory", RELIABLE)
        self._states = self.create_publisher(ArmState, "/fr3/state", LATEST)
        self._joint_states = self.create_publisher(JointState, "/joint_states", RELIABLE)
        self.create_service(Trigger, "/fr3/recover", self._on_recover)

    def configure(self) -> None:
        """Connect to the robot and run the start-up checks."""
        self._trajectory_watch = TrajectoryWatch(self.lab.control.trajectory_time_out)
        self._arm = FR3(self.lab.arm)
        try:
            self._arm.connect()
        except VipaError:
            self._arm = None
            raise

    def activate(self) -> None:
        """Trajectories sent before this moment are void."""
        self.take_all(self._trajectories)

    def step(self) -> None:
        """Hand the newest trajectory over, watch the stop condition, publish the state."""
        if self._arm is None:
            return
        trajectory = self.take_latest(self._trajectories)
        allowed = self.active and self.motion_allowed()
        if not allowed:
            self._stop_once()
        elif trajectory is not None:
            self._stream(trajectory)
        elif not self._stopping and self._trajectory_watch.is_abandoned(self.clock.now_ns()):
            self.get_logger().warning("arm: no further trajectory; stopping before the end of the last one")
            self._stop_once()
        self._cycle += 1
        if self._cycle % STATE_CYCLES == 0:
            self._publish()

    def deactivate(self) -> None:
        """Stop smoothly."""
        self._stop_once()

    def cleanup(self) -> None:
        """Stop and let go of the robot."""
        if self._arm is not None:
            self._arm.close()
            self._arm = None

    def _stop_once(self) -> None:
        assert self._arm is not None
        if not self._stopping:
            self._arm.stop()
            self._stopping = True

    def _stream(self, message: Any) -> None:
        assert self._arm is not None
        now_ns = self.clock.now_ns()
        try:
            start_ns, times, positions, velocities = from_joint_trajectory(message)
            verdict = self._arm.stream(JointTrajectory(start_ns, times, positions, velocities), now_ns)
        except VipaError as error:
            self._refused += 1
            self._detail = str(error)
            return
        if verdict.accepted:
            self._stopping = False
            self._accepted += 1
            self._accepted_stamp, self._accepted_at = start_ns, now_ns
            self._trajectory_watch.take(now_ns, start_ns, float(times[-1]))
        else:
            self._refused += 1
            self._detail = verdict.reason
            self.get_logger().warning(f"arm: trajectory refused: {verdict.reason}", throttle_duration_sec=1.0)

    def _publish(self) -> None:
        assert self._arm is not None
        reading = self._arm.state()
        self._watch(reading)
        stamp = to_time(self.clock.now_ns())
        state = ArmState(
            mode=int(reading.mode),
            joint_positions=reading.joint_positions,
            joint_velocities=reading.joint_velocities,
            joint_torques=reading.joint_torques,
            external_torques=reading.external_torques,
            desired_joint_positions=reading.desired_joint_positions,
            end_effector_pose=to_pose(reading.end_effector_pose),
            external_wrench=reading.external_wrench,
            control_command_success_rate=float(reading.control_command_success_rate),
            accepted_trajectory=to_time(self._accepted_stamp),
            accepted_at=to_time(self._accepted_at),
            trajectories_accepted=self._accepted,
            trajectories_refused=self._refused,
            detail=reading.detail or self._detail,
        )
        state.header.stamp, state.header.frame_id = stamp, self.lab.base_frame
        self._states.publish(state)
        if self._joint_states.get_subscription_count():
            joints = JointState(name=JOINT_NAMES, position=reading.joint_positions, velocity=reading.joint_velocities)
            joints.effort = reading.joint_torques
            joints.header.stamp, joints.header.frame_id = stamp, self.lab.base_frame
            self._joint_states.publish(joints)

    def _watch(self, reading: Any) -> None:
        """Show what is wrong in the heartbeat; look for a robot that went away; recover what may be recovered."""
        assert self._arm is not None
        if reading.mode in (ArmMode.IDLE, ArmMode.STREAMING):
            self._cycles_disconnected = 0
            self.report(Heartbeat.OK, "")
            return
        self.report(Heartbeat.ERROR, f"arm: {reading.mode.name}: {reading.detail}")
        if reading.mode == ArmMode.DISCONNECTED:
            self._cycles_disconnected += 1
            if self._cycles_disconnected % RECONNECT_CYCLES == 0:
                try:
                    self._arm.reconnect()
                except HardwareError as error:
                    self.report(Heartbeat.ERROR, str(error))

    def _on_recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def recover() -> VipaError | None:
            if self._arm is None:
                return VipaError("arm: not connected; configure it first")
            try:
                self._arm.recover()
            except VipaError as error:
                return error
            return None

        error = self.in_main(recover)
        response.success, response.message = error is None, str(error or "recovered; motion needs a new action chunk")
        return response


def main() -> int:
    """Run the node."""
    return run_node(ArmNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
