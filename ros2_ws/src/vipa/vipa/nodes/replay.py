"""Replay node: a recorded episode's actions onto the robot of a running graph, as the chunks of an operator."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import ArmState, GateEvent, HandState

from vipa.errors import VipaError
from vipa.nodes.base import LATCHED, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import from_pose, to_chunk_message, to_ns
from vipa.replay.episode import open_recorded
from vipa.replay.layout import check_layout
from vipa.replay.session import ReplaySession
from vipa.replay.trajectories import Track, compare_tracks, recorded_targets, recorded_track
from vipa.result import Result
from vipa.scheduling import CHAIN_PRIORITY, ordinary_scheduling
from vipa.teleop.session import RobotReading
from vipa_inference.policy import HAND_DIMENSION, HOLD_INSTRUCTION

STATES = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
WAITING_NOTE_S = 3.0
PROGRESS_S = 5.0


class ReplayNode(ManagedNode):
    """Plays the episode in the folder ``episode``, writes the figures to the file ``output``, and ends.

    Nobody has to lead it through its life cycle. It tells the policy to hold, and ends with status 1 where the episode
    could not be played.
    """

    def __init__(self) -> None:
        super().__init__("replay", period_s=0.01)
        self.declare_parameter("episode", "")
        self.declare_parameter("output", "-")
        with ordinary_scheduling():
            self._recorded = open_recorded(Path(str(self.get_parameter("episode").value)))
            self._targets = recorded_targets(self._recorded, self.lab)
            self._warnings = check_layout(self._recorded.lab, self.lab, self._targets)
        self._session = ReplaySession(self._targets, f"replay of {self._recorded.folder.name}")
        self._poses: dict[int, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._hands: dict[int, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._robot: RobotReading | None = None
        self._hand_targets = np.full(HAND_DIMENSION, np.nan)
        self._first_chunk_id = 0
        self._told = time.monotonic()
        self._arm = self.polled(ArmState, "/fr3/state", STATES)
        self._hand = self.polled(HandState, "/hand/state", STATES)
        self._gate = self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP)
        self._chunks = self.create_publisher(ActionChunkMessage, "/policy/action_chunk", RELIABLE)
        self._instruction = self.create_publisher(String, "/policy/instruction", LATCHED)
        for line in self._warnings:
            self.get_logger().warning(f"replay: {line}")

    def step(self) -> None:
        """Take the state, send the next chunk, end when all is played."""
        self._take_state()
        now_ns = self.clock.now_ns()
        session, robot = self._session, self._robot
        if robot is not None and now_ns > 0:
            waited = session.phase == "waiting"
            self._take_refusals(now_ns)
            session.update(robot, now_ns, self.motion_allowed())
            if waited and session.phase != "waiting":
                self._instruction.publish(String(data=HOLD_INSTRUCTION))
            chunk = session.chunk(robot, now_ns)
            if chunk is not None:
                self._first_chunk_id = self._first_chunk_id or chunk.chunk_id
                self._chunks.publish(to_chunk_message(chunk, self.clock.now_ns(), self.lab.base_frame))
        self._tell_operator(now_ns)
        if session.ended:
            self._end()

    def _take_state(self) -> None:
        for hand in self.take_all(self._hand):
            if hand.connected:
                targets, positions = np.array(hand.targets), np.array(hand.positions)
                self._hand_targets = np.where(np.isfinite(targets), targets, positions)
                if np.isfinite(positions).all():
                    self._hands[to_ns(hand.header.stamp)] = positions
        for arm in self.take_all(self._arm):
            pose, stamp_ns = from_pose(arm.end_effector_pose), to_ns(arm.header.stamp)
            if np.isfinite(pose).all():
                self._poses[stamp_ns] = pose
                if np.isfinite(self._hand_targets).all():
                    self._robot = RobotReading(stamp_ns, pose, self._hand_targets)

    def _take_refusals(self, now_ns: int) -> None:
        for event in self.take_all(self._gate):
            if event.verdict == GateEvent.REFUSED and 0 < self._first_chunk_id <= event.chunk_id:
                self._session.refuse(f"{event.rule}: {event.detail}", now_ns)

    def _tell_operator(self, now_ns: int) -> None:
        """Log the session's notes, how far it is, and what it waits for."""
        for note in self._session.take_notes():
            self.get_logger().info(f"replay {note}")
        session, wall = self._session, time.monotonic()
        if wall - self._told < (WAITING_NOTE_S if session.phase == "waiting" else PROGRESS_S):
            return
        self._told = wall
        if session.phase == "play":
            self.get_logger().info(f"replay {session.played(now_ns):.0f} of {session.duration:.0f} s played")
        elif session.phase == "waiting":
            missing = "the state of arm and hand" if self._robot is None else "the supervisor to allow motion"
            self.get_logger().warning(f"replay waits for {missing}; see: vipa cell status")

    def _end(self) -> None:
        """Write what was found."""
        session = self._session
        figures, problem = {"chunks_refused": float(session.refused)}, session.failure
        if not problem:
            try:
                figures |= self._compare()
            except VipaError as error:
                problem = str(error)
        details = {"episode": str(self._recorded.folder), "problem": problem, "warnings": list(self._warnings)}
        Result("replay", not problem, figures, details=details).write(str(self.get_parameter("output").value))
        self.finish(1 if problem else 0, problem and f"replay failed: {problem}")

    def _compare(self) -> dict[str, float]:
        times_ns, hand_ns = sorted(self._poses), sorted(self._hands)
        played = Track(
            np.array(times_ns),
            np.array([self._poses[t] for t in times_ns]),
            np.array(hand_ns),
            np.array([self._hands[t] for t in hand_ns]),
        )
        begin_ns, end_ns = int(self._targets.times_ns[0]), int(self._targets.times_ns[-1])
        return compare_tracks(recorded_track(self._recorded), played, self._session.shift_ns, begin_ns, end_ns)


def main() -> int:
    """Run the node."""
    return run_node(ReplayNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
