"""Calibration tour: leads the arm of a running graph from pose to pose and takes a view of the board at each.

This is what ``vipa calibrate collect --auto`` runs. Its chunks are an operator's: they go through the gate.
"""

import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import ArmState, GateEvent, HandState

from calibration.board import BoardConfig
from calibration.collection import ViewCollector
from calibration.planning import Workspace
from calibration.tour import CalibrationTour, Shot
from calibration.views import CameraEntry
from vipa.config import from_mapping
from vipa.errors import VipaError
from vipa.nodes.base import LATCHED, LATEST, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import from_camera_info, from_image, from_pose, to_chunk_message, to_ns
from vipa.result import Result
from vipa.scheduling import CHAIN_PRIORITY, ordinary_scheduling
from vipa.teleop.session import RobotReading
from vipa_inference.policy import HAND_DIMENSION, HOLD_INSTRUCTION

STATES = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
REST = 0.01  # rad/s, of the fastest joint
HISTORY = 200  # states of the arm
WAIT_S = 20.0  # wall time until the graph must be ready
READY_S = 0.5  # for which motion must have been allowed


class CalibrationTourNode(ManagedNode):
    """Collects views as the JSON in ``settings`` says, writes its figures to the file ``output``, and ends.

    Nobody has to lead it through its life cycle. It tells a policy to hold.
    """

    def __init__(self) -> None:
        super().__init__("calibration_tour", period_s=0.01)
        self.declare_parameter("settings", "{}")
        self.declare_parameter("output", "-")
        self._settings = json.loads(str(self.get_parameter("settings").value))
        self._tour: CalibrationTour | None = None
        self._states: deque[Any] = deque(maxlen=HISTORY)
        self._hand_targets = np.full(HAND_DIMENSION, np.nan)
        self._robot: RobotReading | None = None
        self._info: Any = None
        self._image: Any = None
        self._started = time.monotonic()
        self._allowed_since: float | None = None
        color = f"/camera/{self._settings['camera']['name']}/color"
        self._infos = self.polled(CameraInfo, f"{color}/camera_info", LATEST)
        self._images = self.polled(Image, f"{color}/image_raw", LATEST)
        self._arm = self.polled(ArmState, "/fr3/state", STATES)
        self._hand = self.polled(HandState, "/hand/state", LATEST)
        self._gate = self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP)
        self._chunks = self.create_publisher(ActionChunkMessage, "/policy/action_chunk", RELIABLE)
        self._instruction = self.create_publisher(String, "/policy/instruction", LATCHED)

    def step(self) -> None:
        """Take the state; begin, or go on with the tour; end when it is done."""
        self._take_state()
        robot, now_ns, allowed = self._robot, self.clock.now_ns(), self.motion_allowed()
        if self._tour is None:
            self._begin_when_ready(robot, allowed)
            return
        if robot is None:
            return
        tour = self._tour
        for event in self.take_all(self._gate):
            if event.verdict == GateEvent.REFUSED:
                tour.refuse(int(event.chunk_id), f"{event.rule}: {event.detail}")
        tour.update(robot, now_ns, allowed)
        chunk = tour.chunk(robot, now_ns)
        if chunk is not None:
            self._chunks.publish(to_chunk_message(chunk, self.clock.now_ns(), self.lab.base_frame))
        self._show(tour)
        for note in tour.take_notes():
            self.get_logger().info(note)
        if tour.phase in ("done", "failed"):
            self._end(tour)

    def _take_state(self) -> None:
        self._info = self.take_latest(self._infos) or self._info
        hand = self.take_latest(self._hand)
        if hand is not None and hand.connected:
            targets, positions = np.array(hand.targets), np.array(hand.positions)
            self._hand_targets = np.where(np.isfinite(targets), targets, positions)
        for arm in self.take_all(self._arm):
            self._states.append(arm)
            pose = from_pose(arm.end_effector_pose)
            if np.isfinite(pose).all() and np.isfinite(self._hand_targets).all():
                self._robot = RobotReading(to_ns(arm.header.stamp), pose, self._hand_targets)

    def _begin_when_ready(self, robot: RobotReading | None, allowed: bool) -> None:
        now = time.monotonic()
        self._allowed_since = (self._allowed_since or now) if allowed else None
        is_ready = self._allowed_since is not None and now - self._allowed_since >= READY_S
        if robot is not None and self._info is not None and is_ready:
            self._instruction.publish(String(data=HOLD_INSTRUCTION))
            try:
                self._tour = self._make_tour(robot)
            except VipaError as error:
                self._fail(str(error))
        elif now - self._started > WAIT_S:
            missing = {"images of the camera": self._info is None, "the state of arm and hand": robot is None}
            names = ", ".join(name for name, lacks in missing.items() if lacks) or "the supervisor to allow motion"
            self._fail(f"waited {WAIT_S:.0f} s for {names}: does the graph run in this ROS domain? vipa cell status")

    def _make_tour(self, robot: RobotReading) -> CalibrationTour:
        settings, intrinsics = self._settings, from_camera_info(self._info)
        camera, board = from_mapping(CameraEntry, settings["camera"]), from_mapping(BoardConfig, settings["board"])
        collector = ViewCollector(Path(settings["folder"]), camera, board, intrinsics)
        workspace, count = Workspace.of(self.lab), int(settings["count"])
        return CalibrationTour(collector, camera.mount, board, intrinsics, workspace, count, robot)

    def _show(self, tour: CalibrationTour) -> None:
        """Show the tour an image, once a state of the arm from after its exposure is known."""
        if tour.phase != "looking":
            self._image = None
            return
        self._image = self._image or self.take_latest(self._images)
        if self._image is None:
            return
        exposure_ns = to_ns(self._image.header.stamp)
        if to_ns(self._states[-1].header.stamp) < exposure_ns:
            return
        nearest = min(self._states, key=lambda state: abs(to_ns(state.header.stamp) - exposure_ns))
        moved = not np.abs(nearest.joint_velocities).max() <= REST
        image, self._image = self._image, None
        with ordinary_scheduling():
            tour.take(Shot(from_image(image), exposure_ns, [float(q) for q in nearest.joint_positions], moved))

    def _end(self, tour: CalibrationTour) -> None:
        figures = {"views": float(tour.views), "poses_without_view": float(tour.missed)}
        self._write(figures, tour.failure)

    def _fail(self, problem: str) -> None:
        self._write({}, problem)

    def _write(self, figures: dict[str, float], problem: str) -> None:
        result = Result("calibrate collect", not problem, figures, details={"problem": problem})
        result.write(str(self.get_parameter("output").value))
        self.finish(1 if problem else 0, "")


def main() -> int:
    """Run the node."""
    return run_node(CalibrationTourNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
