"""Brings the end effector to one pose, at rest, on a straight line: as an operator's chunks, through the gate."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vipa.control.arbitration import TELEOP
from vipa.teleop.session import RobotReading
from vipa_inference.minimum_jerk import MinimumJerkPath, SpeedLimits, Waypoint
from vipa_inference.path_following import config_hash
from vipa_inference.policy import ActionChunk
from vipa_inference.processing import actions_from_poses
from vipa_inference.rotations import rotation_vector_from_matrix

Array = NDArray[np.float64]
Phase = Literal["moving", "there", "failed"]
_NS = 1_000_000_000


@dataclass(frozen=True)
class VisitConfig:
    """How poses are visited.

    Attributes:
        speed: on the way.
        lead: s from a decision to the motion that it begins.
        settle: s at rest before the arm counts as there.
        near, near_rotation: m, rad from the pose within which it must then be.
        step_period, horizon: of a chunk, s and rows.
        chunk_period: s between two chunks.
        refusals: so many refused chunks end the visit.
    """

    speed: SpeedLimits = field(default_factory=lambda: SpeedLimits(0.2, 0.6, 0.8, 1.0))
    lead: float = 0.2
    settle: float = 0.6
    near: float = 0.01
    near_rotation: float = 0.05
    step_period: float = 0.05
    horizon: int = 10
    chunk_period: float = 0.05
    refusals: int = 5


class PoseVisit:
    """One visit; call ``update`` and ``chunk`` each cycle.

    Args:
        pose: (4, 4) of the end effector in the base frame, m.
        what: noted in the chunks.
        config: see ``VisitConfig``.

    Attributes:
        phase: "moving", then "there", or "failed": the arm rests where it is.
        failure: why it failed.
    """

    def __init__(self, pose: Array, what: str = "", config: VisitConfig | None = None) -> None:
        self.config = config or VisitConfig()
        self.phase: Phase = "moving"
        self.failure = ""
        self._goal, self._what, self._refused = pose, what, 0
        self._path: MinimumJerkPath | None = None
        self._chunk_id = self._first_chunk_id = 0
        self._last_chunk_ns = self._last_observation_ns = 0

    def update(self, robot: RobotReading, now_ns: int) -> None:
        """One cycle: begin where the robot is, or see whether it is there."""
        if self._path is None:
            self._path = self._way(robot, now_ns)
            self._first_chunk_id = self._chunk_id = max(now_ns, 1)
        if self.phase != "moving" or now_ns < self._path.end_ns + round(self.config.settle * _NS):
            return
        distance = float(np.linalg.norm(robot.pose[:3, 3] - self._goal[:3, 3]))
        turn = float(np.linalg.norm(rotation_vector_from_matrix(robot.pose[:3, :3] @ self._goal[:3, :3].T)))
        if distance <= self.config.near and turn <= self.config.near_rotation:
            self.phase = "there"
        else:
            self._fail(f"the arm is {distance:.3f} m and {turn:.2f} rad from where it was to go")

    def refuse(self, chunk_id: int, reason: str) -> None:
        """The gate refused a chunk; those before this visit do not count."""
        if self.phase == "moving" and self._path is not None and chunk_id >= self._first_chunk_id:
            self._refused += 1
            if self._refused >= self.config.refusals:
                self._fail(f"the gate refuses the way: {reason}")

    def chunk(self, robot: RobotReading, now_ns: int) -> ActionChunk | None:
        """The next chunk where one is due; row k is the target at the reading of the robot + (k + 1) steps."""
        is_due = now_ns - self._last_chunk_ns >= self.config.chunk_period * _NS
        if self._path is None or self.phase != "moving" or not is_due or robot.stamp_ns <= self._last_observation_ns:
            return None
        self._last_chunk_ns, self._last_observation_ns = now_ns, robot.stamp_ns
        step_ns = round(self.config.step_period * _NS)
        times_ns = robot.stamp_ns + step_ns * np.arange(1, self.config.horizon + 1, dtype=np.int64)
        chunk = ActionChunk(
            actions=actions_from_poses(*self._path.sample(times_ns), robot.pose),
            step_period=self.config.step_period,
            reference_pose=robot.pose.copy(),
            observation_ns=robot.stamp_ns,
            policy=TELEOP,
            policy_hash=config_hash("visit", self.config),
            chunk_id=self._chunk_id,
            instruction=self._what,
        )
        self._chunk_id += 1
        return chunk

    def _way(self, robot: RobotReading, now_ns: int) -> MinimumJerkPath:
        hand = np.clip(robot.hand, 0.0, 1.0)  # as it is: a grasp is kept
        path = MinimumJerkPath(Waypoint(robot.pose, hand), now_ns)
        path.go_to(Waypoint(self._goal, hand), now_ns + round(self.config.lead * _NS), self.config.speed)
        return path

    def _fail(self, reason: str) -> None:
        self.phase, self.failure = "failed", reason
