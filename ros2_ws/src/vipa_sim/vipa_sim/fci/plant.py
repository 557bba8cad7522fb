"""What the FCI server asks of the arm that it plays, and a plain arm without a world for tests."""

import importlib.util
import math
import time
from pathlib import Path
from typing import Protocol

import numpy as np

from vipa_sim.errors import SimulationError
from vipa_sim.fci.limits import Q_LOWER, Q_UPPER
from vipa_sim.fci.protocol import CYCLE_NS, CYCLE_S, FloatArray

HOME = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)  # rad


class ArmPlant(Protocol):
    """A simulated FR3: joint torques in, joint positions out; gravity is already compensated."""

    @property
    def time_ns(self) -> int:
        """Simulated time (ns, ROS epoch)."""
        ...

    @property
    def positions(self) -> FloatArray:
        """Joint positions (7,) rad."""
        ...

    @property
    def velocities(self) -> FloatArray:
        """Joint velocities (7,) rad/s."""
        ...

    @property
    def urdf(self) -> bytes:
        """The robot model that clients are handed."""
        ...

    def step(self, torques: FloatArray) -> None:
        """Advance by exactly 1 ms under joint torques (7,) N·m."""
        ...

    def external_torques(self) -> FloatArray:
        """Joint torques (7,) N·m that contacts and pushes exert on the arm."""
        ...

    def apply_push(self, force: FloatArray | None) -> None:
        """Push the end effector with force and moment (6,) N, N·m in the base frame until told otherwise."""
        ...

    def flange_pose(self, q: FloatArray) -> FloatArray:
        """Pose (4, 4) of the flange in the base frame at joint positions ``q`` (7,)."""
        ...

    def flange_jacobian(self, q: FloatArray) -> FloatArray:
        """Jacobian (6, 7) of the flange's origin in the base frame, linear rows first, at ``q`` (7,)."""
        ...


# Denavit-Hartenberg parameters in Craig's convention: data sheet of the Franka Research 3.
_A = np.array([0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088])
_D = np.array([0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0])
_ALPHA = np.array([0.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]) * (math.pi / 2)
_FLANGE_OFFSET = 0.107


def link_poses(q: FloatArray) -> FloatArray:
    """Poses (8, 4, 4) in the base frame of the frames of joints 1 to 7 and of the flange."""
    cos_q, sin_q = np.cos(q), np.sin(q)
    cos_a, sin_a = np.round(np.cos(_ALPHA)), np.round(np.sin(_ALPHA))
    steps = np.zeros((8, 4, 4))
    steps[:, 3, 3] = 1.0
    steps[:7, 0, 0], steps[:7, 0, 1], steps[:7, 0, 3] = cos_q, -sin_q, _A
    steps[:7, 1, 0], steps[:7, 1, 1], steps[:7, 1, 2] = sin_q * cos_a, cos_q * cos_a, -sin_a
    steps[:7, 2, 0], steps[:7, 2, 1], steps[:7, 2, 2] = sin_q * sin_a, cos_q * sin_a, cos_a
    steps[:7, 1, 3], steps[:7, 2, 3] = -sin_a * _D, cos_a * _D
    steps[7, 0, 0] = steps[7, 1, 1] = steps[7, 2, 2] = 1.0
    steps[7, 2, 3] = _FLANGE_OFFSET
    for index in range(1, 8):
        np.matmul(steps[index - 1], steps[index], out=steps[index])
    return steps


class KinematicPlant:
    """Seven independent joints of constant inertia: no gravity, no contacts, joint stops at the limits.

    Args:
        q: joint positions (7,) rad at the start.
        time_ns: simulated time at the start; None takes the wall clock.

    Raises:
        SimulationError: the ``franky-sim`` package, which holds the URDF, is not installed.
    """

    INERTIA = np.array([1.0, 1.0, 0.8, 0.8, 0.2, 0.2, 0.2])  # kg·m²

    def __init__(self, q: tuple[float, ...] = HOME, time_ns: int | None = None) -> None:
        self._q = np.array(q, dtype=np.float64)
        self._dq = np.zeros(7)
        self._push: FloatArray | None = None
        self._external = np.zeros(7)
        self._time_ns = time.time_ns() if time_ns is None else time_ns
        found = importlib.util.find_spec("franky_sim")
        if found is None or found.origin is None:
            raise SimulationError("FR3 model: package franky-sim is not installed. Run: pip install franky-sim==1.0.4")
        self._urdf = (Path(found.origin).parent / "assets" / "fr3_clean.urdf").read_bytes()

    @property
    def time_ns(self) -> int:
        """Simulated time (ns, ROS epoch)."""
        return self._time_ns

    @property
    def positions(self) -> FloatArray:
        """Joint positions (7,) rad."""
        return self._q

    @property
    def velocities(self) -> FloatArray:
        """Joint velocities (7,) rad/s."""
        return self._dq

    @property
    def urdf(self) -> bytes:
        """The URDF of the FR3 without a gripper; clients refuse joints that lack velocity limits."""
        return self._urdf

    def step(self, torques: FloatArray) -> None:
        """Advance by exactly 1 ms under joint torques (7,) N·m (semi-implicit Euler)."""
        if self._push is not None:
            self._external = self.flange_jacobian(self._q).T @ self._push
        self._dq += (torques + self._external) / self.INERTIA * CYCLE_S
        self._q += self._dq * CYCLE_S
        self._dq[(self._q < Q_LOWER) | (self._q > Q_UPPER)] = 0.0
        np.clip(self._q, Q_LOWER, Q_UPPER, out=self._q)
        self._time_ns += CYCLE_NS

    def external_torques(self) -> FloatArray:
        """Joint torques (7,) N·m of the push, zero without one."""
        return self._external

    def apply_push(self, force: FloatArray | None) -> None:
        """Push the flange with force and moment (6,) N, N·m in the base frame; None ends it."""
        self._push = force
        if force is None:
            self._external = np.zeros(7)

    def flange_pose(self, q: FloatArray) -> FloatArray:
        """Pose (4, 4) of the flange in the base frame at joint positions ``q`` (7,)."""
        return link_poses(q)[7]

    def flange_jacobian(self, q: FloatArray) -> FloatArray:
        """Jacobian (6, 7) of the flange's origin in the base frame, linear rows first, at ``q`` (7,)."""
        poses = link_poses(q)
        axes = poses[:7, :3, 2]
        jacobian = np.empty((6, 7))
        jacobian[:3] = np.cross(axes, poses[7, :3, 3] - poses[:7, :3, 3]).T
        jacobian[3:] = axes.T
        return jacobian
