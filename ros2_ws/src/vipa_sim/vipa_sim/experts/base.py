"""What the experts share: a script of moves over the world's state, played as action chunks.

An expert's only inputs are what the policy gets (pose and hand positions) and a ``Situation``; its only output are
action chunks. So it runs in the Gymnasium environment and in the full graph alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.minimum_jerk import SpeedLimits
from vipa_inference.path_following import PathConfig, PathFollower, config_hash
from vipa_inference.policy import ActionChunk, Observation
from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_sim.experts.situation import Situation

Array = NDArray[np.float64]

DOWN: Array = np.diag([1.0, -1.0, -1.0])
"""(3, 3): fingers straight down, palm towards the robot's base."""
UP: Array = np.array([0.0, 0.0, 1.0])
OPEN: Array = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
"""(6,): fingers straight, the thumb turned to face them."""


@dataclass(frozen=True)
class ExpertConfig:
    """How an expert moves (m, s)."""

    path: PathConfig = field(default_factory=lambda: PathConfig(limits=SpeedLimits(linear=0.30, angular=0.65)))
    careful: float = 0.15  # m/s near things
    arrived: float = 0.006  # from the target
    patience: float = 0.5  # after the end of a move, until it counts as arrived wherever the arm is


@dataclass(frozen=True)
class Move:
    """One piece of a script: a straight minimum-jerk move, at rest at its end."""

    pose: Array  # (4, 4) end effector, base frame, m
    hand: Array  # (6,) 0 closed - 1 open
    speed: float | None = None  # m/s, at most
    settle: float = 0.0  # s to wait after it
    through: bool = False  # the script goes on at once: the next move follows without a look at the world


@dataclass(frozen=True)
class Grasp:
    """How the hand takes hold of a thing."""

    tilt: float  # rad; negative turns the palm down, over the thing
    offset: tuple[float, float, float]  # m of the end effector from the thing's middle, turned with the hand about z
    closed: tuple[float, float, float, float, float, float]  # hand target
    opened: tuple[float, float, float, float, float, float]  # hand target before and after


class Expert(ABC):
    """Plays a script; it starts anew when the arm was taken off the path.

    A script is a generator: it looks at ``situation`` and yields moves. When it is asked for the next one, the one
    before is over. It must begin with what is not done yet, from wherever the robot is.
    """

    name: str
    """Of the task, and of the expert."""

    def __init__(self, config: ExpertConfig | None = None) -> None:
        self.config = config or ExpertConfig()
        self.policy_hash = config_hash(f"expert {self.name}", self.config)
        self._follower = PathFollower(self.config.path)
        self.reset()

    @property
    def situation(self) -> Situation:
        """The world at the latest ``infer``."""
        assert self._situation is not None
        return self._situation

    @abstractmethod
    def script(self) -> Iterator[Move]:
        """The moves that solve what is not done yet."""

    def reset(self) -> None:
        """Forget the episode so far."""
        self._follower.reset()
        self._situation: Situation | None = None
        self._script: Iterator[Move] = iter(())
        self._move: Move | None = None

    def infer(self, observation: Observation, situation: Situation) -> ActionChunk:
        """The next chunk.

        Args:
            observation: its images are not looked at.
            situation: the world at the same time.
        """
        self._situation = situation
        if self._follower.track(observation):
            self._script, self._move = self.script(), None
        while self._is_over(observation):
            self._move = next(self._script, None)
            if self._move is None:
                break
            move = self._move
            self._follower.go_to(move.pose, move.hand, observation.observation_ns, move.speed)
            if move.through:
                self._move = None
        return self._follower.chunk(observation, self.name, self.policy_hash)

    def here(self) -> tuple[Array, Array]:
        """Where the path ends: pose (4, 4) and hand (6,)."""
        end = self._follower.path.end
        return end.pose, end.hand

    def lift(self, height: float, hand: Array | None = None, speed: float | None = None) -> Move:
        """Straight up (or down) to ``height`` (m) of the end effector."""
        pose, fingers = self.here()
        pose = pose.copy()
        pose[2, 3] = height
        return Move(pose, fingers if hand is None else hand, speed)

    def reach_for(self, thing: Array, yaw: float, grasp: Grasp, hover: float) -> Iterator[Move]:
        """Go over a thing at ``thing`` (3,) m, down to it, and close the hand."""
        config, opened, closed = self.config, np.array(grasp.opened), np.array(grasp.closed)
        rotation = hand_rotation(yaw, grasp.tilt)
        place = thing + matrix_from_rotation_vector([0.0, 0.0, yaw]) @ np.array(grasp.offset)
        yield Move(pose_at(place + hover * UP, rotation), opened)
        yield Move(pose_at(place, rotation), opened, config.careful)
        yield Move(pose_at(place, rotation), closed, settle=0.35)

    def _is_over(self, observation: Observation) -> bool:
        if self._move is None:
            return True
        path, config = self._follower.path, self.config
        waited = (observation.observation_ns - path.end_ns) * 1e-9 - self._move.settle
        error = float(np.linalg.norm(observation.end_effector_pose[:3, 3] - self._move.pose[:3, 3]))
        return waited >= 0.0 and (error <= config.arrived or waited >= config.patience)


def hand_rotation(yaw: float, tilt: float = 0.0) -> Array:
    """(3, 3): the hand with its fingers down, tilted about the base's y axis and then turned about the vertical."""
    return matrix_from_rotation_vector([0.0, 0.0, yaw]) @ matrix_from_rotation_vector([0.0, tilt, 0.0]) @ DOWN


def pose_at(position: ArrayLike, rotation: Array) -> Array:
    """(4, 4) of a position (3,) m and a rotation (3, 3)."""
    pose = np.eye(4)
    pose[:3, 3], pose[:3, :3] = position, rotation
    return pose


def yaw_of(pose: Array) -> float:
    """rad: the heading of the x axis of a pose (4, 4) about the vertical."""
    return float(np.arctan2(pose[1, 0], pose[0, 0]))
