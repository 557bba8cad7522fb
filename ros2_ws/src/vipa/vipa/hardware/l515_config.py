"""The settings of one RealSense L515."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Values of rs2_l500_visual_preset; its "default" (1) is refused by the device.
VISUAL_PRESETS = {
    "custom": 0,
    "no_ambient_light": 2,
    "low_ambient_light": 3,
    "max_range": 4,
    "short_range": 5,
    "automatic": 6,
}
Preset = Literal["custom", "no_ambient_light", "low_ambient_light", "max_range", "short_range", "automatic"]


@dataclass(frozen=True)
class L515Config:
    """One camera, or one recording of it; the camera's name is the key above it in the YAML.

    Attributes:
        serial: serial number printed under the camera, e.g. "f0123456"; not needed with a bag.
        color_size: width, height of the colour stream, px.
        depth_size: width, height of the depth stream, px.
        frame_rate: of both streams, Hz.
        preset: visual preset of the laser and the receiver; "short_range" suits a table-top.
        laser_power: 0 to 100, set after the preset, which it turns into a custom one; None keeps the preset's.
        frame_time_out_s: a camera that has been silent for so long counts as lost, s.
        start_time_out_s: the same for the first frame after a start, s.
        recovery_attempts: restarts tried by one recovery; the last of several also resets the hardware.
        temperature_limit: of the laser driver; above it the diagnostics warn, °C.
        bag: a .bag recording to play, once and in real time, instead of a camera; sizes and rate are then its own.
    """

    serial: str = ""
    color_size: tuple[int, int] = (640, 480)
    depth_size: tuple[int, int] = (640, 480)
    frame_rate: int = 30
    preset: Preset = "short_range"
    laser_power: float | None = None
    frame_time_out_s: float = 2.0
    start_time_out_s: float = 5.0
    recovery_attempts: int = 3
    temperature_limit: float = 65.0
    bag: Path | None = None

    def __post_init__(self) -> None:
        if not self.serial and self.bag is None:
            raise ValueError("serial: missing; give the camera's serial number, or a bag to play")
        for key, size in (("color_size", self.color_size), ("depth_size", self.depth_size)):
            if min(size) <= 0:
                raise ValueError(f"{key}: {list(size)} is not a width and a height in pixels")
        if not 1 <= self.frame_rate <= 60:
            raise ValueError(f"frame_rate: {self.frame_rate} Hz is not between 1 and 60")
        if self.preset not in VISUAL_PRESETS:
            raise ValueError(f"preset: {self.preset!r} is not one of {', '.join(VISUAL_PRESETS)}")
        if self.laser_power is not None and not 0 <= self.laser_power <= 100:
            raise ValueError(f"laser_power: {self.laser_power} is not between 0 and 100")
        for key, duration in (("frame_time_out_s", self.frame_time_out_s), ("start_time_out_s", self.start_time_out_s)):
            if not 0 < duration <= 60:
                raise ValueError(f"{key}: {duration} s is not between 0 and 60")
        if not 1 <= self.recovery_attempts <= 10:
            raise ValueError(f"recovery_attempts: {self.recovery_attempts} is not between 1 and 10")
        if not 0 < self.temperature_limit <= 100:
            raise ValueError(f"temperature_limit: {self.temperature_limit} °C is not between 0 and 100")
