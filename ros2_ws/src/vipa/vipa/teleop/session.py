"""The operator's session: clutch, indexing, silence, and the action chunks that say where the target goes."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vipa.control.arbitration import TELEOP
from vipa.teleop.command import TeleopCommand, fault
from vipa.teleop.config import TeleopConfig
from vipa.teleop.motion import Goal, Target, TargetMotion
from vipa_inference.path_following import config_hash
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk
from vipa_inference.rotations import rotation_vector_from_matrix

Array = NDArray[np.float64]

_NS = 1_000_000_000
_LONGEST_PAUSE_NS = _NS // 2  # between two updates; after a longer one the target begins anew


@dataclass(frozen=True)
class RobotReading:
    """Where the robot is."""

    stamp_ns: int
    pose: Array  # (4, 4) of the end effector in the base frame, m
    hand: Array  # (6,) its targets, so that a grasp is kept; positions where it has none yet


@dataclass(frozen=True)
class _Index:
    """Where the operator's pose and the target were when the clutch closed."""

    operator: Array  # (4, 4)
    target: Array  # (4, 4)


class TeleopSession:
    """Turns commands into a target that moves within limits, and the target's way into chunks.

    The target begins where the arm is each time the clutch closes, and comes to rest when it opens, when commands stay
    out, and when motion is not allowed. After that last case, and at the beginning, the clutch must be seen open first.

    Attributes:
        engaged: the operator drives.
        refused: commands that could not be used so far.
    """

    def __init__(self, config: TeleopConfig, motion: TargetMotion, instruction: str = "") -> None:
        self.config = config
        self.engaged = False
        self.refused = 0
        self._motion = motion
        self._instruction = instruction
        self._hash = config_hash(TELEOP, config)
        self._target: Target | None = None
        self._target_ns = 0
        self._command: TeleopCommand | None = None
        self._index: _Index | None = None
        self._may_close = False
        self._chunk_id = self._last_chunk_ns = self._last_observation_ns = 0
        self._urgent = False
        self._notes: list[str] = []

    @property
    def moving(self) -> bool:
        """Whether there is a target that must be sent."""
        return self._target is not None

    @property
    def target(self) -> Target | None:
        """The target; None while nothing is engaged or moving."""
        return self._target

    def take_notes(self) -> list[str]:
        """What the operator should know of, since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def update(
        self, command: TeleopCommand | None, robot: RobotReading, now_ns: int, motion_allowed: bool = True
    ) -> None:
        """One cycle: move the target to ``now_ns``, then take a command, where there is one."""
        self._advance(now_ns)
        if command is not None:
            trouble = fault(command)
            if trouble:
                self.refused += 1
                self._notes.append(f"command refused: {trouble}")
            else:
                self._command = replace(command, stamp_ns=min(command.stamp_ns, now_ns))
        if not motion_allowed:
            self._lose_permission()
            return
        self._keep_near(robot)
        fresh = self._command is not None and now_ns < self._ends_ns(self._command)
        if fresh and self._command is not None and not self._command.clutch:
            self._may_close = True
        wanted = fresh and self._may_close and self._command is not None and self._command.clutch
        if wanted and not self.engaged:
            self._close(robot, now_ns)
        elif self.engaged and not wanted:
            self._open("silence" if not fresh else "clutch open")
        if self._target is not None and not self.engaged and self._target.resting and not self._urgent:
            self._target = None

    def refuse(self, reason: str, robot: RobotReading) -> None:
        """The gate refused a chunk: the target begins anew where the arm is."""
        if self._target is not None:
            self._anchor(robot, f"refused: {reason}")

    def chunk(self, robot: RobotReading, now_ns: int) -> ActionChunk | None:
        """The next chunk where one is due: the way of the target if the operator falls silent now.

        Row k is the target at the reading of the robot + (k + 1) steps.
        """
        if self._target is None or robot.stamp_ns <= self._last_observation_ns:
            return None
        if not self._urgent and now_ns - self._last_chunk_ns < self.config.chunk_period * _NS:
            return None
        self._urgent, self._last_chunk_ns, self._last_observation_ns = False, now_ns, robot.stamp_ns
        self._chunk_id = self._chunk_id + 1 if self._chunk_id else max(now_ns, 1)
        return ActionChunk(
            actions=self._actions(self._target, robot, now_ns),
            step_period=self.config.step_period,
            reference_pose=robot.pose.copy(),
            observation_ns=robot.stamp_ns,
            policy=TELEOP,
            policy_hash=self._hash,
            chunk_id=self._chunk_id,
            instruction=self._instruction,
        )

    def _actions(self, target: Target, robot: RobotReading, now_ns: int) -> Array:
        step_ns = round(self.config.step_period * _NS)
        actions = np.empty((self.config.horizon, ACTION_DIMENSION))
        rotations = np.empty((self.config.horizon, 3, 3))
        time_ns = now_ns
        for k in range(self.config.horizon):
            row_ns = robot.stamp_ns + (k + 1) * step_ns
            target = self._moved(target, time_ns, row_ns)
            time_ns = max(time_ns, row_ns)
            actions[k, :3], rotations[k] = target.position - robot.pose[:3, 3], target.rotation
            actions[k, 6:] = target.hand
        actions[:, 3:6] = rotation_vector_from_matrix(rotations @ robot.pose[:3, :3].T)
        return actions

    def _advance(self, now_ns: int) -> None:
        pause = now_ns - self._target_ns
        if self._target is not None and not 0 <= pause <= _LONGEST_PAUSE_NS:
            self._target, self.engaged, self._command = None, False, None
        elif self._target is not None:
            self._target = self._moved(self._target, self._target_ns, now_ns)
        if pause < 0:
            self._last_observation_ns = self._last_chunk_ns = 0
        self._target_ns = now_ns

    def _moved(self, target: Target, from_ns: int, to_ns: int) -> Target:
        """The target at ``to_ns``; from when the command is stale on it comes to rest."""
        if self.engaged and self._command is not None and to_ns > from_ns:
            until_ns = min(max(self._ends_ns(self._command), from_ns), to_ns)
            target = self._motion.advance(target, self._goal(self._command, target), (until_ns - from_ns) / _NS)
            from_ns = until_ns
        return self._motion.advance(target, None, (to_ns - from_ns) / _NS)

    def _goal(self, command: TeleopCommand, target: Target) -> Goal:
        if command.twist is not None:
            twist = command.twist.astype(np.float64)
            if command.frame == "tool":
                twist = (twist.reshape(2, 3) @ target.rotation.T).ravel()
            return Goal(command.hand, twist=twist)
        assert command.pose is not None
        if self._index is None:
            return Goal(command.hand)
        index, pose = self._index, np.eye(4)
        way = command.pose[:3, 3] - index.operator[:3, 3]
        pose[:3, 3] = index.target[:3, 3] + self.config.pose_scale * way
        pose[:3, :3] = command.pose[:3, :3] @ index.operator[:3, :3].T @ index.target[:3, :3]
        return Goal(command.hand, pose=pose)

    def _ends_ns(self, command: TeleopCommand) -> int:
        """When the command is stale."""
        return command.stamp_ns + round(self.config.stale * _NS)

    def _close(self, robot: RobotReading, now_ns: int) -> None:
        if self._target is None:
            self._target = Target.at_rest(robot.pose, robot.hand)
        self.engaged = self._urgent = True
        self._set_index()
        self._notes.append("engaged: the operator drives")

    def _open(self, why: str) -> None:
        self.engaged, self._urgent, self._index = False, True, None
        self._notes.append(f"released ({why}): the target comes to rest")

    def _lose_permission(self) -> None:
        if self.engaged:
            self._notes.append("motion is not allowed: open the clutch and close it again when it is")
        self.engaged = self._may_close = self._urgent = False
        self._target = self._index = None

    def _keep_near(self, robot: RobotReading) -> None:
        """A target that the arm cannot follow begins anew where the arm is."""
        if self._target is None:
            return
        distance = float(np.linalg.norm(self._target.position - robot.pose[:3, 3]))
        turn = float(np.linalg.norm(rotation_vector_from_matrix(self._target.rotation @ robot.pose[:3, :3].T)))
        if distance > self.config.tether or turn > self.config.tether_rotation:
            self._anchor(robot, f"the arm does not follow: it is {distance:.3f} m and {turn:.2f} rad from the target")

    def _anchor(self, robot: RobotReading, note: str) -> None:
        assert self._target is not None
        self._target = Target.at_rest(robot.pose, self._target.hand)
        self._urgent = True
        self._set_index()
        self._notes.append(note)

    def _set_index(self) -> None:
        if self._command is not None and self._command.pose is not None and self._target is not None:
            self._index = _Index(self._command.pose.astype(np.float64), self._target.pose())
