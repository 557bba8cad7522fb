"""The arm's internal controller: modes, motions, joint impedance, reflexes and braking."""

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from vipa_sim.fci import limits
from vipa_sim.fci.motion import (
    MOTION_FINISHED,
    TAU_J_D,
    TORQUE_FINISHED,
    CartesianMotion,
    JointMotion,
    MotionGenerator,
    RealtimeCommand,
    Setpoint,
)
from vipa_sim.fci.plant import ArmPlant
from vipa_sim.fci.protocol import CYCLE_S, Controller, Error, FloatArray, Generator, MoveStatus, RobotMode

logger = logging.getLogger(__name__)

LOST_LIMIT = 20  # commands lost in a row that abort a motion
FIRST_COMMAND_LIMIT = 1000  # cycles that a motion waits for its first command
SUCCESS_WINDOW = 100  # cycles over which the success rate of commands is taken
CONTACT_FILTER = 1.0 - math.exp(-2.0 * math.pi * 30.0 * CYCLE_S)  # 30 Hz low pass on external torques
DISPLACED_RAD = 0.1  # an arm at rest that is found this far off was put elsewhere, and holds the new place
ACCELERATING = 0.1  # rad/s² of any joint above which the thresholds for accelerating hold

MAX_STIFFNESS = 14250.0  # N·m/rad, the highest that SetJointImpedance takes
# Torques that are held for 1 ms are stable with the arm's inertia up to this stiffness and damping.
STIFFNESS = np.array([4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0])  # N·m/rad
DAMPING_RATIO = np.array([3.0, 3.0, 2.4, 2.4, 1.2, 1.2, 1.2])  # N·m·s/rad over the square root of the stiffness
GUIDING_DAMPING = np.array([4.0, 4.0, 4.0, 4.0, 1.0, 1.0, 1.0])  # N·m·s/rad
_TAU_MAX = np.array(limits.TAU_MAX)
_SUCCESS_MASK = (1 << SUCCESS_WINDOW) - 1


