"""What the scripted policies share: a reference path in time, cut into chunks, anchored anew when the arm is off it."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vipa_inference.description import PolicyDescription
from vipa_inference.minimum_jerk import MinimumJerkPath, SpeedLimits, Waypoint
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk, Observation
from vipa_inference.rotations import rotation_vector_from_matrix

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PathConfig:
    """Chunks and the reference path that they are cut from."""

    cameras: tuple[str, ...] = ("front", "side")
    horizon: int = 16
    step_period: float = 0.05  # s
    limits: SpeedLimits = field(default_factory=SpeedLimits)
    lead: float = (
        0.1  # s from the observation to the start of a new segment: what is being executed meanwhile stays valid
    )
    lag: float = 0.15  # s; the arm is on the path if it is where the path was at most this long ago
    anchor_distance_m: float = 0.03  # the arm is off the path beyond this distance ...
    anchor_angle_rad: float = 0.35  # ... or this angle

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError("cameras: at least one is needed, its exposure is the clock of the chunk")
        if self.horizon < 1:
            raise ValueError(f"horizon: {self.horizon} is less than 1")
        for name in ("step_period", "anchor_distance_m", "anchor_angle_rad"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("lead", "lag"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")

    @property
    def description(self) -> PolicyDescription:
        """What a policy with such chunks needs and gives."""
        return PolicyDescription(self.cameras, self.horizon, self.step_period)


class PathFollower:
    """A reference path that chunks are cut from.

    Consecutive chunks agree, because each is cut from the same path at its own time. The path is not moved after a
    lagging arm; it starts anew at the arm only where the arm is off the path (pushed, stopped, or never on it).
    """

    def __init__(self, config: PathConfig) -> None:
        self._config = config
        self._path: MinimumJerkPath | None = None
        self._last_ns = 0

    @property
    def path(self) -> MinimumJerkPath:
        """The reference path; there is one from the first ``track`` on."""
        if self._path is None:
            raise RuntimeError("the path is anchored by the first observation")
        return self._path

    def reset(self) -> None:
        """Forget the path."""
        self._path = None

    def track(self, observation: Observation) -> bool:
        """Compare arm and path; True where the path was anchored to the arm, at rest there."""
        now_ns = observation.observation_ns
        backwards, self._last_ns = now_ns < self._last_ns, now_ns
        if self._path is not None and not backwards and self._on_path(self._path, observation):
            self._path.forget_before(now_ns - round(self._config.lag * 1e9))
            return False
        here = Waypoint(observation.end_effector_pose.copy(), np.clip(observation.hand_positions, 0.0, 1.0))
        self._path = MinimumJerkPath(here, now_ns)
        return True

    def go_to(self, pose: Array, hand: Array, now_ns: int, linear_speed: float | None = None) -> None:
        """Append a segment to the path, at ``linear_speed`` (m/s) where that is below the limit."""
        limits = self._config.limits
        if linear_speed is not None:
            limits = SpeedLimits(min(linear_speed, limits.linear), limits.angular, limits.hand, limits.shortest)
        self.path.go_to(Waypoint(pose, hand), now_ns + round(self._config.lead * 1e9), limits)

    def chunk(self, observation: Observation, policy: str, policy_hash: str) -> ActionChunk:
        """The next ``horizon`` steps of the path, relative to the pose of the observation."""
        config, now_ns = self._config, observation.observation_ns
        step_ns = round(config.step_period * 1e9)
        poses, hands = self.path.sample(now_ns + step_ns * np.arange(1, config.horizon + 1, dtype=np.int64))
        reference = observation.end_effector_pose
        actions = np.empty((config.horizon, ACTION_DIMENSION))
        actions[:, :3] = poses[:, :3, 3] - reference[:3, 3]
        actions[:, 3:6] = rotation_vector_from_matrix(poses[:, :3, :3] @ reference[:3, :3].T)
        actions[:, 6:] = np.clip(hands, 0.0, 1.0)
        return ActionChunk(
            actions=actions,
            step_period=config.step_period,
            reference_pose=reference.copy(),
            observation_ns=now_ns,
            policy=policy,
            policy_hash=policy_hash,
            exposures_ns={name: view.exposure_ns for name, view in observation.views.items()},
            instruction=observation.instruction,
        )

    def _on_path(self, path: MinimumJerkPath, observation: Observation) -> bool:
        config, now_ns = self._config, observation.observation_ns
        past_ns = np.linspace(-config.lag * 1e9, 0.0, 16).astype(np.int64)
        poses, _ = path.sample(now_ns + past_ns)
        here = observation.end_effector_pose
        distances = np.linalg.norm(poses[:, :3, 3] - here[:3, 3], axis=1)
        cosines = (np.einsum("nij,ij->n", poses[:, :3, :3], here[:3, :3]) - 1.0) / 2.0
        angles = np.arccos(np.clip(cosines, -1.0, 1.0))
        return bool(np.any((distances <= config.anchor_distance_m) & (angles <= config.anchor_angle_rad)))


def fingers_down(rotation: Array) -> Array:
    """The rotation (3, 3) whose z axis points down and whose x axis has the heading of the x axis of ``rotation``."""
    x = np.array([rotation[0, 0], rotation[1, 0], 0.0])
    length = float(np.linalg.norm(x))
    x = x / length if length > 0.1 else np.array([1.0, 0.0, 0.0])
    z = np.array([0.0, 0.0, -1.0])
    return np.column_stack([x, np.cross(z, x), z])


def config_hash(name: str, config: object) -> str:
    """SHA-256 of the name and the configuration of a policy without weights."""
    return hashlib.sha256(f"{name}: {config!r}".encode()).hexdigest()
