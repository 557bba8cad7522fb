"""What RoboCasa observes, as the observation of a policy: poses are in the frame of the mobile base."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import Observation
from vipa_inference.rotations import matrix_from_quaternion
from vipa_training.evaluation.robocasa.settings import SOURCES, RobocasaConfig
from vipa_training.evaluation.robosuite.actions import hand_of_fingers
from vipa_training.evaluation.robosuite.geometry import Simulation, camera_view, pose_of, turned

Array = NDArray[np.float64]


def observed_pose(observed: Mapping[str, Any], name: str) -> Array:
    """The pose (4, 4) of ``robot0_<name>_pos``, m, and ``robot0_<name>_quat``, x, y, z, w."""
    rotation = matrix_from_quaternion(observed[f"robot0_{name}_quat"])
    return pose_of(rotation, np.asarray(observed[f"robot0_{name}_pos"], dtype=np.float64))


def end_effector_in_base(observed: Mapping[str, Any]) -> Array:
    """The pose (4, 4) in the frame of the mobile base, m: between the fingertips, z out of the gripper."""
    return observed_pose(observed, "base_to_eef")


def make_observation(
    observed: Mapping[str, Any], simulation: Simulation, config: RobocasaConfig, instruction: str, time_ns: int
) -> Observation:
    """The observation of a policy.

    Args:
        observed: what RoboCasa's ``step`` gave.
        simulation: at the same moment, for the geometry.
        config: what the policy calls the cameras of ``SOURCES``.
        instruction: what the robot shall do.
        time_ns: of the simulation.
    """
    world_to_base = np.linalg.inv(observed_pose(observed, "base")).astype(np.float64)
    return Observation(
        views={
            name: camera_view(
                turned(observed[f"{source}_image"], rotated=False), simulation, source, world_to_base, time_ns
            )
            for name, source in zip(config.cameras, SOURCES, strict=False)
        },
        end_effector_pose=end_effector_in_base(observed),
        joint_positions=np.array(observed["robot0_joint_pos"], dtype=np.float64),
        hand_positions=hand_of_fingers(observed["robot0_gripper_qpos"]),
        instruction=instruction,
    )
