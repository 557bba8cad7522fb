"""The controller's own logic with an arm that follows it perfectly, in simulated time: for faults without a graph."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from vipa.control.config import ControlConfig
from vipa.control.controller import ArmSnapshot, Controller, ControlOutput
from vipa.control.gate import SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.control.schedule import ChunkScheduler, JointWindow, hermite
from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER, PLANNER_ACCELERATION, PLANNER_VELOCITY
from vipa.hardware.fr3.state import ArmMode, ArmReading
from vipa.hardware.fr3.trajectory import Checker, JointTrajectory
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk

Array = NDArray[np.float64]

NS = 1_000_000_000
CYCLE_NS = NS // 100
LATENCY_NS = 4 * CYCLE_NS
"""From the observation of a sound chunk to its arrival."""
ROWS, PERIOD = 16, 0.05
_START_NS = 1_000_000 * NS
_RELATIVE_DYNAMICS = 0.5  # of the driver: that of the simulated laboratory


class FollowingArm:
    """An arm that is where its newest window says, and checks what it is sent as the driver does.

    It has a clock of its own, as the robot has: a window is due as long after its arrival as it says then.

    Args:
        config: of the controller and its gate.
        q: where it begins, (7,) rad.
    """

    def __init__(self, config: ControlConfig, q: Array) -> None:
        self.q, self.dq = q, np.zeros(7)
        self.windows, self.refused, self.outside = 0, 0, 0
        self.reasons: Counter[str] = Counter()
        self._config = config
        self._checker = Checker(FR3Config("127.0.0.1", relative_dynamics=_RELATIVE_DYNAMICS))
        self._followed: list[tuple[int, JointWindow]] = []  # the one under way, and those that have not begun

    def move(self, steady_ns: int) -> None:
        """Go to where the windows say."""
        begun = [k for k, (start_ns, _) in enumerate(self._followed) if start_ns <= steady_ns]
        if begun:
            self._followed = self._followed[begun[-1] :]
            start_ns, window = self._followed[0]
            wanted = np.array([(steady_ns - start_ns) / NS])
            q, dq = hermite(window.times_s, window.positions, window.velocities, wanted)
            self.q, self.dq = q[0], dq[0]

    def take(self, window: JointWindow, hand: Array | None, now_ns: int, steady_ns: int) -> None:
        """Check a window, and follow it where the driver would."""
        self.windows += 1
        reading = ArmReading(ArmMode.STREAMING, desired_joint_positions=self.q, desired_joint_velocities=self.dq)
        trajectory = JointTrajectory(window.start_ns, window.times_s, window.positions, window.velocities)
        plan = self._checker.plan(trajectory, reading, now_ns)
        if isinstance(plan, str):
            self.refused += 1
            self.reasons[plan] += 1
            return
        self.outside += not (self._is_inside(window) and (hand is None or bool(((hand >= 0.0) & (hand <= 1.0)).all())))
        self._followed.append((steady_ns + window.start_ns - now_ns, window))

    def _is_inside(self, window: JointWindow) -> bool:
        """Whether positions and velocities are within the gate's limits, accelerations within the arm's."""
        gate, q, dq = self._config.gate, window.positions, window.velocities
        h = np.diff(window.times_s)[:, None]
        rise = np.diff(q, axis=0) / h
        bend = np.abs([(6 * rise - 4 * dq[:-1] - 2 * dq[1:]) / h, (6 * rise - 2 * dq[:-1] - 4 * dq[1:]) / h])
        return bool(
            (q >= JOINT_LOWER + gate.joint_margin - 1e-6).all()
            and (q <= JOINT_UPPER - gate.joint_margin + 1e-6).all()
            and (np.abs(dq) <= gate.velocity_fraction * PLANNER_VELOCITY * (1 + 1e-5) + 1e-3).all()
            and (bend <= PLANNER_ACCELERATION * (1 + 1e-5)).all()
        )


class Rig:
    """A controller and an arm that run in cycles of 10 ms.

    Args:
        seed: of the directions in which sound chunks go.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        config = ControlConfig()
        self._kinematics = Kinematics(config.kinematics)
        rest = np.array(config.kinematics.rest_posture)
        scheduler = ChunkScheduler(config.schedule, rest, np.ones(6))
        self._controller = Controller(self._kinematics, SafetyGate(config.gate, self._kinematics), scheduler, config)
        self._home = self._kinematics.forward(rest)[:3, 3]
        self.arm = FollowingArm(config, rest)
        self._steady_ns, self._ahead_ns = _START_NS, 0  # the wall, and how far ROS time is ahead of it
        self.next_id = 1
        self.crashes: list[str] = []

    @property
    def now_ns(self) -> int:
        """ROS time."""
        return self._steady_ns + self._ahead_ns

    def jump(self, ns: int) -> None:
        """Let ROS time leap; the wall and the arm go on as before."""
        self._ahead_ns += ns

    def begin_cycle(self, state_age_ns: int = 0) -> None:
        """A cycle begins: the arm has moved on and tells where it is."""
        self._steady_ns += CYCLE_NS
        self.arm.move(self._steady_ns)
        stamp_ns = self.now_ns - state_age_ns
        self._controller.update_state(ArmSnapshot(self.arm.q, self.arm.dq, stamp_ns), np.full(6, 0.5))

    def offer(self, chunk: object) -> bool:
        """Give the controller a chunk and let it send what follows; whether it accepted it."""
        try:
            events = self._controller.accept(chunk, self.now_ns)
        except Exception as error:  # noqa: BLE001 - that nothing is raised is what is measured
            self.crashes.append(f"{type(error).__name__}: {error}")
            return False
        accepted = all(event.accepted for event in events)
        if accepted:
            self.tick()
        return accepted

    def tick(self) -> ControlOutput | None:
        """Let the controller send what it wants to."""
        output = self._controller.tick(self.now_ns, motion_allowed=True)
        if output is not None and output.window is not None:
            self.arm.take(output.window, output.hand, self.now_ns, self._steady_ns)
        return output

    def sound_chunk(self) -> ActionChunk:
        """A smooth path in a random direction, back towards the middle from far away."""
        pose = self._kinematics.forward(self.arm.q)
        way = self.random.normal(0.0, 0.05, 3) + 0.5 * (self._home - pose[:3, 3])
        rows = np.arange(1, ROWS + 1)[:, None] / ROWS
        actions = np.empty((ROWS, ACTION_DIMENSION))
        actions[:, :3] = np.clip(way, -0.1, 0.1) * rows**2
        actions[:, 3:6] = self.random.normal(0.0, 0.05, 3) * rows**2
        actions[:, 6:] = 0.5
        self.next_id += 1
        return ActionChunk(actions, PERIOD, pose, self.now_ns - LATENCY_NS, "fuzz", "0", self.next_id)
