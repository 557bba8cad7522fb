"""Teleop node: commands of an operator's device in, the action chunks of a policy out; runs beside a running graph."""

import dataclasses
import sys
import time
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import ArmState, GateEvent, HandState
from vipa_msgs.msg import TeleopCommand as TeleopCommandMessage

from vipa.errors import VipaError
from vipa.nodes.base import LATCHED, LATEST, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import from_pose, to_chunk_message, to_ns, to_teleop_message
from vipa.policy_options import read_policy_options
from vipa.scheduling import CHAIN_PRIORITY, ordinary_scheduling
from vipa.teleop.command import TeleopCommand
from vipa.teleop.motion import TargetMotion
from vipa.teleop.session import RobotReading, TeleopSession
from vipa.teleop.sources import make_source
from vipa_inference.policy import HAND_DIMENSION, HOLD_INSTRUCTION

REPEATED_NOTE_S = 1.0
WAITING_NOTE_S = 3.0


class TeleopNode(ManagedNode):
    """Publishes chunks while the operator drives; tells the policy to hold when he begins.

    Nobody has to lead it through its life cycle, and it never keeps the robot from moving. It ends when the source has
    no more commands, or with status 1 when the device is lost; in both cases once the target is at rest.
    """

    def __init__(self) -> None:
        super().__init__("teleop", period_s=0.01)
        for name, default in (("source", "keyboard"), ("source_options", ""), ("instruction", "")):
            self.declare_parameter(name, default)
        source = str(self.get_parameter("source").value)
        gate, config = self.lab.control.gate, self.lab.teleop
        low, high = np.array(gate.workspace_min), np.array(gate.workspace_max)
        low[2] = max(low[2], gate.floor_z)
        motion = TargetMotion(config, low, high)
        self._session = TeleopSession(config, motion, str(self.get_parameter("instruction").value))
        self._arm_state: Any = None
        self._hand_targets = np.full(HAND_DIMENSION, np.nan)
        self._exposures: dict[str, int] = {}
        self._command: TeleopCommand | None = None
        self._first_chunk_id = 0
        self._was_engaged = self._begun = False
        self._lost = ""
        self._noted: dict[str, float] = {}
        self._waiting_since = time.monotonic()
        self._arm = self.polled(ArmState, "/fr3/state", LATEST)
        self._hand = self.polled(HandState, "/hand/state", LATEST)
        self._gate = self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP)
        self._infos = {
            name: self.polled(CameraInfo, f"/camera/{name}/color/camera_info", LATEST) for name in self.lab.cameras
        }
        self._commands = self.create_publisher(TeleopCommandMessage, "/teleop/command", LATEST)
        self._chunks = self.create_publisher(ActionChunkMessage, "/policy/action_chunk", RELIABLE)
        self._instruction = self.create_publisher(String, "/policy/instruction", LATCHED)
        with ordinary_scheduling():  # the threads of a device's library come after the drivers
            self._source = make_source(source, read_policy_options(str(self.get_parameter("source_options").value)))
        self.get_logger().info(f"teleop {source}: {self._source.help}")

    def step(self) -> None:
        """Read the device, move the target, send the next chunk."""
        self._take_state()
        now_ns = self.clock.now_ns()
        robot = self._robot()
        allowed = self.motion_allowed()
        self._begun = self._begun or (allowed and robot is not None and now_ns > 0)
        if not self._begun:
            self._tell_waiting(now_ns)
        if robot is None or now_ns == 0:
            return
        command = self._read(now_ns, robot) if self._begun else None
        self._take_refusals(robot)
        self._session.update(command, robot, now_ns, allowed)
        if self._session.engaged and not self._was_engaged:
            self._instruction.publish(String(data=HOLD_INSTRUCTION))
        self._was_engaged = self._session.engaged
        self._send_chunk(robot, now_ns)
        self._tell_operator()
        if (self._lost or self._source.finished) and not self._session.moving:
            self.finish(1 if self._lost else 0, self._lost)

    def close(self) -> None:
        """Let go of the device; the last chunk brings the arm to rest."""
        self._source.close()

    def _take_state(self) -> None:
        self._arm_state = self.take_latest(self._arm) or self._arm_state
        hand = self.take_latest(self._hand)
        if hand is not None and hand.connected:
            targets, positions = np.array(hand.targets), np.array(hand.positions)
            self._hand_targets = np.where(np.isfinite(targets), targets, positions)

    def _robot(self) -> RobotReading | None:
        """Where the robot is; None while that is not known."""
        if self._arm_state is None or not np.isfinite(self._hand_targets).all():
            return None
        pose = from_pose(self._arm_state.end_effector_pose)
        if not np.isfinite(pose).all():
            return None
        return RobotReading(to_ns(self._arm_state.header.stamp), pose, self._hand_targets)

    def _read(self, now_ns: int, robot: RobotReading) -> TeleopCommand | None:
        if self._lost:
            return None
        try:
            command = self._source.read(now_ns, robot.hand)
        except VipaError as error:
            self._lost = str(error)
            return None
        if command is not None:
            if command.clutch or (self._command is not None and self._command.clutch):
                source = str(self.get_parameter("source").value)
                self._commands.publish(to_teleop_message(command, source, self.lab.base_frame))
            self._command = command
        return command

    def _take_refusals(self, robot: RobotReading) -> None:
        for event in self.take_all(self._gate):
            if event.verdict == GateEvent.REFUSED and 0 < self._first_chunk_id <= event.chunk_id:
                self._session.refuse(f"{event.rule}: {event.detail}", robot)

    def _send_chunk(self, robot: RobotReading, now_ns: int) -> None:
        for name, subscription in self._infos.items():
            info = self.take_latest(subscription)
            if info is not None:
                self._exposures[name] = to_ns(info.header.stamp)
        chunk = self._session.chunk(robot, now_ns)
        if chunk is None:
            return
        self._first_chunk_id = self._first_chunk_id or chunk.chunk_id
        chunk = dataclasses.replace(
            chunk,
            exposures_ns=dict(self._exposures),
            received_ns=self._command.stamp_ns if self._command is not None and self._session.engaged else now_ns,
            inference_start_ns=now_ns,
            inference_end_ns=self.clock.now_ns(),
        )
        self._chunks.publish(to_chunk_message(chunk, self.clock.now_ns(), self.lab.base_frame))

    def _tell_waiting(self, now_ns: int) -> None:
        """Log, again and again, what the session cannot begin without."""
        if time.monotonic() - self._waiting_since < WAITING_NOTE_S:
            return
        self._waiting_since = time.monotonic()
        missing = {
            "the clock": now_ns == 0,
            "/fr3/state": self._arm_state is None,
            "/hand/state": not np.isfinite(self._hand_targets).all(),
        }
        names = ", ".join(name for name, lacks in missing.items() if lacks) or "the supervisor to allow motion"
        self.get_logger().warning(f"teleop waits for {names}; see: vipa cell status")

    def _tell_operator(self) -> None:
        """Log the session's notes; the same one at most once a second."""
        wall = time.monotonic()
        for note in self._session.take_notes():
            subject = note.partition(":")[0]
            if wall - self._noted.get(subject, -REPEATED_NOTE_S) >= REPEATED_NOTE_S:
                self._noted[subject] = wall
                self.get_logger().info(f"teleop {note}")


def main() -> int:
    """Run the node."""
    return run_node(TeleopNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
