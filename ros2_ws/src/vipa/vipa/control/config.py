"""Configuration of the controller: the scheduler, the gate and the loop around them."""

from dataclasses import dataclass, field

from vipa.control.gate import GateConfig
from vipa.control.kinematics import KinematicsConfig
from vipa.control.schedule import ScheduleConfig


@dataclass(frozen=True)
class ControlConfig:
    """The controller of one laboratory."""

    gate: GateConfig = field(default_factory=GateConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    kinematics: KinematicsConfig = field(default_factory=KinematicsConfig)
    rate: float = 100.0  # Hz of the control loop
    resend: float = 0.05  # s between two trajectories to the arm while a plan runs
    state_age_limit: float = 0.1  # s; an older arm state stops the arm
