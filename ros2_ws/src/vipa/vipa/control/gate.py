"""Safety gate: nothing reaches the arm that it has not passed.

It judges twice: a chunk as the policy gave it (``check_chunk``), and the joint path that is about to be executed
(``check_joints``). What is slightly over a limit is changed and said so; what is grossly wrong is refused. Neither
method raises, whatever it is given.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vipa.control.joint_path import STILL, JointBounds, follow, path_excess
from vipa.control.kinematics import Kinematics, is_rigid_pose
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER, PLANNER_ACCELERATION, PLANNER_VELOCITY
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]
Vector3 = tuple[float, float, float]

_NS = 1_000_000_000
_REFERENCE_PERIOD = 1.0 / 15.0  # s for which the caps per step are given
_PERIODS = (0.005, 0.5)  # s, shortest and longest step period
_MAX_TRAVEL = 2.0  # m from the reference pose; no FR3 reaches further
_HAND_SLACK = 1.0  # hand values further than this outside [0, 1] are no hand values
_MAX_WAYPOINTS = 4096
_FOLLOWER = 0.97  # share of the limits that the follower uses, so that its paths pass the check


@dataclass(frozen=True)
class GateConfig:
    """Limits of the safety gate. The caps per step are for 15 Hz and scale with the step period."""

    chunk_age_limit_s: float = 0.3  # s from the oldest exposure to now; a large model on a busy machine takes 0.15
    future_tolerance_s: float = 0.01  # s that an observation may lie in the future
    max_horizon: int = 64
    workspace_min: Vector3 = (-1.0, -1.0, -1.0)  # m, base frame, end effector
    workspace_max: Vector3 = (1.0, 1.0, 1.2)  # m
    floor_z: float = 0.0  # m, the end effector stays above
    workspace_tolerance: float = 0.02  # m that the joint path may bulge out between clamped targets
    step_translation: float = 0.075  # m per step
    step_rotation: float = 0.15  # rad per step
    step_joint: float = 0.2  # rad per step
    step_hand: float = 0.25  # per step
    hard_factor: float = 3.0  # a step or a velocity this many times its cap refuses the chunk
    first_target_distance: float = 0.15  # m from the present pose to the first target
    first_target_rotation: float = 0.6  # rad
    joint_margin: float = 0.1  # rad kept from the joint limits
    velocity_fraction: float = 0.45  # of the velocity limits of robot and driver
    acceleration_fraction: float = 0.8  # of the acceleration limits of robot and driver
    brake_acceleration: float = 4.0  # rad/s^2 with which a joint can always stop before its limit
    joint_deviation: float = 0.15  # rad that the rate-limited path may differ from the requested one
    reach_tolerance: float = 0.01  # m that the inverse kinematics may miss a target by
    reach_rotation_tolerance: float = 0.05  # rad
    tracking_limit: float = 0.25  # rad between the measured and the planned joint positions

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            values = cast(tuple[float, ...], value if isinstance(value, tuple) else (value,))
            if not all(math.isfinite(v) for v in values):
                raise ValueError(f"{name} must be finite, found {value}")
            if name not in ("workspace_min", "workspace_max", "floor_z") and not values[0] > 0:
                raise ValueError(f"{name} must be positive, found {value}")
        if not all(a < b for a, b in zip(self.workspace_min, self.workspace_max, strict=True)):
            raise ValueError("workspace_min must be below workspace_max on every axis")
        if not self.floor_z < self.workspace_max[2]:
            raise ValueError(f"floor_z must be below workspace_max, found {self.floor_z}")
        for name in ("velocity_fraction", "acceleration_fraction"):
            if getattr(self, name) > 1.0:
                raise ValueError(f"{name} must be at most 1, found {getattr(self, name)}")
        braking = 0.75 * self.acceleration_fraction * float(PLANNER_ACCELERATION.min())
        if self.brake_acceleration > braking:
            raise ValueError(
                f"brake_acceleration must be at most {braking:.3g} rad/s^2, three quarters of the acceleration, "
                f"found {self.brake_acceleration}"
            )
        if self.hard_factor < 1.0:
            raise ValueError(f"hard_factor must be at least 1, found {self.hard_factor}")
        if not self.joint_margin < 0.5:
            raise ValueError(f"joint_margin must be below 0.5 rad, found {self.joint_margin}")


@dataclass(frozen=True)
class Change:
    """What a rule changed or refused, and what would have been allowed."""

    rule: str
    detail: str


@dataclass(frozen=True)
class ChunkVerdict:
    """``chunk`` is None where it was refused; ``changes`` says why, or what was changed."""

    accepted: bool
    chunk: ActionChunk | None
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class JointVerdict:
    """A joint path q (N, 7) rad and dq (N, 7) rad/s; empty where it was refused."""

    accepted: bool
    q: Array
    dq: Array
    changes: tuple[Change, ...]


class SafetyGate:
    """Judges chunks and joint paths against the limits of one laboratory."""

    def __init__(self, config: GateConfig, kinematics: Kinematics) -> None:
        self.config = config
        self._kinematics = kinematics
        self._box_min = np.array(config.workspace_min)
        self._box_min[2] = max(self._box_min[2], config.floor_z)
        self._box_max = np.array(config.workspace_max)

    def check_chunk(self, chunk: object, now_ns: int, current_pose: Array | None = None) -> ChunkVerdict:
        """Judge a chunk as the policy gave it.

        Args:
            chunk: an ``ActionChunk``; anything else is refused.
            now_ns: the present time.
            current_pose: where the end effector is (4, 4) m; the first target not yet due must be near it, where given.
        """
        with np.errstate(all="ignore"):
            refusal = self._malformed(chunk, now_ns)
            if refusal is not None:
                return ChunkVerdict(False, None, (refusal,))
            chunk = cast(ActionChunk, chunk)
            actions = np.array(chunk.actions, dtype=np.float64)
            reference = np.array(chunk.reference_pose, dtype=np.float64)
            changes: list[Change] = []
            for limit in (self._limit_hand, self._limit_translation, self._limit_rotation):
                change, accepted = limit(actions, reference, float(chunk.step_period))
                if not accepted:
                    return ChunkVerdict(False, None, (cast(Change, change),))
                changes += [change] if change is not None else []
            passed = replace(
                chunk,
                actions=actions,
                reference_pose=reference,
                step_period=float(chunk.step_period),
                observation_ns=int(chunk.observation_ns),
            )
            refusal = self._far_first_target(passed, now_ns, current_pose)
            if refusal is not None:
                return ChunkVerdict(False, None, (refusal,))
            return ChunkVerdict(True, passed, tuple(changes))

    def check_joints(
        self, times_s: object, q: object, start_q: object, start_dq: object, dq: object = None
    ) -> JointVerdict:
        """Judge a joint path, and rate-limit a mild excess in time.

        Args:
            times_s: (N,) s after the start state, positive and increasing.
            q: (N, 7) rad at these times.
            start_q: (7,) rad; it may lie within the joint margin, but then the path must not go further out.
            start_dq: (7,) rad/s.
            dq: (N, 7) rad/s at these times; finite differences of q where None.
        """
        with np.errstate(all="ignore"):
            arrays = [_numbers(v) for v in (times_s, q, start_q, start_dq, times_s if dq is None else dq)]
            if any(a is None for a in arrays):
                return _refuse_joints("format", "times, positions and velocities must be arrays of finite numbers")
            times, path, start, start_speed, speeds = cast(list[Array], arrays)
            n = len(times) if times.ndim == 1 else 0
            if not 0 < n <= _MAX_WAYPOINTS or path.shape != (n, 7) or start.shape != (7,) or start_speed.shape != (7,):
                return _refuse_joints(
                    "shape", f"times {times.shape}, positions {path.shape}: (N,) and (N, 7) are needed"
                )
            if dq is not None and speeds.shape != (n, 7):
                return _refuse_joints("shape", f"velocities {speeds.shape}: {(n, 7)} is needed")
            times = np.concatenate([[0.0], times])
            if not (np.diff(times) > 1e-6).all() or times[-1] > 60.0:
                return _refuse_joints("times", "the times must be positive, increasing and below 60 s")
            path = np.concatenate([start[None], path])
            speeds = np.gradient(path, times, axis=0) if dq is None else np.concatenate([start_speed[None], speeds])
            speeds[0] = start_speed
            return self._judge_path(times, path, speeds)

    def joint_bounds(self, start: Array, share: float = 1.0) -> JointBounds:
        """The joint limits that hold for a path from ``start`` (7,) rad; ``share`` scales velocity and acceleration."""
        config = self.config
        return JointBounds(
            lower=np.minimum(JOINT_LOWER + config.joint_margin, start),
            upper=np.maximum(JOINT_UPPER - config.joint_margin, start),
            speed=share
            * np.minimum(config.velocity_fraction * PLANNER_VELOCITY, config.step_joint / _REFERENCE_PERIOD),
            velocity_fraction=share * config.velocity_fraction,
            acceleration=share * config.acceleration_fraction * PLANNER_ACCELERATION,
            brake=share * config.brake_acceleration,
        )

    def _judge_path(self, times: Array, path: Array, speeds: Array) -> JointVerdict:
        config, start = self.config, path[0]
        if (start < JOINT_LOWER).any() or (start > JOINT_UPPER).any():
            return _refuse_joints("start", "the start is beyond the joint limits")
        bounds, narrow = self.joint_bounds(start), self.joint_bounds(start, _FOLLOWER)
        low, high = bounds.velocity_range(start)
        if (speeds[0] < low - STILL).any() or (speeds[0] > high + STILL).any():
            return _refuse_joints("start", "the start is too fast to stop before a joint limit")
        beyond = max(float((JOINT_LOWER - path).max()), float((path - JOINT_UPPER).max()))
        if not beyond <= 0.0:
            return _refuse_joints("joint_position", f"{beyond:.3g} rad beyond a joint limit")
        mean = float((np.abs(np.diff(path, axis=0)) / np.diff(times)[:, None] / bounds.speed).max())
        if not mean <= config.hard_factor:
            return _refuse_joints("joint_velocity", f"{mean:.3g} times the velocity limit")
        excess = path_excess(times, path, speeds, bounds)
        changes: tuple[Change, ...] = ()
        if not excess.inside():
            clipped = np.clip(path, narrow.lower, narrow.upper)
            speeds[1:] = np.clip(speeds[1:], -narrow.speed, narrow.speed)
            path, speeds = follow(times, clipped, speeds, narrow)
            deviation = float(np.abs(path - clipped).max())
            if not deviation <= config.joint_deviation:
                return _refuse_joints("joint_deviation", f"within the limits the path is missed by {deviation:.3g} rad")
            changes = (
                Change(
                    "joint_rate",
                    f"position {max(float(excess.position), 0.0):.3g} rad beyond the limit, velocity "
                    f"{float(excess.velocity):.3g} and acceleration {float(excess.acceleration):.3g} times the limit; "
                    f"the path is moved by {deviation:.3g} rad at most",
                ),
            )
            if not path_excess(times, path, speeds, bounds).inside():
                return _refuse_joints("joint_rate", "no path within the joint limits was found")
        outside = self._outside(self._kinematics.forward(path)[:, :3, 3])
        worst = float(outside.max())
        if not worst <= max(config.workspace_tolerance, float(outside[0]) + 1e-3):
            return _refuse_joints("workspace", f"the path leaves the workspace by {worst:.3g} m")
        return JointVerdict(True, path[1:], speeds[1:], changes)

    def _outside(self, positions: Array) -> Array:
        """How far (N,) m the positions (N, 3) are outside the workspace, along the worst axis; zero inside."""
        return np.maximum(np.maximum(self._box_min - positions, positions - self._box_max).max(axis=-1), 0.0)

    def _malformed(self, chunk: object, now_ns: int) -> Change | None:
        """Why the chunk cannot be used at all: type, shape, numbers, age."""
        if not isinstance(chunk, ActionChunk):
            return Change("format", f"expected an ActionChunk, found {type(chunk).__name__}")
        actions, reference = cast(Any, chunk.actions), cast(Any, chunk.reference_pose)
        period, observation_ns = cast(Any, chunk.step_period), cast(Any, chunk.observation_ns)
        if not isinstance(actions, np.ndarray) or actions.dtype.kind != "f":
            return Change("format", "the actions are no array of floats")
        actions = np.asarray(actions)
        if actions.ndim != 2 or actions.shape[1] != ACTION_DIMENSION:
            return Change("shape", f"the actions have the shape {actions.shape}; (H, {ACTION_DIMENSION}) is needed")
        if not 1 <= actions.shape[0] <= self.config.max_horizon:
            return Change("horizon", f"{actions.shape[0]} steps; 1 to {self.config.max_horizon} are allowed")
        if not np.isfinite(actions.astype(np.float64)).all():
            return Change("finite", "the actions hold values that are not finite")
        if not _is_integer(chunk.chunk_id) or not 0 <= chunk.chunk_id < 2**64:
            return Change("format", "the chunk id is no unsigned integer")
        if isinstance(period, bool) or not isinstance(period, float | int | np.floating):
            return Change("step_period", "the step period is no number")
        if not _PERIODS[0] <= period <= _PERIODS[1]:
            return Change("step_period", f"the step period is not between {_PERIODS[0]} and {_PERIODS[1]} s")
        if not isinstance(reference, np.ndarray) or reference.dtype.kind != "f":
            return Change("reference_pose", "the reference pose is no array of floats")
        pose = np.asarray(reference).astype(np.float64)
        if not is_rigid_pose(pose) or not np.abs(pose[:3, 3]).max() <= _MAX_TRAVEL:
            return Change("reference_pose", "the reference pose is no rigid pose near the robot")
        if not _is_integer(observation_ns) or not 0 <= observation_ns < 2**62:
            return Change("chunk_age", "the time of the observation is no time")
        age = (now_ns - int(observation_ns)) / _NS
        if age > self.config.chunk_age_limit_s:
            return Change("chunk_age", f"{age:.3f} s old; {self.config.chunk_age_limit_s} s are allowed")
        if age < -self.config.future_tolerance_s:
            return Change("chunk_age", f"{-age:.3f} s in the future; {self.config.future_tolerance_s} s are allowed")
        return None

    def _limit_hand(self, actions: Array, reference: Array, period: float) -> tuple[Change | None, bool]:
        """Clamp the hand to its range and its cap per step, in place."""
        hand = actions[:, 6:]
        if hand.min() < -_HAND_SLACK or hand.max() > 1.0 + _HAND_SLACK:
            return Change("hand_range", f"values from {hand.min():.3g} to {hand.max():.3g}; 0 to 1 are allowed"), False
        limited = np.clip(hand, 0.0, 1.0)
        cap = self.config.step_hand * period / _REFERENCE_PERIOD
        if (np.abs(np.diff(limited, axis=0)) > cap).any():
            for k in range(1, len(limited)):
                limited[k] = np.clip(limited[k], limited[k - 1] - cap, limited[k - 1] + cap)
        moved = float(np.abs(limited - hand).max())
        actions[:, 6:] = limited
        return (
            Change("hand", f"moved by {moved:.3g} at most into 0 to 1 and {cap:.3g} per step") if moved > 0.0 else None
        ), True

    def _limit_translation(self, actions: Array, reference: Array, period: float) -> tuple[Change | None, bool]:
        """Clamp the target positions to the workspace and to the cap per step, in place."""
        wanted = actions[:, :3]
        if not np.abs(wanted).max() <= _MAX_TRAVEL:
            return Change(
                "travel", f"{np.abs(wanted).max():.3g} m from the reference pose; {_MAX_TRAVEL} m are allowed"
            ), False
        cap = self.config.step_translation * period / _REFERENCE_PERIOD
        path = np.concatenate([np.zeros((1, 3)), wanted])
        longest = float(np.linalg.norm(np.diff(path, axis=0), axis=1).max())
        if not longest <= cap * self.config.hard_factor:
            return Change("step_translation", f"a step of {longest:.3g} m; {cap:.3g} m are allowed"), False
        origin = reference[:3, 3]
        path[1:] = np.clip(origin + wanted, self._box_min, self._box_max) - origin
        clamped = float(np.abs(path[1:] - wanted).max())
        if (np.linalg.norm(np.diff(path, axis=0), axis=1) > cap).any():
            for k in range(1, len(path)):
                step = path[k] - path[k - 1]
                path[k] = path[k - 1] + step * min(1.0, cap / max(float(np.linalg.norm(step)), 1e-12))
        moved = float(np.abs(path[1:] - wanted).max())
        if moved <= 1e-12:
            return None, True
        actions[:, :3] = path[1:]
        rule = "workspace" if clamped > 1e-12 else "step_translation"
        return Change(rule, f"targets moved by {moved:.3g} m at most into the workspace and {cap:.3g} m per step"), True

    def _limit_rotation(self, actions: Array, reference: Array, period: float) -> tuple[Change | None, bool]:
        """Limit the rotation per step, in place."""
        if not np.abs(actions[:, 3:6]).max() <= math.pi:
            return Change("travel", f"a rotation vector component of {np.abs(actions[:, 3:6]).max():.3g} rad"), False
        cap = self.config.step_rotation * period / _REFERENCE_PERIOD
        path = np.concatenate([np.eye(3)[None], matrix_from_rotation_vector(actions[:, 3:6])])
        largest = float(_angles(path[1:] @ path[:-1].transpose(0, 2, 1)).max())
        if not largest <= cap * self.config.hard_factor:
            return Change("step_rotation", f"a step of {largest:.3g} rad; {cap:.3g} rad are allowed"), False
        if largest <= cap:
            return None, True
        for k in range(1, len(path)):
            step = rotation_vector_from_matrix(path[k] @ path[k - 1].T)
            angle = float(np.linalg.norm(step))
            if angle > cap:
                path[k] = matrix_from_rotation_vector(step * (cap / angle)) @ path[k - 1]
        actions[:, 3:6] = rotation_vector_from_matrix(path[1:])
        return Change("step_rotation", f"a step of {largest:.3g} rad; limited to {cap:.3g} rad per step"), True

    def _far_first_target(self, chunk: ActionChunk, now_ns: int, current_pose: Array | None) -> Change | None:
        """Whether the first target that is not yet due is too far from where the end effector is."""
        if current_pose is None:
            return None
        if not is_rigid_pose(np.asarray(current_pose, dtype=np.float64)):
            return Change("first_target", "the present pose is unknown")
        elapsed = (now_ns - chunk.observation_ns) / _NS
        first = min(max(math.floor(elapsed / chunk.step_period), 0), chunk.horizon - 1)
        target = replace(chunk, actions=chunk.actions[first : first + 1]).target_poses()[0]
        distance = float(np.linalg.norm(target[:3, 3] - current_pose[:3, 3]))
        angle = float(_angles(target[:3, :3] @ current_pose[:3, :3].T))
        if distance <= self.config.first_target_distance and angle <= self.config.first_target_rotation:
            return None
        return Change(
            "first_target",
            f"{distance:.3g} m and {angle:.3g} rad away; {self.config.first_target_distance} m and "
            f"{self.config.first_target_rotation} rad are allowed",
        )


def _angles(rotations: Array) -> Array:
    """Rotation angles (...,) rad of rotation matrices (..., 3, 3); precise for small ones too."""
    m = rotations
    sine = np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1)
    return np.arctan2(np.linalg.norm(sine, axis=-1), np.trace(m, axis1=-2, axis2=-1) - 1.0)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _numbers(values: object) -> Array | None:
    """A float64 array of the values; None where they are no finite numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            return None
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if np.isfinite(array).all() else None


def _refuse_joints(rule: str, detail: str) -> JointVerdict:
    return JointVerdict(False, np.empty((0, 7)), np.empty((0, 7)), (Change(rule, detail),))
