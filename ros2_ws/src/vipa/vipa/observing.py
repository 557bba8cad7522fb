"""What a policy sees, put together out of messages: for the policy node, and for the replay of a recording.

Nothing here imports ROS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.control.kinematics import Kinematics
from vipa.lab import ExtrinsicsConfig, LabConfig
from vipa.reading import from_pose
from vipa_inference.policy import CameraView, CommittedPlan, Observation

_KINEMATICS = Kinematics()  # of the flange


@dataclass(frozen=True)
class Frame:
    """A picture with its exposure, and the camera info that came with it."""

    image: NDArray[np.uint8]  # (height, width, 3) RGB
    exposure_ns: int
    info: Any


def make_observation(
    lab: LabConfig,
    frames: Mapping[str, Frame],
    arm: Any,
    hand: Any,
    instruction: str,
    committed: CommittedPlan | None = None,
) -> Observation:
    """The observation of one moment.

    Args:
        lab: where the cameras stand, or sit on the wrist.
        frames: by camera.
        arm, hand: messages of the robot's state.
        instruction: what the policy is told to do.
        committed: what the controller will do whatever comes.
    """
    joints = np.array(arm.joint_positions)
    views = {
        name: CameraView(
            image=frame.image,
            exposure_ns=frame.exposure_ns,
            intrinsics=np.array(frame.info.k).reshape(3, 3),
            camera_to_base=_camera_to_base(lab.cameras[name].extrinsics, joints),
        )
        for name, frame in frames.items()
    }
    return Observation(
        views=views,
        end_effector_pose=from_pose(arm.end_effector_pose),
        joint_positions=joints,
        hand_positions=np.array(hand.positions),
        instruction=instruction,
        committed=committed,
    )


def _camera_to_base(extrinsics: ExtrinsicsConfig, joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) pose in the base frame, m, with the arm at joint positions (7,), rad."""
    pose = extrinsics.matrix()
    return _KINEMATICS.forward(joints) @ pose if extrinsics.on_wrist else pose
