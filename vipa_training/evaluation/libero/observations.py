"""What LIBERO observes, as the observation of a policy.

Poses are in the frame of the robot's base. LIBERO's Panda has the joints of our FR3.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import Observation
from vipa_inference.rotations import matrix_from_quaternion
from vipa_training.evaluation.libero.settings import SOURCES, LiberoConfig
from vipa_training.evaluation.robosuite.actions import hand_of_fingers
from vipa_training.evaluation.robosuite.geometry import Simulation, camera_view, pose_of, turned

Array = NDArray[np.float64]


def end_effector_in_world(observed: Mapping[str, Any]) -> Array:
    """The pose (4, 4) in the world, m: between the fingertips, z out of the gripper."""
    rotation = matrix_from_quaternion(observed["robot0_eef_quat"])  # x, y, z, w
    return pose_of(rotation, np.asarray(observed["robot0_eef_pos"], dtype=np.float64))


def base_in_world(simulation: Simulation) -> Array:
    """The pose (4, 4) of the robot's base in the world, m."""
    data = simulation.data
    return pose_of(np.array(data.get_body_xmat("robot0_base")), np.array(data.get_body_xpos("robot0_base")))


def make_observation(
    observed: Mapping[str, Any], simulation: Simulation, config: LiberoConfig, instruction: str, time_ns: int
) -> Observation:
    """The observation of a policy.

    Args:
        observed: what LIBERO's ``step`` gave.
        simulation: at the same moment, for the geometry.
        config: what the policy calls the cameras of ``SOURCES``, and how their pictures are turned.
        instruction: what the robot shall do.
        time_ns: of the simulation.
    """
    world_to_base = np.linalg.inv(base_in_world(simulation)).astype(np.float64)
    return Observation(
        views={
            name: camera_view(
                turned(observed[f"{source}_image"], config.rotate_pictures), simulation, source, world_to_base, time_ns
            )
            for name, source in zip(config.cameras, SOURCES, strict=False)
        },
        end_effector_pose=world_to_base @ end_effector_in_world(observed),
        joint_positions=np.array(observed["robot0_joint_pos"], dtype=np.float64),
        hand_positions=hand_of_fingers(observed["robot0_gripper_qpos"]),
        instruction=instruction,
    )
