"""RoboCasa's published demonstrations (0.1 and 0.2, with pictures) as a dataset.

A file is a task, with ``data/demo_<n>``: the attribute ``ep_meta``, whose ``lang`` is the instruction, ``actions``
(N, 12), and in ``obs``, as seen before each action, ``robot0_agentview_left_image``, ``robot0_agentview_right_image``
and ``robot0_eye_in_hand_image`` (N, height, width, 3), upright, ``robot0_base_to_eef_pos`` (N, 3) m and
``robot0_base_to_eef_quat`` (N, 4) x, y, z, w, ``robot0_joint_pos`` (N, 7), ``robot0_gripper_qpos`` (N, 2).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vipa_inference.rotations import matrix_from_quaternion
from vipa_training.evaluation.robocasa.environment import ACTIONS
from vipa_training.evaluation.robocasa.settings import CAMERAS, MAX_STEPS, SOURCES
from vipa_training.evaluation.robosuite.actions import ACTION_DIMENSION
from vipa_training.evaluation.robosuite.demonstrations import (
    Demonstration,
    Group,
    UnusableError,
    numbers,
    pictures,
)


def read_demonstration(path: Path, demo: Group, cameras: Sequence[str] = CAMERAS) -> Demonstration:
    """A demonstration of a file.

    Args:
        path: of the file.
        demo: ``data/demo_<n>``.
        cameras: what the dataset calls the cameras of ``SOURCES``; fewer: the others are left out.

    Raises:
        UnusableError: it cannot be used: the base or the torso moves, which our actions do not say, or something has
            the wrong shape.
        KeyError: something is missing.
    """
    actions = numbers(demo, "actions", ACTIONS)
    moving = (np.abs(actions[:, ACTION_DIMENSION:-1]) > 0.0).any(1) | (actions[:, -1] > 0.0)
    if moving.any():
        raise UnusableError(f"actions: base or torso move in {int(moving.sum())} of {len(actions)} rows")
    seen, rows = demo["obs"], len(actions)
    poses = np.tile(np.eye(4), (rows, 1, 1))
    poses[:, :3, :3] = matrix_from_quaternion(numbers(seen, "robot0_base_to_eef_quat", 4, rows))
    poses[:, :3, 3] = numbers(seen, "robot0_base_to_eef_pos", 3, rows)
    described = json.loads(demo.attrs["ep_meta"])
    instruction = str(described["lang"]).strip()
    if not instruction:
        raise UnusableError("ep_meta: lang is empty")
    return Demonstration(
        instruction=instruction,
        scene=next((part for part in reversed(path.parts) if part in MAX_STEPS), path.stem),
        pictures={
            name: pictures(seen, f"{source}_image", rows) for name, source in zip(cameras, SOURCES, strict=False)
        },
        poses=poses,
        joints=numbers(seen, "robot0_joint_pos", 7, rows),
        fingers=numbers(seen, "robot0_gripper_qpos", 2, rows),
        actions=actions[:, :ACTION_DIMENSION],
    )
