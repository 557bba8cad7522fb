"""The policy interface: an observation of the cell in, a chunk of actions out."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]

ACTION_DIMENSION = 12
"""End-effector translation (3, m) and rotation vector (3, rad) relative to the reference pose, base frame; hand (6)."""
HAND_DIMENSION = 6
"""Little, ring, middle, index, thumb bend, thumb rotate; 0 closed, 1 open."""
HOLD_INSTRUCTION = "hold"
"""The instruction that pauses a policy: no chunks are inferred, the arm stays."""


class PolicyError(Exception):
    """An observation or a policy that cannot be used; the message says what is wrong and what to do."""


class UnreachableError(PolicyError):
    """The policy runs elsewhere and does not answer."""


@dataclass(frozen=True)
class CameraView:
    """One camera's frame with its geometry."""

    image: NDArray[np.uint8]  # (height, width, 3) RGB
    exposure_ns: int  # ROS time of the exposure
    intrinsics: Array  # (3, 3) pixels
    camera_to_base: Array  # (4, 4) pose of the optical frame (x right, y down, z forward) in the base frame, m


@dataclass(frozen=True)
class CommittedPlan:
    """What the controller will do whatever the next chunk says: the robot's targets on a grid of times.

    A policy that knows it begins its chunk with it (real-time chunking, arXiv 2506.07339): chunks join smoothly.
    """

    times_ns: NDArray[np.int64]  # (N,) increasing, ROS time
    poses: Array  # (N, 4, 4) end-effector targets in the base frame, m
    hand: Array  # (N, 6) hand targets, 0 closed - 1 open


@dataclass(frozen=True)
class Observation:
    """What a policy sees; proprioception is that of the oldest exposure."""

    views: dict[str, CameraView]
    end_effector_pose: Array  # (4, 4) in the base frame, m
    joint_positions: Array  # (7,) rad
    hand_positions: Array  # (6,) 0 closed - 1 open
    instruction: str
    committed: CommittedPlan | None = None  # None: nothing is committed, the chunk may begin anywhere

    @property
    def observation_ns(self) -> int:
        """The oldest exposure: the clock on which the chunk runs."""
        return min(view.exposure_ns for view in self.views.values())


@dataclass(frozen=True)
class ChunkSources:
    """What a chunk was inferred from beside the frames, so that the observation can be made again; 0: not told."""

    arm_state_ns: int = 0  # stamp of the arm's state
    hand_state_ns: int = 0  # stamp of the hand's
    plan_ns: int = 0  # stamp of the controller's plan of which a part was committed; 0: nothing was
    committed_until_ns: int = 0  # the end of that part
    since_reset: int = 0  # inferences since the policy was last reset, this one included


@dataclass(frozen=True)
class ActionChunk:
    """A horizon of actions; row k is the target for the time ``observation_ns + (k + 1) * step_period``."""

    actions: Array  # (H, 12)
    step_period: float  # s
    reference_pose: Array  # (4, 4) end-effector pose in the base frame at observation_ns
    observation_ns: int
    policy: str
    policy_hash: str
    chunk_id: int = 0
    exposures_ns: dict[str, int] = field(default_factory=dict[str, int])
    received_ns: int = 0
    inference_start_ns: int = 0
    inference_end_ns: int = 0
    instruction: str = ""
    sources: ChunkSources = ChunkSources()

    @property
    def horizon(self) -> int:
        """Number of actions."""
        return int(self.actions.shape[0])

    def target_poses(self) -> Array:
        """End-effector target poses (H, 4, 4) in the base frame: translation added, rotation applied from the left."""
        poses = np.tile(np.eye(4), (self.horizon, 1, 1))
        poses[:, :3, 3] = self.reference_pose[:3, 3] + self.actions[:, :3]
        poses[:, :3, :3] = matrix_from_rotation_vector(self.actions[:, 3:6]) @ self.reference_pose[:3, :3]
        return poses


class Policy(Protocol):
    """Anything that turns observations into action chunks."""

    name: str
    policy_hash: str

    def reset(self) -> None:
        """Forget the episode so far."""
        ...

    def infer(self, observation: Observation) -> ActionChunk:
        """The action chunk for one observation.

        Raises:
            PolicyError: the observation cannot be used (missing camera, wrong shape, NaN).
        """
        ...
