"""Kinematics of the FR3: forward, Jacobian, and an inverse that respects joint limits and singularities.

The chain is walked in plain floats: for a single configuration that is several times faster than small numpy matrices.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

# Denavit-Hartenberg parameters after Craig (Franka Robotics, "Denavit-Hartenberg parameters of Franka Research 3"):
# per joint the quarter turns of alpha, then a and d in m.
_CHAIN = (
    (0, 0.0, 0.333),
    (-1, 0.0, 0.0),
    (1, 0.0, 0.316),
    (1, 0.0825, 0.0),
    (-1, -0.0825, 0.384),
    (1, 0.0, 0.0),
    (1, 0.088, 0.0),
)
_FLANGE = 0.107  # m along the last axis


@dataclass(frozen=True)
class KinematicsConfig:
    """Settings of the inverse kinematics."""

    joint_margin: float = 0.1  # rad that solutions keep from the joint limits
    position_tolerance: float = 1e-4  # m
    rotation_tolerance: float = 1e-3  # rad
    max_iterations: int = 30
    max_step: float = 0.5  # rad that the fastest joint moves in one iteration
    rest_posture: tuple[float, ...] = (0.0, -0.4, 0.0, -2.4, 0.0, 2.0, 0.785)  # rad
    rest_gain: float = 0.01  # share of the way to the rest posture, within the null space, per solution
    singular_value: float = 0.06  # below this smallest singular value of the Jacobian the solution is damped
    damping: float = 0.03  # the damping at the singularity itself

    def __post_init__(self) -> None:
        for name in ("joint_margin", "rest_gain", "damping"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must not be negative, found {getattr(self, name)}")
        for name in ("position_tolerance", "rotation_tolerance", "max_step", "singular_value"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")
        if len(self.rest_posture) != 7:
            raise ValueError(f"rest_posture must have 7 values, found {len(self.rest_posture)}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, found {self.max_iterations}")


@dataclass(frozen=True)
class IKResult:
    """The joint positions found for one target pose."""

    q: Array  # (7,) rad
    position_error: float  # m
    rotation_error: float  # rad
    converged: bool


class Kinematics:
    """The FR3 with a tool.

    Args:
        config: settings of the inverse kinematics.
        flange_to_end_effector: pose (4, 4) of the end effector in the flange frame, m; identity where not given.

    Raises:
        ValueError: ``flange_to_end_effector`` is no rigid pose.
    """

    def __init__(self, config: KinematicsConfig | None = None, flange_to_end_effector: ArrayLike | None = None) -> None:
        self.config = config or KinematicsConfig()
        tool = np.eye(4) if flange_to_end_effector is None else np.array(flange_to_end_effector, dtype=np.float64)
        if not is_rigid_pose(tool):
            raise ValueError("flange_to_end_effector must be a rigid pose (4, 4)")
        self._tool = tool.copy()
        self._tool[:3, 3] += (0.0, 0.0, _FLANGE)
        self._tool_position: list[float] = self._tool[:3, 3].tolist()
        self._tool_columns: list[list[float]] = self._tool[:3, :3].T.tolist()
        self._lower: list[float] = (JOINT_LOWER + self.config.joint_margin).tolist()
        self._upper: list[float] = (JOINT_UPPER - self.config.joint_margin).tolist()
        self._rest = np.array(self.config.rest_posture)

    def forward(self, q: ArrayLike) -> Array:
        """End-effector poses (..., 4, 4) in the base frame, m, of joint positions (..., 7) rad."""
        q = np.asarray(q, dtype=np.float64)
        if q.ndim == 1:
            x, y, z, p, _ = self._walk(q.tolist())
            return np.array(
                [
                    [x[0], y[0], z[0], p[0]],
                    [x[1], y[1], z[1], p[1]],
                    [x[2], y[2], z[2], p[2]],
                    [0.0, 0.0, 0.0, 1.0],
                ]
            )
        sine, cosine = np.sin(q), np.cos(q)
        pose = np.broadcast_to(np.eye(4), (*q.shape[:-1], 4, 4)).copy()
        for i, (turn, a, d) in enumerate(_CHAIN):
            c, s, zero = cosine[..., i], sine[..., i], np.zeros(q.shape[:-1])
            link = np.zeros((*q.shape[:-1], 4, 4))
            link[..., 0, :] = np.stack([c, -s, zero, zero + a], -1)
            if turn == 0:
                link[..., 1, :] = np.stack([s, c, zero, zero], -1)
                link[..., 2, 2:] = (1.0, d)
            else:
                link[..., 1, 2:] = (-turn, -turn * d)
                link[..., 2, :2] = np.stack([turn * s, turn * c], -1)
            link[..., 3, 3] = 1.0
            pose = pose @ link
        return pose @ self._tool

    def jacobian(self, q: ArrayLike) -> Array:
        """Geometric Jacobian (6, 7) of the end effector in the base frame: linear (m/rad) above angular."""
        *_, p, joints = self._walk(np.asarray(q, dtype=np.float64).tolist())
        return self._jacobian(p, joints)

    def smallest_singular_value(self, q: ArrayLike) -> float:
        """Smallest singular value of the Jacobian at q (7,) rad; zero at a singularity."""
        return float(np.linalg.svd(self.jacobian(q), compute_uv=False)[-1])

    def solve(self, target: ArrayLike, start: ArrayLike) -> IKResult:
        """Joint positions that put the end effector at a pose, near ``start`` and drawn a little to the rest posture.

        Damped least squares; the damping grows as the smallest singular value falls (Maciejewski and Klein 1988,
        "Numerical filtering for the operation of robotic manipulators through kinematically singular configurations").
        A joint that meets its limit is held there and the others take over.

        Args:
            target: pose (4, 4) in the base frame, m.
            start: joint positions (7,) rad to begin from, such as the solution for the previous waypoint.
        """
        goal: list[list[float]] = np.asarray(target, dtype=np.float64).tolist()
        start = np.asarray(start, dtype=np.float64)
        config = self.config
        q: list[float] = [
            min(max(v, lo), hi) for v, lo, hi in zip(start.tolist(), self._lower, self._upper, strict=True)
        ]
        pull: Array | None = config.rest_gain * (self._rest - q) if config.rest_gain > 0.0 else None
        iterations, moved = 0, True
        while True:
            x, y, z, p, joints = self._walk(q)
            error, position_error, rotation_error = _pose_error(goal, x, y, z, p)
            converged = position_error <= config.position_tolerance and rotation_error <= config.rotation_tolerance
            if (converged and pull is None) or not moved or iterations == config.max_iterations:
                return IKResult(np.array(q), position_error, rotation_error, converged)
            q, moved = self._step(q, np.array(error), self._jacobian(p, joints), pull)
            pull = None  # once per solution, so that the drift to the rest posture does not depend on the iterations
            iterations += 1

    def solve_path(self, targets: ArrayLike, start: ArrayLike) -> tuple[Array, Array]:
        """Joint positions for a sequence of poses, each solved from the one before.

        Args:
            targets: poses (N, 4, 4) in the base frame, m.
            start: joint positions (7,) rad before the first pose.

        Returns:
            Joint positions (N, 7) rad, and the remaining errors (N, 2): m and rad.
        """
        poses = np.asarray(targets, dtype=np.float64).reshape(-1, 4, 4)
        q, errors = np.empty((len(poses), 7)), np.empty((len(poses), 2))
        seed = np.asarray(start, dtype=np.float64)
        for i, pose in enumerate(poses):
            result = self.solve(pose, seed)
            seed = q[i] = result.q
            errors[i] = result.position_error, result.rotation_error
        return q, errors

    def _step(self, q: list[float], error: Array, jacobian: Array, pull: Array | None) -> tuple[list[float], bool]:
        """One iteration: the new joint positions, and whether any joint moved."""
        held: dict[int, float] = {}
        while True:
            step = self._least_squares(error, jacobian, pull).tolist()
            fastest = max(map(abs, step))
            scale = min(1.0, self.config.max_step / fastest) if fastest > 0.0 else 1.0
            new = [a + scale * b for a, b in zip(q, step, strict=True)]
            for i, value in held.items():
                new[i] = value
            outside = [i for i in range(7) if i not in held and not self._lower[i] <= new[i] <= self._upper[i]]
            if not outside:
                return new, max(abs(a - b) for a, b in zip(new, q, strict=True)) > 1e-7
            jacobian, pull = jacobian.copy(), np.zeros(7) if pull is None else pull.copy()
            for i in outside:
                held[i] = min(max(new[i], self._lower[i]), self._upper[i])
                error = error - jacobian[:, i] * (held[i] - q[i])
                jacobian[:, i] = 0.0
                pull[i] = 0.0

    def _least_squares(self, error: Array, jacobian: Array, pull: Array | None) -> Array:
        """The damped step (7,) rad for a pose error (6,), with ``pull`` (7,) rad projected into the null space."""
        gram = jacobian @ jacobian.T
        values, vectors = np.linalg.eigh(gram)
        smallest = math.sqrt(max(float(values[0]), 0.0))
        ratio = smallest / self.config.singular_value
        damping = self.config.damping**2 * (1.0 - ratio * ratio) if ratio < 1.0 else 0.0
        wanted = error if pull is None else error - jacobian @ pull
        step = jacobian.T @ (vectors @ ((vectors.T @ wanted) / (values.clip(0.0) + (damping + 1e-12))))
        return step if pull is None else step + pull

    def _walk(self, q: list[float]) -> tuple[Vector, Vector, Vector, Vector, list[tuple[float, ...]]]:
        """Axes x, y, z and origin of the end effector, and the axis and origin of each joint (six floats)."""
        x0, x1, x2, y0, y1, y2, z0, z1, z2 = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
        p0 = p1 = p2 = 0.0
        joints: list[tuple[float, ...]] = []
        for angle, (turn, a, d) in zip(q, _CHAIN, strict=True):
            p0, p1, p2 = p0 + a * x0, p1 + a * x1, p2 + a * x2
            if turn == 1:
                y0, y1, y2, z0, z1, z2 = z0, z1, z2, -y0, -y1, -y2
            elif turn == -1:
                y0, y1, y2, z0, z1, z2 = -z0, -z1, -z2, y0, y1, y2
            c, s = math.cos(angle), math.sin(angle)
            x0, x1, x2, y0, y1, y2 = (
                c * x0 + s * y0,
                c * x1 + s * y1,
                c * x2 + s * y2,
                c * y0 - s * x0,
                c * y1 - s * x1,
                c * y2 - s * x2,
            )
            p0, p1, p2 = p0 + d * z0, p1 + d * z1, p2 + d * z2
            joints.append((z0, z1, z2, p0, p1, p2))
        t0, t1, t2 = self._tool_position
        p = (p0 + t0 * x0 + t1 * y0 + t2 * z0, p1 + t0 * x1 + t1 * y1 + t2 * z1, p2 + t0 * x2 + t1 * y2 + t2 * z2)
        x, y, z = (
            (a * x0 + b * y0 + c * z0, a * x1 + b * y1 + c * z1, a * x2 + b * y2 + c * z2)
            for a, b, c in self._tool_columns
        )
        return x, y, z, p, joints

    @staticmethod
    def _jacobian(p: Vector, joints: list[tuple[float, ...]]) -> Array:
        p0, p1, p2 = p
        columns: list[float] = []
        for z0, z1, z2, o0, o1, o2 in joints:
            r0, r1, r2 = p0 - o0, p1 - o1, p2 - o2
            columns += (z1 * r2 - z2 * r1, z2 * r0 - z0 * r2, z0 * r1 - z1 * r0, z0, z1, z2)
        return np.array(columns).reshape(7, 6).T


def is_rigid_pose(pose: Array, tolerance: float = 1e-3) -> bool:
    """Whether a matrix is a finite homogeneous pose (4, 4) with a proper rotation."""
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        return False
    rotation = pose[:3, :3]
    if np.abs(rotation).max() > 2.0 or np.abs(pose[3] - (0.0, 0.0, 0.0, 1.0)).max() > tolerance:
        return False
    return bool(np.abs(rotation @ rotation.T - np.eye(3)).max() < tolerance and np.linalg.det(rotation) > 0.0)


def _pose_error(
    goal: list[list[float]], x: Vector, y: Vector, z: Vector, p: Vector
) -> tuple[tuple[float, ...], float, float]:
    """Translation and rotation vector in the base frame from the pose (axes, origin p) to the goal, and their norms."""
    (g00, g01, g02, t0), (g10, g11, g12, t1), (g20, g21, g22, t2) = goal[:3]
    # The rotation from here to the goal, goal @ current.T.
    r00, r01, r02 = (g00 * x[i] + g01 * y[i] + g02 * z[i] for i in range(3))
    r10, r11, r12 = (g10 * x[i] + g11 * y[i] + g12 * z[i] for i in range(3))
    r20, r21, r22 = (g20 * x[i] + g21 * y[i] + g22 * z[i] for i in range(3))
    v0, v1, v2 = 0.5 * (r21 - r12), 0.5 * (r02 - r20), 0.5 * (r10 - r01)
    sine, cosine = math.sqrt(v0 * v0 + v1 * v1 + v2 * v2), 0.5 * (r00 + r11 + r22 - 1.0)
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        scale = angle / sine
        v0, v1, v2 = scale * v0, scale * v1, scale * v2
    elif cosine < 0.0:  # half a turn: the axis is the largest column of R + I
        columns = ((r00 + 1.0, r10, r20), (r01, r11 + 1.0, r21), (r02, r12, r22 + 1.0))
        a0, a1, a2 = max(columns, key=lambda c: math.hypot(*c))
        scale = angle / math.hypot(a0, a1, a2)
        v0, v1, v2 = scale * a0, scale * a1, scale * a2
    e0, e1, e2 = t0 - p[0], t1 - p[1], t2 - p[2]
    return (e0, e1, e2, v0, v1, v2), math.sqrt(e0 * e0 + e1 * e1 + e2 * e2), angle
