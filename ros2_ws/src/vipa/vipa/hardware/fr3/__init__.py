"""Driver of the Franka Research 3 arm."""

from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.driver import FR3
from vipa.hardware.fr3.state import ArmMode, ArmReading
from vipa.hardware.fr3.trajectory import JointTrajectory, Verdict

__all__ = ["FR3", "ArmMode", "ArmReading", "FR3Config", "JointTrajectory", "Verdict"]
