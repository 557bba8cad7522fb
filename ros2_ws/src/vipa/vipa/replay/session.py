"""Plays recorded targets onto a robot, as chunks: a slow approach to the first one, a check, and then all of them."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vipa.control.arbitration import TELEOP
from vipa.teleop.session import RobotReading
from vipa_inference.minimum_jerk import MinimumJerkPath, SpeedLimits, Waypoint
from vipa_inference.path_following import config_hash
from vipa_inference.policy import ActionChunk, CommittedPlan
from vipa_inference.processing import actions_from_poses
from vipa_inference.real_time_chunking import interpolate
from vipa_inference.rotations import rotation_vector_from_matrix

Array = NDArray[np.float64]
Phase = Literal["waiting", "approach", "play", "done", "failed"]
_NS = 1_000_000_000


@dataclass(frozen=True)
class ReplayConfig:
    """How a recording is played.

    Attributes:
        ready: s for which motion must have been allowed before it begins.
        approach: speeds on the straight way to the first target.
        near, near_rotation: m, rad from the first target within which the arm must be before the rest is played.
        settle: s at rest before that is judged, and at the end.
        patience: s more that the arm may take to be near.
        lead: s from a decision to the motion that it begins.
        step_period, horizon: of a chunk, s and rows.
        chunk_period: s between two chunks.
        refusals: so many refused chunks within a second end the replay.
    """

    ready: float = 0.5
    approach: SpeedLimits = field(default_factory=lambda: SpeedLimits(0.1, 0.4, 0.8, 1.0))
    near: float = 0.01
    near_rotation: float = 0.05
    settle: float = 0.7
    patience: float = 3.0
    lead: float = 0.2
    step_period: float = 0.05
    horizon: int = 14
    chunk_period: float = 0.05
    refusals: int = 5


class ReplaySession:
    """Says what chunk to send next; call ``update`` and ``chunk`` each cycle.

    The chunks are an operator's to the controller: it refuses those of a policy meanwhile, and its gate judges them as
    anybody's. A refusal now and then is borne; several, or a stop, end the replay, and the arm comes to rest.

    Args:
        targets: recorded, on a grid of recorded time.
        instruction: noted in the chunks.
        config: see ``ReplayConfig``.

    Attributes:
        phase: what it is doing.
        failure: why it failed; empty where it did not.
        shift_ns: once it plays, the time of the replay less that of the recording, for the same target.
    """

    def __init__(self, targets: CommittedPlan, instruction: str = "", config: ReplayConfig | None = None) -> None:
        self.config = config or ReplayConfig()
        self.phase: Phase = "waiting"
        self.failure = ""
        self.shift_ns = 0
        self.refused = 0
        self._targets, self._instruction = targets, instruction
        self._first = Waypoint(targets.poses[0], np.clip(targets.hand[0], 0.0, 1.0))
        self._approach: MinimumJerkPath | None = None
        self._refusals: deque[int] = deque(maxlen=self.config.refusals)
        self._hash = config_hash("replay", self.config)
        self._allowed_ns = 0  # since when motion is allowed
        self._chunk_id = self._last_chunk_ns = self._last_observation_ns = 0
        self._notes: list[str] = []

    @property
    def duration(self) -> float:
        """S that are played."""
        return float(self._targets.times_ns[-1] - self._targets.times_ns[0]) / _NS

    @property
    def ended(self) -> bool:
        """Whether nothing is to be sent any more."""
        return self.phase in ("done", "failed")

    def played(self, now_ns: int) -> float:
        """S of the recording that were played."""
        begun = now_ns - self.shift_ns - int(self._targets.times_ns[0]) if self.shift_ns else 0
        return min(max(begun / _NS, 0.0), self.duration)

    def take_notes(self) -> list[str]:
        """What the operator should know of, since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def update(self, robot: RobotReading, now_ns: int, motion_allowed: bool) -> None:
        """One cycle: go on to the next phase where it is time."""
        if self.ended:
            return
        if not motion_allowed:
            self._allowed_ns = 0
            if self.phase != "waiting":
                self._fail("the cell was stopped, or is not ready any more; see: vipa cell status")
            return
        self._allowed_ns = self._allowed_ns or now_ns
        if self._approach is None:
            if now_ns - self._allowed_ns >= self.config.ready * _NS:
                self._begin(robot, now_ns)
        elif self.phase == "approach":
            self._arrive(robot, now_ns, self._approach.end_ns)
        elif now_ns >= int(self._targets.times_ns[-1]) + self.shift_ns + round(self.config.settle * _NS):
            self.phase = "done"
            self._notes.append("played to its end")

    def refuse(self, reason: str, now_ns: int) -> None:
        """The gate refused a chunk."""
        self.refused += 1
        self._refusals.append(now_ns)
        self._notes.append(f"refused: {reason}")
        if len(self._refusals) == self.config.refusals and now_ns - self._refusals[0] <= _NS:
            self._fail(f"the gate refuses the recording: {reason}")

    def chunk(self, robot: RobotReading, now_ns: int) -> ActionChunk | None:
        """The next chunk where one is due; row k is the target at the reading of the robot + (k + 1) steps."""
        if self._approach is None or self.ended or robot.stamp_ns <= self._last_observation_ns:
            return None
        if now_ns - self._last_chunk_ns < self.config.chunk_period * _NS:
            return None
        self._last_chunk_ns, self._last_observation_ns = now_ns, robot.stamp_ns
        self._chunk_id = self._chunk_id + 1 if self._chunk_id else max(now_ns, 1)
        step_ns = round(self.config.step_period * _NS)
        times_ns = robot.stamp_ns + step_ns * np.arange(1, self.config.horizon + 1, dtype=np.int64)
        poses, hand = self._at(times_ns, self._approach)
        return ActionChunk(
            actions=actions_from_poses(poses, hand, robot.pose),
            step_period=self.config.step_period,
            reference_pose=robot.pose.copy(),
            observation_ns=robot.stamp_ns,
            policy=TELEOP,
            policy_hash=self._hash,
            chunk_id=self._chunk_id,
            instruction=self._instruction,
        )

    def _at(self, times_ns: NDArray[np.int64], approach: MinimumJerkPath) -> tuple[Array, Array]:
        """Poses (N, 4, 4) and hand (N, 6) that are wanted at the times (N,)."""
        if self.phase != "play":
            return approach.sample(times_ns)
        wanted = interpolate(self._targets, times_ns - self.shift_ns)
        return wanted.poses, wanted.hand

    def _begin(self, robot: RobotReading, now_ns: int) -> None:
        here = Waypoint(robot.pose, np.clip(robot.hand, 0.0, 1.0))
        self._approach = MinimumJerkPath(here, now_ns)
        self._approach.go_to(self._first, now_ns + round(self.config.lead * _NS), self.config.approach)
        self.phase = "approach"
        distance, turn = _apart(robot.pose, self._first.pose)
        seconds = (self._approach.end_ns - now_ns) / _NS
        self._notes.append(
            f"approaching the first recorded pose, {distance:.3f} m and {math.degrees(turn):.0f} degrees away, on a "
            f"straight line in {seconds:.1f} s"
        )

    def _arrive(self, robot: RobotReading, now_ns: int, end_ns: int) -> None:
        """At rest near the first target: play. Too far from it for too long: fail."""
        at_rest_ns = end_ns + round(self.config.settle * _NS)
        if now_ns < at_rest_ns:
            return
        distance, turn = _apart(robot.pose, self._first.pose)
        if distance <= self.config.near and turn <= self.config.near_rotation:
            self.phase = "play"
            self.shift_ns = now_ns + round(self.config.lead * _NS) - int(self._targets.times_ns[0])
            self._notes.append(f"playing {self.duration:.1f} s")
        elif now_ns > at_rest_ns + self.config.patience * _NS:
            self._fail(
                f"the arm does not reach the first recorded pose: it is {distance:.3f} m and {turn:.2f} rad away. "
                "Clear its way, or drive it there with vipa teleop"
            )

    def _fail(self, reason: str) -> None:
        if not self.ended:
            self.phase, self.failure = "failed", reason


def _apart(one: Array, two: Array) -> tuple[float, float]:
    """Distance, m, and angle, rad, between two poses (4, 4)."""
    turn = rotation_vector_from_matrix(one[:3, :3] @ two[:3, :3].T)
    return float(np.linalg.norm(one[:3, 3] - two[:3, 3])), float(np.linalg.norm(turn))
