"""A robot that is not there: the messages of two cameras and a state, for measuring and testing the recorder."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.recording.cdr import CdrWriter, image_payload
from vipa.recording.topics import Topic

VARIANTS = 6  # different images of each stream
NS = 1_000_000_000
JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
STATE = Topic("/joint_states", "sensor_msgs/msg/JointState", reliable=True)


@dataclass(frozen=True)
class SyntheticRobotConfig:
    """Cameras, rates and sizes."""

    cameras: tuple[str, ...] = ("front", "side")
    frame_rate: float = 30.0  # Hz
    state_rate: float = 100.0  # Hz
    height: int = 480
    width: int = 640
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """One message, due at ``time_ns``, whose header has this time, too."""

    topic: Topic
    time_ns: int
    payload: bytes


class SyntheticRobot:
    """Gives the messages in the order of their times.

    Colour is a shaded scene with sensor noise; depth has noise and holes as an L515's, in units of 0.25 mm. Both are
    harder to compress than rendered images.
    """

    def __init__(self, config: SyntheticRobotConfig) -> None:
        self.config = config
        self._images = self._draw(np.random.default_rng(config.seed))

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics."""
        return (*self._images, STATE)

    def samples(self, start_ns: int) -> Iterator[Sample]:
        """The messages from ``start_ns`` on, for ever."""
        frame, state = 0, 0
        while True:
            frame_ns = start_ns + round(frame / self.config.frame_rate * NS)
            state_ns = start_ns + round(state / self.config.state_rate * NS)
            if state_ns < frame_ns:
                yield Sample(STATE, state_ns, _joint_state(state_ns, state))
                state += 1
                continue
            for topic, variants in self._images.items():
                yield Sample(topic, frame_ns, _stamped(variants[frame % VARIANTS], frame_ns))
            frame += 1

    def _draw(self, rng: np.random.Generator) -> dict[Topic, list[bytes]]:
        config = self.config
        y, x = np.mgrid[0 : config.height, 0 : config.width].astype(np.float64)
        shading = (120 + 60 * np.sin(x / 90), 100 + 50 * np.cos(y / 70), 90 + 40 * np.sin((x + y) / 120))
        color = np.stack(shading, axis=-1)
        depth = 3200 + 800 * np.sin(x / 150) + 3 * y
        top, left = config.height // 3, config.width // 3
        color[top : 2 * top, left : 2 * left], depth[top : 2 * top, left : 2 * left] = (200, 40, 30), 2400
        images: dict[Topic, list[bytes]] = {}
        for name in config.cameras:
            topic = Topic(f"/camera/{name}/color/image_raw", "sensor_msgs/msg/Image")
            images[topic] = [self._payload(name, "rgb8", _noisy_color(color, rng)) for _ in range(VARIANTS)]
            topic = Topic(f"/camera/{name}/depth/image_rect_raw", "sensor_msgs/msg/Image")
            images[topic] = [self._payload(name, "16UC1", _noisy_depth(depth, rng)) for _ in range(VARIANTS)]
        return images

    def _payload(self, camera: str, encoding: str, pixels: NDArray[Any]) -> bytes:
        shape = self.config.height, self.config.width
        return image_payload(0, f"{camera}_color_optical_frame", shape, encoding, pixels.tobytes())


def _noisy_color(color: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(color + rng.normal(0, 4, color.shape), 0, 255).astype(np.uint8)


def _noisy_depth(depth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint16]:
    noisy = np.clip(depth + rng.normal(0, 6, depth.shape), 0, 65535).astype(np.uint16)
    noisy[rng.random(depth.shape) < 0.03] = 0
    return noisy


def _stamped(payload: bytes, time_ns: int) -> bytes:
    """The payload with another time in its header, which follows the four bytes that name the encoding."""
    return payload[:4] + struct.pack("<iI", *divmod(time_ns, NS)) + payload[12:]


def _joint_state(time_ns: int, number: int) -> bytes:
    writer = CdrWriter().header(time_ns, "fr3_link0").unsigned(len(JOINTS))
    for name in JOINTS:
        writer.string(name)
    positions = tuple(float(p) for p in 0.5 * np.sin(0.01 * number + np.arange(len(JOINTS))))
    return writer.doubles(positions).doubles((0.0,) * len(JOINTS)).doubles(()).payload
