"""What a laboratory can choose about teleoperation."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TeleopConfig:
    """Limits of the target that the operator moves, and the chunks that are made of it.

    Attributes:
        linear_speed, linear_acceleration: m/s, m/s^2 that the target never exceeds.
        angular_speed, angular_acceleration: rad/s, rad/s^2 that it never exceeds.
        hand_speed: full strokes a second.
        response: s in which the velocity comes near what is wanted, where the acceleration allows it.
        stale: s without a command after which the target stops.
        pose_scale: m that the target moves per m of the operator's hand; rotations are not scaled.
        tether, tether_rotation: m, rad; further from the arm the target begins anew where the arm is.
        workspace_margin: m inside the gate's workspace where the target stops.
        chunk_period: s between two chunks while the target moves.
        step_period, horizon: of a chunk; long enough for the target to come to rest within it.
    """

    linear_speed: float = 0.25
    linear_acceleration: float = 1.0
    angular_speed: float = 1.0
    angular_acceleration: float = 4.0
    hand_speed: float = 1.5
    response: float = 0.04
    stale: float = 0.15
    pose_scale: float = 1.0
    tether: float = 0.08
    tether_rotation: float = 0.4
    workspace_margin: float = 0.005
    chunk_period: float = 0.05
    step_period: float = 0.05
    horizon: int = 14

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: {value} is not positive")
        if self.horizon * self.step_period < self.stopping_time:
            raise ValueError(
                f"horizon: {self.horizon} steps of {self.step_period} s are shorter than "
                f"the {self.stopping_time:.2f} s in which the target comes to rest"
            )

    @property
    def stopping_time(self) -> float:
        """S from the last command to rest, at most."""
        braking = max(self.linear_speed / self.linear_acceleration, self.angular_speed / self.angular_acceleration)
        return self.stale + braking + 5.0 * self.response
