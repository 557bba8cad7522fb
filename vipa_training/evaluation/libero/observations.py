"""What LIBERO observes, as the observation of a policy.

LIBERO gives pictures upside down, as OpenGL stores them: their rows are turned round, after which they agree with the
cameras' geometry. Poses are in the frame of the robot's base. LIBERO's Panda has the joints of our FR3.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import CameraView, Observation
from vipa_inference.rotations import matrix_from_quaternion
from vipa_training.evaluation.libero.actions import hand_of_fingers

Array = NDArray[np.float64]

SOURCES = ("agentview", "robot0_eye_in_hand")
"""LIBERO's cameras: in front of the robot, and at its wrist."""
OPTICAL_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's cameras look along -z with y up, optical frames along z with y down."""


class Simulation(Protocol):
    """The part of robosuite's ``MjSim`` that says where things are."""

    model: Any
    data: Any


def pose_of(rotation: Array, position: Array) -> Array:
    """The pose (4, 4) of a rotation (3, 3) and a position (3,), m."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def end_effector_in_world(observed: Mapping[str, Any]) -> Array:
    """The pose (4, 4) in the world, m: between the fingertips, z out of the gripper."""
    rotation = matrix_from_quaternion(observed["robot0_eef_quat"])  # x, y, z, w
    return pose_of(rotation, np.asarray(observed["robot0_eef_pos"], dtype=np.float64))


def base_in_world(simulation: Simulation) -> Array:
    """The pose (4, 4) of the robot's base in the world, m."""
    data = simulation.data
    return pose_of(np.array(data.get_body_xmat("robot0_base")), np.array(data.get_body_xpos("robot0_base")))


def make_observation(
    observed: Mapping[str, Any], simulation: Simulation, cameras: tuple[str, ...], instruction: str, time_ns: int
) -> Observation:
    """The observation of a policy.

    Args:
        observed: what LIBERO's ``step`` gave.
        simulation: at the same moment, for the geometry.
        cameras: what the policy calls the cameras of ``SOURCES``; one for a single view.
        instruction: what the robot shall do.
        time_ns: of the simulation.
    """
    world_to_base = np.linalg.inv(base_in_world(simulation)).astype(np.float64)
    return Observation(
        views={
            name: _view(observed[f"{source}_image"], simulation, source, world_to_base, time_ns)
            for name, source in zip(cameras, SOURCES, strict=False)
        },
        end_effector_pose=world_to_base @ end_effector_in_world(observed),
        joint_positions=np.array(observed["robot0_joint_pos"], dtype=np.float64),
        hand_positions=hand_of_fingers(observed["robot0_gripper_qpos"]),
        instruction=instruction,
    )


def _view(
    image: NDArray[np.uint8], simulation: Simulation, source: str, world_to_base: Array, time_ns: int
) -> CameraView:
    height, width = image.shape[:2]
    field_of_view = math.radians(simulation.model.cam_fovy[simulation.model.camera_name2id(source)])  # vertical
    focal = height / 2.0 / math.tan(field_of_view / 2.0)
    rotation = np.array(simulation.data.get_camera_xmat(source)) @ OPTICAL_FROM_CAMERA
    return CameraView(
        image=np.ascontiguousarray(image[::-1]),
        exposure_ns=time_ns,
        intrinsics=np.array([[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0.0, 0.0, 1.0]]),
        camera_to_base=world_to_base @ pose_of(rotation, np.array(simulation.data.get_camera_xpos(source))),
    )
