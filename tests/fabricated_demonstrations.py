"""Files of demonstrations in exactly the layouts that LIBERO, OpenVLA's script and RoboCasa write."""

import json
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import quaternion_from_matrix, rotation_vector_from_matrix
from vipa_training.evaluation.robosuite.panda import end_effector_in_base

Array = NDArray[np.float64]

SIZE = 16  # px
BASE = np.array([-0.66, 0.0, 0.912])
START = np.array([0.0, -0.17, 0.0, -2.45, 0.0, 2.22, 0.77])


class Motion:
    """N actions, and what is there before the first and after each.

    Attributes:
        actions: (N, 7).
        joints: (N + 1, 7) rad.
        poses: (N + 1, 4, 4) in the base frame, m.
        fingers: (N + 1, 2) m.
        pictures: (N + 1, SIZE, SIZE, 3) upright; the brightness of the left upper corner says which.
    """

    def __init__(self, actions: Array) -> None:
        self.actions = np.asarray(actions, dtype=np.float64)
        count = len(self.actions) + 1
        self.joints = START + 0.02 * np.cumsum(np.sin(np.arange(count)[:, None] + np.arange(7)), axis=0)
        self.poses = end_effector_in_base(self.joints)
        opening = np.linspace(0.04, 0.01, count)
        self.fingers = np.stack([opening, -opening], axis=1)
        self.pictures = np.zeros((count, SIZE, SIZE, 3), np.uint8)
        self.pictures[:, : SIZE // 2, : SIZE // 2] = (10 * (1 + np.arange(count)))[:, None, None, None]


def write_libero(path: Path, motions: list[Motion], published: bool = True) -> Path:
    """A file of LIBERO's ``create_dataset.py``; or of OpenVLA's ``regenerate_libero_dataset.py``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        if published:
            data.attrs["bddl_file_name"] = f"bddl_files/{path.stem.removesuffix('_demo')}.bddl"
            data.attrs["env_name"] = "Libero_Tabletop_Manipulation"
            problem = {"problem_name": "libero_tabletop_manipulation", "language_instruction": "Other Words"}
            data.attrs["problem_info"] = json.dumps(problem)
            data.attrs["num_demos"] = len(motions)
        for number, motion in enumerate(motions):
            count = len(motion.actions)
            rows = slice(1, None) if published else slice(0, count)
            demo = data.create_group(f"demo_{number}")
            seen = demo.create_group("obs")
            poses = motion.poses[rows]
            positions, turns = poses[:, :3, 3] + BASE, rotation_vector_from_matrix(poses[:, :3, :3])
            raw = motion.pictures[rows][:, ::-1]
            values = {
                "gripper_states": motion.fingers[rows],
                "joint_states": motion.joints[rows],
                "ee_states": np.hstack([positions, turns]),
                "ee_pos": positions,
                "ee_ori": turns,
                "agentview_rgb": raw,
                "eye_in_hand_rgb": raw // 2,
            }
            for name, value in values.items():
                seen.create_dataset(name, data=value)
            demo.create_dataset("actions", data=motion.actions)
            time = 0.05 * np.arange(count)[:, None]
            states = np.hstack([time, motion.joints[:count], motion.fingers[:count], np.zeros((count, 9))])
            demo.create_dataset("states", data=states)
            demo.create_dataset("robot_states", data=np.zeros((count, 9)))
            for name in ("rewards", "dones"):
                demo.create_dataset(name, data=(np.arange(count) == count - 1).astype(np.uint8))
            if published:
                demo.attrs["num_samples"], demo.attrs["model_file"] = count, "<mujoco/>"
                demo.attrs["init_state"] = states[0]
    return path


def write_robocasa(path: Path, motions: list[Motion], instruction: str, moving: int | None = None) -> Path:
    """A file of RoboCasa's ``dataset_states_to_obs.py``; in one demonstration the base may move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "PnPCounterToCab", "type": 1, "env_kwargs": {}})
        for number, motion in enumerate(motions, 1):
            count = len(motion.actions)
            rest = np.tile([0.0, 0.0, 0.0, 0.0, -1.0], (count, 1))
            if number == moving:
                rest[2] = [0.3, 0.0, 0.0, 0.0, 1.0]
            demo = data.create_group(f"demo_{number}")
            demo.attrs["ep_meta"] = json.dumps({"lang": instruction, "layout_id": 1, "style_id": 1})
            demo.attrs["model_file"], demo.attrs["num_samples"] = "<mujoco/>", count
            demo.create_dataset("actions", data=np.hstack([motion.actions, rest]))
            demo.create_dataset("states", data=np.zeros((count, 40)))
            seen, poses = demo.create_group("obs"), motion.poses[:count]
            for name in ("robot0_agentview_left", "robot0_agentview_right", "robot0_eye_in_hand"):
                seen.create_dataset(f"{name}_image", data=motion.pictures[:count])
            seen.create_dataset("robot0_base_to_eef_pos", data=poses[:, :3, 3])
            seen.create_dataset("robot0_base_to_eef_quat", data=quaternion_from_matrix(poses[:, :3, :3]))
            seen.create_dataset("robot0_joint_pos", data=motion.joints[:count])
            seen.create_dataset("robot0_gripper_qpos", data=motion.fingers[:count])
        mask = file.create_group("mask")
        mask.create_dataset("50_demos", data=[f"demo_{number}".encode() for number in range(1, len(motions) + 1)])
    return path
