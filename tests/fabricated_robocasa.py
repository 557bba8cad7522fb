"""A package with RoboCasa 0.2's interface: the same modules, names and arguments, and an arm without a body."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
from fabricated_libero import BASE, BASE_ROTATION, FOLLOWED, Geometry, ReachingPolicy, picture_of

from vipa_inference.policy import ActionChunk, Observation
from vipa_inference.rotations import matrix_from_rotation_vector, quaternion_from_matrix

CAMERAS = ("robot0_agentview_left", "robot0_agentview_right", "robot0_eye_in_hand")
VERSIONS = {"robocasa": "0.2.0", "robosuite": "1.5.1", "mujoco": "3.2.6"}


class FabricatedKitchen:
    """The task is done when the end effector is within 1 cm of the goal, which ``lang`` tells, with the gripper closed.

    Positions are in the frame of the mobile base, m.
    """

    made: ClassVar[list["FabricatedKitchen"]] = []

    def __init__(self, reference_frame: str = "base", **arguments: object) -> None:
        arm = SimpleNamespace(output_max=[0.05] * 3 + [0.5] * 3, input_ref_frame=reference_frame)
        controller = SimpleNamespace(part_controllers={"right": arm})
        self.robots = [SimpleNamespace(composite_controller=controller)]
        self.action_spec = (-np.ones(12), np.ones(12))
        geometry = Geometry(CAMERAS)
        self.sim = SimpleNamespace(model=geometry, data=geometry)
        self.arguments, self.is_closed = arguments, False
        self.rng = self.rng_of_sampler = np.random.default_rng(arguments.get("seed"))
        self.made.append(self)

    def reset(self) -> dict:
        self.position, self.rotation = np.array([0.4, 0.0, 0.3]), np.diag([1.0, -1.0, -1.0])
        self.goal = self.position + self.rng_of_sampler.uniform(-0.1, 0.1, 3).round(3)
        self.opening = 0.04  # m, of each finger
        return self.observed()

    def get_ep_meta(self) -> dict:
        return {"lang": f"reach {json.dumps(self.goal.tolist())}", "layout_id": 1, "style_id": 1}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, dict]:
        assert action.shape == (12,)
        assert np.all(np.abs(action) <= 1.0)
        assert action[7:].tolist() == [0.0, 0.0, 0.0, 0.0, -1.0]  # neither base nor torso move
        self.position = self.position + FOLLOWED * 0.05 * action[:3]
        self.rotation = matrix_from_rotation_vector(FOLLOWED * 0.5 * action[3:6]) @ self.rotation
        self.opening = float(np.clip(self.opening - 0.01 * np.sign(action[6]), 0.0, 0.04))
        return self.observed(), 0.0, False, {}

    def _check_success(self) -> bool:
        return bool(np.linalg.norm(self.position - self.goal) < 0.01 and self.opening < 0.02)

    def close(self) -> None:
        self.is_closed = True

    def observed(self) -> dict:
        picture = picture_of(BASE + BASE_ROTATION @ self.position)
        return {
            "robot0_joint_pos": np.linspace(-0.3, 0.3, 7),
            "robot0_base_pos": BASE,
            "robot0_base_quat": quaternion_from_matrix(BASE_ROTATION),
            "robot0_base_to_eef_pos": self.position,
            "robot0_base_to_eef_quat": quaternion_from_matrix(self.rotation),
            "robot0_gripper_qpos": np.array([self.opening, -self.opening]),
            **{f"{camera}_image": picture // (1 + number) for number, camera in enumerate(CAMERAS)},
        }


class ListeningPolicy(ReachingPolicy):
    """Goes to where the instruction says."""

    def __init__(self) -> None:
        super().__init__(np.zeros(3))
        self.policy_hash = "listening"

    def infer(self, observation: Observation) -> ActionChunk:
        self._goal = np.array(json.loads(observation.instruction.removeprefix("reach ")))
        return super().infer(observation)


def write_package(folder: Path, tasks: tuple[str, ...], frame: str = "base", assets: bool = True) -> Path:
    """The package in a folder, for ``sys.path``; its kitchens are ``FabricatedKitchen``."""
    package = folder / "robocasa"
    files = {
        "__init__.py": 'print("robocasa prints")\n',
        "environments/__init__.py": f"ALL_KITCHEN_ENVIRONMENTS = dict.fromkeys({tasks!r}).keys()\n",
        "utils/__init__.py": "",
        "utils/env_utils.py": (
            "from fabricated_robocasa import FabricatedKitchen\n\n\n"
            "def create_env(env_name, robots='PandaOmron', camera_names=(), camera_widths=128, camera_heights=128,\n"
            "               seed=None, render_onscreen=False, obj_instance_split=None, generative_textures=None,\n"
            "               randomize_cameras=False, layout_and_style_ids=None, layout_ids=None, style_ids=None):\n"
            f"    return FabricatedKitchen({frame!r}, **locals())\n"
        ),
    }
    if assets:
        files |= {"models/assets/textures/wood.png": "", "models/assets/objects/objaverse/mug.xml": ""}
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    for name, version in VERSIONS.items():
        metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(exist_ok=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder
