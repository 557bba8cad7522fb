"""Poses and pictures of robosuite, in our conventions.

robosuite gives pictures as OpenGL stores them, rows from the bottom: turned round, they agree with the cameras'
geometry. Others (OpenVLA, openpi) turn them by 180 degrees instead, which also mirrors them.
"""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import CameraView

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

STEP_NS = 50_000_000
"""robosuite's tasks are controlled at 20 Hz."""
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


def turned(images: Image, rotated: bool) -> Image:
    """Pictures (..., height, width, 3) with rows from the bottom, upright; or turned by 180 degrees, mirrored."""
    upright = images[..., ::-1, :, :]
    return np.ascontiguousarray(upright[..., ::-1, :] if rotated else upright)


def camera_view(image: Image, simulation: Simulation, camera: str, world_to_base: Array, time_ns: int) -> CameraView:
    """A camera's picture with its geometry.

    Args:
        image: (height, width, 3) as the policy shall see it.
        simulation: that made it.
        camera: its name there.
        world_to_base: (4, 4) the world in the frame of the robot's base, m.
        time_ns: of the simulation.
    """
    height, width = image.shape[:2]
    field_of_view = math.radians(simulation.model.cam_fovy[simulation.model.camera_name2id(camera)])  # vertical
    focal = height / 2.0 / math.tan(field_of_view / 2.0)
    rotation = np.array(simulation.data.get_camera_xmat(camera)) @ OPTICAL_FROM_CAMERA
    return CameraView(
        image=image,
        exposure_ns=time_ns,
        intrinsics=np.array([[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0.0, 0.0, 1.0]]),
        camera_to_base=world_to_base @ pose_of(rotation, np.array(simulation.data.get_camera_xpos(camera))),
    )