class Arm:
    """One FR3: takes a motion's commands once a cycle and drives the plant.

    Args:
        plant: the arm that it drives.
        strict: whether commanded motions are held to the robot's limits.

    Attributes:
        q, dq: measured positions (7,) rad and velocities (7,) rad/s.
        mode, generator, controller: as the robot state shows them.
        errors, reflex_reason: current errors, and those that ended the last motion.
        setpoint: what the joint controller follows.
        torque: joint torques (7,) N·m of the last cycle; ``commanded_torque`` those that an external controller sent.
        external_torque: filtered external joint torques (7,) N·m.
        external_wrench: (6,) N, N·m at the end effector in the base frame, from the external torques.
        contact, collision: (13,) 0 or 1: external torque of each joint, then force in each direction, over threshold.
        thresholds: (2, 2, 13) accelerating/otherwise x contact/collision x (7 N·m, 6 N or N·m).
        ended: status of a motion that ended and whose Move has not been answered yet.
        success_rate: share of the last 100 commands that came in time.
        lost: commands lost so far; ``aborts`` counts the errors that ended motions.
    """

    def __init__(self, plant: ArmPlant, *, strict: bool = True) -> None:
        self.plant, self.strict = plant, strict
        self.q, self.dq = plant.positions, plant.velocities
        self.mode, self.generator, self.controller = RobotMode.IDLE, Generator.IDLE, Controller.OTHER
        self.errors: tuple[Error, ...] = ()
        self.reflex_reason: tuple[Error, ...] = ()
        self.setpoint = Setpoint(plant.positions.tolist())
        self.tool = np.eye(4)  # the end effector in the flange's frame
        self.torque, self.commanded_torque = np.zeros(7), [0.0] * 7
        self.external_torque, self.external_wrench = np.zeros(7), np.zeros(6)
        self.contact, self.collision = np.zeros(13), np.zeros(13)
        self.thresholds = np.empty((2, 2, 13))
        self.thresholds[..., :7], self.thresholds[..., 7:] = 20.0, 30.0
        self.ended: MoveStatus | None = None
        self.lost, self.aborts = 0, Counter[str]()
        self.motion: MotionGenerator | None = None
        self.commanded = False  # the motion's first command has come
        self.stopping = False  # a motion is being stopped: it takes no more commands
        self._braking = False
        self._stiffness, self._damping = STIFFNESS.copy(), DAMPING_RATIO * np.sqrt(STIFFNESS)
        self._lost_in_row, self._waited, self._received, self._counted = 0, 0, 0, 0
        self._work = np.zeros(7)

    @property
    def success_rate(self) -> float:
        """Share of the last 100 commands that came in time; 0 outside a motion."""
        if self.mode is not RobotMode.MOVE or not self._counted:
            return 0.0
        return self._received.bit_count() / self._counted

    def set_joint_stiffness(self, stiffness: Sequence[float]) -> bool:
        """Take the stiffness (7) N·m/rad, saturated where torques at 1 kHz stay stable; False where it is invalid."""
        if not all(0.0 <= k <= MAX_STIFFNESS for k in stiffness):
            return False
        np.minimum(stiffness, STIFFNESS, out=self._stiffness)
        self._damping = DAMPING_RATIO * np.sqrt(self._stiffness)
        return True

    def start_motion(self, controller: Controller, generator: Generator) -> None:
        """Enter MOVE; the motion begins with its first command."""
        self.mode, self.controller, self.generator = RobotMode.MOVE, controller, generator
        self.commanded = self.stopping = self._braking = False
        self._lost_in_row = self._waited = self._received = self._counted = 0
        self.commanded_torque = [0.0] * 7
        self.ended = None
        self.setpoint.hold(self.setpoint.q)
        if generator in (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY):
            velocities = generator is Generator.JOINT_VELOCITY
            self.motion = JointMotion(self.setpoint, velocities=velocities, strict=self.strict)
        elif generator in (Generator.CARTESIAN_POSITION, Generator.CARTESIAN_VELOCITY):
            velocities = generator is Generator.CARTESIAN_VELOCITY
            self.motion = CartesianMotion(
                self.setpoint, self.plant, self.tool, velocities=velocities, strict=self.strict
            )
        else:
            self.motion = None

    def stop_motion(self) -> None:
        """Brake; the motion ends, preempted, at standstill. Without a motion nothing happens."""
        if self.mode is RobotMode.MOVE and not self.stopping:
            self.stopping = self._braking = True

    def abort(self, *errors: Error, mode: RobotMode = RobotMode.REFLEX, status: MoveStatus | None = None) -> None:
        """End the motion for the given errors and brake."""
        self.errors = self.reflex_reason = errors
        names = [error.name.lower() for error in errors]
        self.aborts.update(names)
        logger.warning("motion aborted: %s", ", ".join(names) or MoveStatus(status or 0).name.lower())
        self._end_motion(MoveStatus.REFLEX_ABORTED if status is None else status)
        self.mode = mode

    def recover(self) -> None:
        """Clear the errors; once standing the arm is IDLE again."""
        self.errors = ()
        self.mode = RobotMode.AUTOMATIC_ERROR_RECOVERY
        self._braking = True

    def user_stop(self) -> None:
        """Stop the arm until ``release``, ending a motion."""
        if self.mode is RobotMode.MOVE:
            self.abort(mode=RobotMode.USER_STOPPED, status=MoveStatus.EMERGENCY_ABORTED)
        self.mode, self._braking = RobotMode.USER_STOPPED, True

    def release(self) -> None:
        """Leave the user stop, errors cleared."""
        if self.mode is RobotMode.USER_STOPPED:
            self.mode, self.errors = RobotMode.IDLE, ()

    def guide(self, on: bool) -> None:
        """Let the arm be guided by hand, or hold it where it is now; either clears errors, as recovery by hand does."""
        if self.mode is RobotMode.MOVE:
            self.abort(mode=RobotMode.IDLE, status=MoveStatus.PREEMPTED_BY_SAFETY)
        if self.mode is not RobotMode.USER_STOPPED:
            self.mode, self.errors = RobotMode.GUIDING if on else RobotMode.IDLE, ()
            self.hold_here()

    def hold_here(self) -> None:
        """Hold the measured position, standing still."""
        self.q, self.dq = self.plant.positions, self.plant.velocities
        self.setpoint.hold(self.q.tolist())
        self._braking = False

    def command(self, command: RealtimeCommand | None) -> None:
        """Consume what this cycle of the motion brought; None stands for a lost command."""
        if self.stopping or (command is None and not self._count_lost()):
            return
        if command is not None:
            self.commanded, self._lost_in_row = True, 0
        self._received = (self._received << 1 | (command is not None)) & _SUCCESS_MASK
        self._counted = min(self._counted + 1, SUCCESS_WINDOW)
        if command is not None and not math.isfinite(sum(command)):
            self.abort(status=MoveStatus.INPUT_ERROR_ABORTED)
            return
        error = self._take_torques(command) if self.controller is Controller.EXTERNAL else None
        if error is None and self.motion is not None:
            error = self.motion.advance(command)
        if error is None and command is not None and (command[MOTION_FINISHED] or command[TORQUE_FINISHED]):
            error = None if self.motion is None else self.motion.check_finish()
            if error is None:
                self._end_motion(MoveStatus.SUCCESS)
        if error is not None:
            self.abort(error)

    def step(self) -> float:
        """Drive the plant by one cycle; returns the seconds that the plant's own step took."""
        setpoint, torque = self.setpoint, self.torque
        if self._braking:
            self._brake()
        if self.mode is RobotMode.GUIDING:
            np.multiply(self.dq, -GUIDING_DAMPING, out=torque)
            setpoint.hold(self.q.tolist())
        elif self.controller is Controller.EXTERNAL and not self.stopping:
            torque[:] = self.commanded_torque
            if self.motion is None:
                setpoint.q, setpoint.dq = self.q.tolist(), self.dq.tolist()
        else:
            np.subtract(setpoint.q, self.q, out=torque)
            if self.mode is not RobotMode.MOVE and max(map(abs, torque.tolist())) > DISPLACED_RAD:
                self.hold_here()
                torque[:] = 0.0
            torque *= self._stiffness
            work = np.subtract(setpoint.dq, self.dq, out=self._work)
            work *= self._damping
            torque += work
        np.minimum(torque, _TAU_MAX, out=torque)
        np.maximum(torque, -_TAU_MAX, out=torque)
        before = time.perf_counter()
        self.plant.step(torque)
        plant_s = time.perf_counter() - before
        self.q, self.dq = self.plant.positions, self.plant.velocities
        self._sense()
        return plant_s

    def _count_lost(self) -> bool:
        """Note a cycle without a command; False where there is nothing to move on."""
        if not self.commanded:  # the client is still preparing
            self._waited += 1
            if self._waited >= FIRST_COMMAND_LIMIT:
                self.abort(Error.COMMUNICATION_CONSTRAINTS_VIOLATION)
            return False
        self.lost += 1
        self._lost_in_row += 1
        if self._lost_in_row >= LOST_LIMIT:
            self.abort(Error.COMMUNICATION_CONSTRAINTS_VIOLATION)
            return False
        return True

    def _take_torques(self, command: RealtimeCommand | None) -> Error | None:
        if command is None:
            return None  # the last torques stay
        torques = list(command[TAU_J_D])
        if self.strict:
            error = limits.check_torques(torques, self.commanded_torque) or self._check_measured()
            if error is not None:
                return error
        self.commanded_torque = torques
        return None

    def _check_measured(self) -> Error | None:
        for q, dq, lower, upper, fastest in zip(
            self.q.tolist(),
            self.dq.tolist(),
            limits.Q_LOWER,
            limits.Q_UPPER,
            limits.DQ_MAX,
            strict=True,
        ):
            if not lower <= q <= upper:
                return Error.JOINT_POSITION_LIMITS_VIOLATION
            if abs(dq) > fastest:
                return Error.JOINT_VELOCITY_VIOLATION
        return None

    def _end_motion(self, status: MoveStatus) -> None:
        if self.mode is RobotMode.MOVE:
            self.ended = status
        if self.controller is Controller.EXTERNAL:
            self.setpoint.hold(self.q.tolist(), self.dq.tolist())
        self.mode, self.generator, self.controller = RobotMode.IDLE, Generator.IDLE, Controller.OTHER
        self.motion, self.commanded, self.stopping = None, False, False
        self.commanded_torque = [0.0] * 7
        self._braking = True

    def _brake(self) -> None:
        if self.stopping and self.controller is Controller.EXTERNAL:
            self.setpoint.hold(self.q.tolist(), self.dq.tolist())
            self.controller = Controller.JOINT_IMPEDANCE
        if not self.setpoint.brake():
            return
        self._braking = False
        if self.stopping:
            self._end_motion(MoveStatus.PREEMPTED)
            self._braking = False
        elif self.mode is RobotMode.AUTOMATIC_ERROR_RECOVERY:
            self.mode = RobotMode.IDLE

    def _sense(self) -> None:
        """Filter external torques, find contacts and collisions; a collision in motion is a reflex."""
        external = self.external_torque
        np.subtract(self.plant.external_torques(), external, out=self._work)
        self._work *= CONTACT_FILTER
        external += self._work
        if external.dot(external) < 1e-6:
            if self.contact.dot(self.contact) > 0.0:
                self.contact[:] = self.collision[:] = 0.0
            self.external_wrench[:] = 0.0
            return
        jacobian = self._end_effector_jacobian()
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-6
        self.external_wrench = np.linalg.solve(gram, jacobian @ external)
        size = np.abs(np.concatenate((external, self.external_wrench)))
        accelerating = max(map(abs, self.setpoint.ddq)) > ACCELERATING
        contact, collision = self.thresholds[0 if accelerating else 1]
        self.contact[:], self.collision[:] = size > contact, size > collision
        if self.mode is RobotMode.MOVE and self.collision.any():
            reasons = (Error.JOINT_REFLEX, self.collision[:7]), (Error.CARTESIAN_REFLEX, self.collision[7:])
            self.setpoint.hold(self.q.tolist(), self.dq.tolist())
            self.abort(*(error for error, over in reasons if over.any()))

    def _end_effector_jacobian(self) -> FloatArray:
        q = self.q
        jacobian = self.plant.flange_jacobian(q).copy()
        offset = self.plant.flange_pose(q)[:3, :3] @ self.tool[:3, 3]
        jacobian[:3] += np.cross(jacobian[3:].T, offset).T
        return jacobian
