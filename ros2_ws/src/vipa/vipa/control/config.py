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
    hand_age_limit: float = 0.06  # s; an older reading of the hand, of which there are 50 Hz, stops the arm
    inference_period: float = 0.1  # s at least between two inferences of the policy; 0: one for every new frame
    observation_age_limit: float = 0.6  # s; the arm is stopped where the newest chunk is from an older observation
    trajectory_time_out: float = 0.15  # s without a further trajectory, after which the arm driver stops the arm

    def __post_init__(self) -> None:
        if not 0.0 <= self.inference_period < self.observation_age_limit:
            raise ValueError(
                f"inference_period: {self.inference_period} is not between 0 and observation_age_limit, "
                f"{self.observation_age_limit}: the arm would stop between two chunks"
            )
