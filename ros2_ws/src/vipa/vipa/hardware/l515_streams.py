"""Where an L515's framesets come from: the sensors of a device, or a recording. Both offer the same few calls."""

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

from vipa.errors import HardwareError
from vipa.hardware.l515_config import VISUAL_PRESETS, L515Config

_log = logging.getLogger(__name__)

# Framesets that wait for a reader; the reader takes all of them and keeps the newest.
_QUEUE_SIZE = 4
_LAST_FRAMES_S = 0.1


class FrameStream(Protocol):
    """Started depth and colour streams of one camera."""

    device: Any
    depth_profile: Any
    color_profile: Any

    @property
    def finished(self) -> bool:
        """No frame will ever come again, and all have been taken."""
        ...

    def is_dated(self, frame: Any) -> bool:
        """Whether the frame's time stamp is on the computer's clock."""
        ...

    def wait(self, time_out_s: float) -> Any | None:
        """The next frameset, complete or not; None on time-out."""
        ...

    def poll(self) -> Any | None:
        """The next frameset that is already there."""
        ...

    def close(self) -> None:
        """Stop streaming and let go of the device."""
        ...


class DeviceStream:
    """Depth and colour through the sensors of a device, paired by a syncer.

    Works on this level, below rs2 pipelines, because pipelines accept no software devices; a camera on USB does the
    same through both.

    Raises:
        HardwareError: the device lacks a stream that the configuration asks for.
        RuntimeError: librealsense could not open the device.
    """

    finished = False

    def __init__(self, rs: Any, where: str, device: Any, config: L515Config) -> None:
        self._rs = rs
        self.device = device
        self._syncer: Any = rs.syncer(_QUEUE_SIZE)
        self._opened: list[Any] = []
        depth_sensor, self.depth_profile = _find_profile(rs, where, device, "depth", config)
        color_sensor, self.color_profile = _find_profile(rs, where, device, "color", config)
        _set_options(rs, where, depth_sensor, color_sensor, config)
        try:
            for sensor, profile in ((depth_sensor, self.depth_profile), (color_sensor, self.color_profile)):
                sensor.open(profile)
                self._opened.append(sensor)
            for sensor in self._opened:
                sensor.start(self._syncer)
        except RuntimeError:
            self.close()
            raise

    def is_dated(self, frame: Any) -> bool:
        """Whether the stamp is on the computer's clock; until librealsense has matched the clocks it is not."""
        return frame.get_frame_timestamp_domain() != self._rs.timestamp_domain.hardware_clock

    def wait(self, time_out_s: float) -> Any | None:
        """The next frameset, complete or not; None on time-out."""
        arrived, frameset = self._syncer.try_wait_for_frames(_milliseconds(time_out_s))
        return frameset if arrived else None

    def poll(self) -> Any | None:
        """The next frameset that is already there."""
        frameset = self._syncer.poll_for_frames()
        return frameset if frameset.size() else None

    def close(self) -> None:
        """Stop and close the sensors, also those of a device that has gone."""
        for sensor in self._opened:
            for step in (sensor.stop, sensor.close):
                _attempt(step)
        self._opened = []


class BagStream:
    """Depth and colour of a recording, played once and in real time by an rs2 pipeline.

    Raises:
        RuntimeError: the file is no recording.
        HardwareError: the recording lacks depth or colour in a usable format.
    """

    def __init__(self, rs: Any, where: str, config: L515Config) -> None:
        self._playback_stopped = rs.playback_status.stopped
        self._finished = False
        settings = rs.config()
        settings.enable_device_from_file(str(config.bag), repeat_playback=False)
        self._pipeline: Any = rs.pipeline()
        started = self._pipeline.start(settings)
        self.device = started.get_device()
        self._playback = self.device.as_playback()
        profiles = {(p.stream_type(), p.format()): p for p in started.get_streams()}
        try:
            self.depth_profile = profiles[rs.stream.depth, rs.format.z16]
            self.color_profile = profiles[rs.stream.color, rs.format.rgb8]
        except KeyError:
            held = ", ".join(sorted(f"{p.stream_name()} {p.format().name}" for p in profiles.values())) or "nothing"
            self.close()
            raise HardwareError(f"{where}: {config.bag} holds {held}; record depth as z16 and colour as rgb8") from None

    @property
    def finished(self) -> bool:
        """The recording has been played to its end and every frame of it was taken."""
        return self._finished

    def is_dated(self, frame: Any) -> bool:
        """A recording's stamps are taken as they are."""
        return True

    def wait(self, time_out_s: float) -> Any | None:
        """The next frameset, complete or not; None on time-out, after 0.1 s at the latest, and at the end."""
        ended = self._playback.current_status() == self._playback_stopped
        # The end shows in the status, not in a frame, so that no wait is long; and once the status tells of the end,
        # the last frames may still be on their way through the pipeline.
        wait_s = _LAST_FRAMES_S if ended else min(time_out_s, _LAST_FRAMES_S)
        arrived, frameset = self._pipeline.try_wait_for_frames(_milliseconds(wait_s))
        self._finished = ended and not arrived
        return frameset if arrived else None

    def poll(self) -> Any | None:
        """The next frameset that is already there."""
        frameset = self._pipeline.poll_for_frames()
        return frameset if frameset.size() else None

    def close(self) -> None:
        """Stop the playback."""
        _attempt(self._pipeline.stop)


def _milliseconds(time_out_s: float) -> int:
    return max(1, math.ceil(time_out_s * 1000))


def _attempt(step: Callable[[], Any]) -> None:
    try:
        step()
    except RuntimeError as error:  # a device that has gone, or was never started, cannot be stopped any more
        _log.debug("closing a camera: %s", error)


def _find_profile(rs: Any, where: str, device: Any, stream: str, config: L515Config) -> tuple[Any, Any]:
    width, height = config.depth_size if stream == "depth" else config.color_size
    pixel_format = rs.format.z16 if stream == "depth" else rs.format.rgb8
    offered: set[str] = set()
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.stream_type() != getattr(rs.stream, stream) or profile.format() != pixel_format:
                continue
            video = profile.as_video_stream_profile()
            if (video.width(), video.height(), video.fps()) == (width, height, config.frame_rate):
                return sensor, profile
            offered.add(f"{video.width()}x{video.height()} at {video.fps()} Hz")
    raise HardwareError(
        f"{where}: L515 {config.serial} has no {stream} stream of {width}x{height} at {config.frame_rate} Hz;"
        f" it offers: {', '.join(sorted(offered)) or 'none'}. Set {stream}_size and frame_rate, and use a USB 3 port"
    )


def _set_options(rs: Any, where: str, depth_sensor: Any, color_sensor: Any, config: L515Config) -> None:
    # The preset comes first: setting it overwrites the laser power.
    wanted: list[tuple[Any, Any, float]] = [(depth_sensor, rs.option.visual_preset, VISUAL_PRESETS[config.preset])]
    if config.laser_power is not None:
        wanted.append((depth_sensor, rs.option.laser_power, config.laser_power))
    wanted += [(sensor, rs.option.global_time_enabled, 1) for sensor in (depth_sensor, color_sensor)]
    for sensor, option, value in wanted:
        if sensor.supports(option):
            sensor.set_option(option, value)
        else:
            _log.warning(
                "%s: its %s has no option %s; left out", where, sensor.get_info(rs.camera_info.name), option.name
            )
