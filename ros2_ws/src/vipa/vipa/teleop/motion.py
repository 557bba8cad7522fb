"""How the target moves: within limits of speed and acceleration whatever is wanted, and not out of the workspace."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vipa.teleop.config import TeleopConfig
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]

LONGEST_STEP = 0.0125  # s of one step of the integration
STILL = np.array([1e-4] * 3 + [1e-3] * 3)  # m/s, rad/s that count as rest
_BRAKING = 0.5  # share of the acceleration with which a goal or a wall is met; three walls at once need 0.87
_GAIN = 0.5  # of the way to a goal pose, over the response time: a damping of 0.7


@dataclass(frozen=True)
class Target:
    """Where the operator has brought the end effector and the hand."""

    position: Array  # (3,) m, base frame
    rotation: Array  # (3, 3)
    velocity: Array  # (6,) m/s, rad/s, base frame
    hand: Array  # (6,) 0 closed - 1 open

    @classmethod
    def at_rest(cls, pose: Array, hand: Array) -> "Target":
        """A target at a pose (4, 4)."""
        return cls(pose[:3, 3].copy(), pose[:3, :3].copy(), np.zeros(6), np.clip(hand, 0.0, 1.0))

    @property
    def resting(self) -> bool:
        """Whether it stands still."""
        return bool((np.abs(self.velocity) <= STILL).all())

    def pose(self) -> Array:
        """As a homogeneous matrix (4, 4)."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.rotation, self.position
        return pose


@dataclass(frozen=True)
class Goal:
    """What is wanted of the target: a twist (6,) in the base frame, or a pose (4, 4); and the hand (6,)."""

    hand: Array  # NaN: leave
    twist: Array | None = None
    pose: Array | None = None


class TargetMotion:
    """Moves a target towards a goal.

    Args:
        config: limits.
        workspace_min, workspace_max: (3,) m, in which the target stops on its way out.
    """

    def __init__(self, config: TeleopConfig, workspace_min: Array, workspace_max: Array) -> None:
        self._config = config
        self._low = workspace_min + config.workspace_margin
        self._high = workspace_max - config.workspace_margin

    def advance(self, target: Target, goal: Goal | None, seconds: float) -> Target:
        """The target after ``seconds``; without a goal it comes to rest and keeps the hand."""
        steps = max(math.ceil(seconds / LONGEST_STEP - 1e-9), 1)
        for _ in range(steps if seconds > 0.0 else 0):
            if goal is None and target.resting:
                return target
            target = self._step(target, goal, seconds / steps)
        return target

    def _step(self, target: Target, goal: Goal | None, dt: float) -> Target:
        config = self._config
        wanted = self._wanted(target, goal)
        old, new = target.velocity, target.velocity.copy()
        limits = (config.linear_speed, config.linear_acceleration), (config.angular_speed, config.angular_acceleration)
        for part, (speed, acceleration) in zip((slice(0, 3), slice(3, 6)), limits, strict=True):
            change = (_at_most(wanted[part], speed) - old[part]) * min(1.0, dt / config.response)
            new[part] = old[part] + _at_most(change, acceleration * dt)
        hand = target.hand
        if goal is not None:
            wanted_hand = np.where(np.isnan(goal.hand), hand, np.clip(goal.hand, 0.0, 1.0))
            hand = hand + np.clip(wanted_hand - hand, -config.hand_speed * dt, config.hand_speed * dt)
        mean = 0.5 * (old + new)
        rotation = target.rotation
        if mean[3:].any():
            rotation = matrix_from_rotation_vector(mean[3:] * dt) @ rotation
        return replace(target, position=target.position + mean[:3] * dt, rotation=rotation, velocity=new, hand=hand)

    def _wanted(self, target: Target, goal: Goal | None) -> Array:
        """The velocity (6,) that leads to the goal and not out of the workspace."""
        config, wanted = self._config, np.zeros(6)
        if goal is not None and goal.twist is not None:
            wanted = goal.twist.copy()
        elif goal is not None and goal.pose is not None:
            turn = _rotation_vector(goal.pose[:3, :3] @ target.rotation.T)
            wanted[:3] = self._towards(goal.pose[:3, 3] - target.position, config.linear_acceleration)
            wanted[3:] = self._towards(turn, config.angular_acceleration)
        wanted[:3] = _at_most(wanted[:3], config.linear_speed)
        brake = 2.0 * _BRAKING * config.linear_acceleration
        up = np.sqrt(brake * np.maximum(self._high - target.position, 0.0))
        down = np.sqrt(brake * np.maximum(target.position - self._low, 0.0))
        wanted[:3] = np.clip(wanted[:3], -down, up)
        return wanted

    def _towards(self, way: Array, acceleration: float) -> Array:
        """The velocity (3,) with which the rest of the way (3,) is gone and can be ended at its end."""
        x, y, z = way.tolist()
        left = math.sqrt(x * x + y * y + z * z)
        gain = _GAIN / self._config.response
        return way * min(gain, math.sqrt(2.0 * _BRAKING * acceleration / max(left, 1e-12)))


def _rotation_vector(matrix: Array) -> Array:
    """As ``rotation_vector_from_matrix`` of one matrix, in plain floats: it is asked for a thousand times a second."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    x, y, z = 0.5 * (h - f), 0.5 * (c - g), 0.5 * (d - b)
    sine, cosine = math.sqrt(x * x + y * y + z * z), 0.5 * (a + e + i - 1.0)
    if cosine < -0.99:  # half a turn: the axis is not in the differences
        return rotation_vector_from_matrix(matrix)
    scale = math.atan2(sine, cosine) / sine if sine > 1e-9 else 1.0
    return np.array([scale * x, scale * y, scale * z])


def _at_most(vector: Array, length: float) -> Array:
    """The vector, shortened to a length where it is longer."""
    x, y, z = vector.tolist()
    norm = math.sqrt(x * x + y * y + z * z)
    return vector * (length / norm) if norm > length else vector
