"""Writes the robot state datagram from the arm, once a cycle."""

import numpy as np

from vipa_sim.fci.arm import Arm
from vipa_sim.fci.motion import CartesianMotion, elbow_sign
from vipa_sim.fci.protocol import CYCLE_S, FloatArray, StateBuffer

GRAVITY = (0.0, 0.0, -9.81)  # m/s²


POSE_CYCLES = 4
"""Without a Cartesian motion the poses in the state are renewed at 250 Hz: they cost as much as all the rest of it."""


class StateWriter:
    """The robot state of one arm.

    Args:
        arm: whose state is written.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._buffer = StateBuffer()
        self._field = self._buffer.field
        self._torque_before = np.zeros(7)
        self._tool: FloatArray | None = None  # with which the poses were written
        self._desired_q: list[float] = []
        self._desired_pose = np.zeros(16)
        self._shown: object = None
        self._in_contact = False
        self.message_id = 0
        for name in ("EE_T_K", "F_T_NE", "NE_T_EE", "F_T_EE"):
            self._field[name][:] = np.eye(4).ravel()
        self._field["O_ddP_O"][:] = GRAVITY

    @property
    def datagram(self) -> memoryview:
        """The state as it is sent, 1377 bytes; the same memory every cycle."""
        return self._buffer.datagram

    def set_end_effector(self, pose: FloatArray) -> None:
        """Take the end effector's pose (4, 4) in the nominal end effector's frame, which is the flange's."""
        self._field["NE_T_EE"][:] = self._field["F_T_EE"][:] = pose.T.reshape(16)
        self._arm.tool = pose
        self._desired_q = []

    def set_stiffness_frame(self, pose: FloatArray) -> None:
        """Take the stiffness frame's pose (4, 4) in the end effector's frame."""
        self._field["EE_T_K"][:] = pose.T.reshape(16)

    def set_load(self, load: FloatArray) -> None:
        """Take a load's mass kg, centre (3) m in the flange's frame and inertia (9) kg·m²."""
        self._field["m_load"][0], self._field["F_x_Cload"][:], self._field["I_load"][:] = load[0], load[1:4], load[4:]

    def write(self) -> None:
        """Write the state after a step, under the next message id."""
        arm, field = self._arm, self._field
        self.message_id += 1
        field["message_id"][0] = self.message_id
        setpoint, plant = arm.setpoint, arm.plant
        q = arm.q
        field["q"][:] = field["theta"][:] = q
        field["dq"][:] = field["dtheta"][:] = arm.dq
        field["q_d"][:] = setpoint.q
        field["dq_d"][:] = setpoint.dq
        field["ddq_d"][:] = setpoint.ddq
        field["tau_J"][:] = arm.torque
        field["tau_J_d"][:] = arm.commanded_torque
        field["dtau_J"][:] = (arm.torque - self._torque_before) / CYCLE_S
        self._torque_before[:] = arm.torque
        if self._tool is not arm.tool or isinstance(arm.motion, CartesianMotion) or self.message_id % POSE_CYCLES == 0:
            self._tool = arm.tool
            field["O_T_EE"][:] = (plant.flange_pose(q) @ arm.tool).T.reshape(16)
            field["elbow"][:] = q[2], elbow_sign(setpoint.q)
            self._write_desired()
        self._write_contact()
        field["control_command_success_rate"][0] = arm.success_rate
        modes = (arm.mode, arm.generator, arm.controller, arm.errors, arm.reflex_reason)
        if modes != self._shown:
            self._shown = modes
            field["robot_mode"][0], field["motion_generator_mode"][0], field["controller_mode"][0] = modes[:3]
            for name, errors in (("errors", arm.errors), ("reflex_reason", arm.reflex_reason)):
                field[name][:] = 0
                field[name][list(errors)] = 1

    def _write_desired(self) -> None:
        arm, field = self._arm, self._field
        motion = arm.motion
        if isinstance(motion, CartesianMotion):
            self._desired_q = []
            field["O_T_EE_d"][:] = field["O_T_EE_c"][:] = motion.pose
            field["O_dP_EE_d"][:] = field["O_dP_EE_c"][:] = motion.twist
            field["O_ddP_EE_c"][:] = motion.acceleration
        elif arm.setpoint.q != self._desired_q:
            self._desired_q = arm.setpoint.q
            pose = arm.plant.flange_pose(np.array(self._desired_q)) @ arm.tool
            field["O_T_EE_d"][:] = field["O_T_EE_c"][:] = pose.T.reshape(16)
            field["O_dP_EE_d"][:] = field["O_dP_EE_c"][:] = field["O_ddP_EE_c"][:] = 0.0
        else:
            return
        field["elbow_d"][:] = field["elbow_c"][:] = arm.setpoint.q[2], elbow_sign(arm.setpoint.q)

    def _write_contact(self) -> None:
        arm, field = self._arm, self._field
        in_contact = arm.external_wrench.dot(arm.external_wrench) > 0.0
        if not (in_contact or self._in_contact):
            return
        self._in_contact = in_contact
        field["tau_ext_hat_filtered"][:] = arm.external_torque
        field["joint_contact"][:], field["cartesian_contact"][:] = arm.contact[:7], arm.contact[7:]
        field["joint_collision"][:], field["cartesian_collision"][:] = arm.collision[:7], arm.collision[7:]
        wrench = arm.external_wrench
        field["O_F_ext_hat_K"][:] = wrench
        # Poses are written column by column, so that reading them row by row gives the inverse rotations.
        to_frame = field["EE_T_K"].reshape(4, 4)[:3, :3] @ field["O_T_EE"].reshape(4, 4)[:3, :3]
        field["K_F_ext_hat_K"][:3], field["K_F_ext_hat_K"][3:] = to_frame @ wrench[:3], to_frame @ wrench[3:]
