"""A simulator with LIBERO's interface in which an arm without a body follows its steps, and a policy that reaches."""

import math
from types import SimpleNamespace

import numpy as np

from vipa_inference.policy import ActionChunk, Observation
from vipa_inference.rotations import matrix_from_rotation_vector, quaternion_from_matrix

BASE = np.array([-0.66, 0.1, 0.9])  # in the world, m
BASE_ROTATION = matrix_from_rotation_vector([0.0, 0.0, 0.5])
CAMERA = np.array([0.6, 0.0, 1.6])
LOOKS = np.array([[0.0, -0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, 0.6]])  # x right, y up, z backward
FIELD_OF_VIEW_DEG = 45.0
SIZE = 32  # px
FOLLOWED = 0.7  # of each step: the arm lags
INSTRUCTION = "reach the goal"


class Geometry:
    """What robosuite's simulation says of base and cameras; as ``model`` and as ``data``."""

    def __init__(self, cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")) -> None:
        self.cameras, self.cam_fovy = cameras, [FIELD_OF_VIEW_DEG] * len(cameras)

    def camera_name2id(self, name: str) -> int:
        return self.cameras.index(name)

    def get_body_xpos(self, name: str) -> np.ndarray:
        assert name == "robot0_base"
        return BASE

    def get_body_xmat(self, name: str) -> np.ndarray:
        assert name == "robot0_base"
        return BASE_ROTATION

    def get_camera_xpos(self, name: str) -> np.ndarray:
        return CAMERA

    def get_camera_xmat(self, name: str) -> np.ndarray:
        return LOOKS


def picture_of(position: np.ndarray) -> np.ndarray:
    """Black, with one white pixel where a position in the world is; rows from the bottom, as OpenGL stores them."""
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    right, up, backward = LOOKS.T @ (position - CAMERA)
    focal = SIZE / 2.0 / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2.0)
    column, row = (round(focal * shift / -backward + (SIZE - 1) / 2.0) for shift in (right, up))
    if 0 <= row < SIZE and 0 <= column < SIZE:
        picture[row, column] = 255
    return picture


class FabricatedLibero:
    """The task is done when the end effector is within 1 cm of the goal with the gripper closed.

    A state is the position of the end effector (3,) and the goal (3,), in the world, m. One pixel, where the end
    effector is, is white; pictures are upside down, as LIBERO's are.
    """

    def __init__(self) -> None:
        geometry = Geometry()
        self.sim = SimpleNamespace(model=geometry, data=geometry)
        self.seeds: list[int] = []
        self.actions: list[np.ndarray] = []
        self.is_closed = False
        self._restart()

    def _restart(self) -> None:
        self.position, self.goal = np.array([-0.2, 0.0, 1.2]), np.zeros(3)
        self.rotation = np.diag([1.0, -1.0, -1.0])
        self.opening = 0.0  # m, of each finger

    def seed(self, seed: int) -> None:
        self.seeds.append(seed)

    def reset(self) -> dict:
        self._restart()
        return self.observed()

    def set_init_state(self, init_state: np.ndarray) -> dict:
        self.position, self.goal = np.array(init_state[:3]), np.array(init_state[3:])
        return self.observed()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, dict]:
        assert action.shape == (7,)
        assert np.all(np.abs(action) <= 1.0)
        self.actions.append(np.array(action))
        self.position = self.position + FOLLOWED * 0.05 * action[:3]
        self.rotation = matrix_from_rotation_vector(FOLLOWED * 0.5 * action[3:6]) @ self.rotation
        self.opening = float(np.clip(self.opening - 0.01 * np.sign(action[6]), 0.0, 0.04))
        return self.observed(), 0.0, self.check_success(), {}

    def check_success(self) -> bool:
        return bool(np.linalg.norm(self.position - self.goal) < 0.01 and self.opening < 0.02)

    def close(self) -> None:
        self.is_closed = True

    def observed(self) -> dict:
        picture = picture_of(self.position)
        return {
            "robot0_joint_pos": np.linspace(-0.3, 0.3, 7),
            "robot0_eef_pos": self.position,
            "robot0_eef_quat": quaternion_from_matrix(self.rotation),
            "robot0_gripper_qpos": np.array([self.opening, -self.opening]),
            "agentview_image": picture,
            "robot0_eye_in_hand_image": picture // 2,
        }


class ReachingPolicy:
    """Goes to one place, straight, at 0.3 m/s, and closes the gripper there.

    Args:
        goal: (3,) in the base frame, m.
        step_period: of its chunks of 16 actions, s.
    """

    name = "reaching"

    def __init__(self, goal: np.ndarray, step_period: float = 0.05) -> None:
        self.policy_hash = f"reaching {goal.tolist()}"
        self.seen: list[Observation] = []
        self.resets = 0
        self._goal, self._step_period = goal, step_period

    def reset(self) -> None:
        self.resets += 1

    def infer(self, observation: Observation) -> ActionChunk:
        self.seen.append(observation)
        way = self._goal - observation.end_effector_pose[:3, 3]
        distance = float(np.linalg.norm(way))
        actions = np.zeros((16, 12))
        reached = np.minimum(0.3 * self._step_period * np.arange(1, 17), distance)
        actions[:, :3] = way * (reached / max(distance, 1e-9))[:, None]
        actions[:, 6:] = float(distance > 0.02)
        return ActionChunk(
            actions,
            self._step_period,
            observation.end_effector_pose,
            observation.observation_ns,
            self.name,
            self.policy_hash,
        )
