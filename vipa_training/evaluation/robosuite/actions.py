"""Targets of the policy as actions of robosuite's arm, and back.

The action (7,) of robosuite's operational-space controller is a step of the end effector and a command to the gripper,
each from -1 to 1: 1 is 0.05 m along an axis of the controller's frame (LIBERO: the world; RoboCasa: the robot's base),
or 0.5 rad about it, from where the end effector is now; the gripper opens at -1 and closes at 1. Our target is a pose;
the six fingers of our hand stand for the gripper, all alike, 1 open.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.policy import HAND_DIMENSION
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]

ACTION_DIMENSION = 7
STEP_M = 0.05
STEP_RAD = 0.5
SCALE = np.array([STEP_M] * 3 + [STEP_RAD] * 3)
"""What 1 means in the first six dimensions of an action."""
MAX_OPENING_M = 0.08
"""Between the fingers of Panda's gripper."""


def action_to_reach(target: Array, hand: ArrayLike, pose: Array) -> Array:
    """The action (7,) that leads from a pose to a target; beyond -1 to 1 where that is further than one step.

    Args:
        target: (4, 4) of the end effector in a frame with the axes of the controller's, m.
        hand: (6,) 0 closed - 1 open.
        pose: (4, 4) where the end effector is now, in the same frame.
    """
    turn = rotation_vector_from_matrix(target[:3, :3] @ pose[:3, :3].T)
    step = np.concatenate([target[:3, 3] - pose[:3, 3], turn]) / SCALE
    return np.append(step, 1.0 - 2.0 * float(np.clip(np.mean(np.asarray(hand)), 0.0, 1.0)))


def target_of_action(action: ArrayLike, pose: Array) -> tuple[Array, Array]:
    """The target (4, 4) and the hand (6,) that an action means: what a policy learns from demonstrations.

    Args:
        action: (7,).
        pose: (4, 4) of the end effector at the time of the action, as in ``action_to_reach``, m.
    """
    values = np.asarray(action, dtype=np.float64)
    step = values[:6] * SCALE
    target = np.eye(4)
    target[:3, 3] = pose[:3, 3] + step[:3]
    target[:3, :3] = matrix_from_rotation_vector(step[3:]) @ pose[:3, :3]
    return target, np.full(HAND_DIMENSION, (1.0 - float(values[6])) / 2.0)


def hand_of_fingers(positions: ArrayLike) -> Array:
    """The hand (..., 6), 0 closed - 1 open, of the positions (..., 2) of the gripper's fingers, m."""
    fingers = np.asarray(positions, dtype=np.float64)
    opening = np.clip((fingers[..., 0] - fingers[..., 1]) / MAX_OPENING_M, 0.0, 1.0)
    return np.repeat(opening[..., None], HAND_DIMENSION, axis=-1)
