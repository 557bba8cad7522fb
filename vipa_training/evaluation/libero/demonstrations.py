"""LIBERO's published demonstrations, and those that OpenVLA's script makes of them, as a dataset.

A file is a task, ``<task>_demo.hdf5``, with ``data/demo_<n>``: ``actions`` (N, 7), ``states`` (N, S), in ``obs``
``agentview_rgb``, ``eye_in_hand_rgb`` (N, height, width, 3), rows from the bottom, ``ee_pos`` (N, 3) m, ``ee_ori``
(N, 3) rotation vector in the world, ``joint_states`` (N, 7), ``gripper_states`` (N, 2).

LIBERO's published files hold what was seen after each action, OpenVLA's what was seen before. ``states`` is always from
before: so a file tells which of them it is, and each action gets the picture that was there when it was chosen.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.evaluation.robosuite.actions import ACTION_DIMENSION
from vipa_training.evaluation.robosuite.demonstrations import (
    Demonstration,
    Group,
    UnusableError,
    numbers,
    pictures,
)
from vipa_training.evaluation.robosuite.geometry import turned
from vipa_training.evaluation.robosuite.panda import end_effector_in_base

Array = NDArray[np.float64]

PICTURES = ("agentview_rgb", "eye_in_hand_rgb")
"""Of the two cameras."""
CAMERAS = ("agentview", "wrist")
MAX_ERROR_M = 0.005


def instruction_of(name: str) -> str:
    """The instruction that LIBERO makes of a task's name; evaluation says the same, the BDDL file may say another."""
    return re.sub(r"^[A-Z].*?SCENE\d+_", "", name).replace("_", " ")


def observed_after(joints: Array, states: Array) -> bool:
    """Whether joints (N, 7) were seen after each action, not before, as the states (N, S) were: time, joints, ..."""
    before = states[:, 1 : 1 + joints.shape[1]]
    return float(np.abs(joints[:-1] - before[1:]).sum()) < float(np.abs(joints - before)[:-1].sum())


def poses_in_base(positions: Array, orientations: ArrayLike, joints: Array) -> Array:
    """Poses (N, 4, 4) in the base frame of positions (N, 3) and rotation vectors (N, 3) in the world, m.

    Files do not say where the base is, but the joints (N, 7) do; it is never turned.

    Raises:
        UnusableError: joints and positions do not belong together.
    """
    reached = end_effector_in_base(joints)[:, :3, 3]
    base = np.median(positions - reached, axis=0)
    error = float(np.median(np.linalg.norm(positions - base - reached, axis=1)))
    if error > MAX_ERROR_M:
        raise UnusableError(f"ee_pos: is {error * 1e3:.0f} mm off what a Panda with these joint_states reaches")
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, :3] = matrix_from_rotation_vector(np.asarray(orientations))
    poses[:, :3, 3] = positions - base
    return poses


def read_demonstration(
    path: Path, demo: Group, cameras: Sequence[str] = CAMERAS, rotate_pictures: bool = False
) -> Demonstration:
    """A demonstration of a file.

    Args:
        path: of the file.
        demo: ``data/demo_<n>``.
        cameras: what the dataset calls the two cameras; one: a single view.
        rotate_pictures: by 180 degrees, which mirrors them, as OpenVLA and openpi do; else they are turned upright.

    Raises:
        UnusableError: it cannot be used; the message says why.
        KeyError: something is missing.
    """
    actions = numbers(demo, "actions", ACTION_DIMENSION)
    seen, rows = demo["obs"], len(actions)
    joints = numbers(seen, "joint_states", 7, rows)
    states = np.asarray(demo["states"], dtype=np.float64)
    if states.ndim != 2 or len(states) != rows or states.shape[1] < 8:
        raise UnusableError(f"states: has the shape {states.shape}, expected ({rows}, S)")
    later = int(observed_after(joints, states))  # the picture of a row is for the next action
    count = rows - later
    if count < 1:
        raise UnusableError("has no two rows")
    images = {name: pictures(seen, key, rows)[:count] for name, key in zip(cameras, PICTURES, strict=False)}
    positions, orientations = numbers(seen, "ee_pos", 3, rows), numbers(seen, "ee_ori", 3, rows)
    scene = path.stem.removesuffix("_demo")
    return Demonstration(
        instruction=instruction_of(scene),
        scene=scene,
        pictures={name: turned(image, rotate_pictures) for name, image in images.items()},
        poses=poses_in_base(positions, orientations, joints)[:count],
        joints=joints[:count],
        fingers=numbers(seen, "gripper_states", 2, rows)[:count],
        actions=actions[later:],
    )
