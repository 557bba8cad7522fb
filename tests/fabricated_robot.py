"""Recordings of a robot that moves its joints on sines; pictures carry the number of their frame."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fabricated_datasets import numbered_picture
from fabricated_recordings import SMALL
from numpy.typing import NDArray

from vipa.control.kinematics import Kinematics
from vipa.hardware.fr3.robot import flange_pose
from vipa.lab import load_lab
from vipa.recording.bag import Episode
from vipa.recording.cdr import image_payload
from vipa.recording.config import RecorderConfig
from vipa.recording.definitions import load_definitions
from vipa.recording.episode_writer import Beginning, EpisodeWriter
from vipa.recording.events import Event
from vipa.recording.images import COMPRESSED_TYPE
from vipa.recording.messages import (
    FINGER_NAMES,
    JOINT_NAMES,
    arm_state_payload,
    hand_state_payload,
    joint_trajectory_payload,
)
from vipa.recording.snapshot import lab_snapshot
from vipa.recording.store import RecordingStore
from vipa.recording.topics import EVENT_TYPE, recorded_topics

START_NS = 20_000_000_000
LAB = load_lab("simulated")
TOPICS = {topic.name: topic for topic in recorded_topics(LAB)}
KINEMATICS = Kinematics(LAB.control.kinematics, flange_pose(LAB.arm.end_effector_translation, LAB.arm.end_effector_rpy))
REST = np.array(LAB.control.kinematics.rest_posture)
DELAY = 0.04  # s by which the arm follows what it is told
Message = tuple[int, str, bytes]


@dataclass(frozen=True)
class Robot:
    """What is recorded.

    Attributes:
        seconds: of recording; the robot moves in all but the first and last of them.
        rates: Hz of the frames, by camera.
        size: height and width of the pictures.
        keep: which messages are recorded: (topic, s from the start) -> True.
    """

    seconds: float = 4.0
    rates: dict[str, float] = field(default_factory=lambda: {"front": 30.0, "side": 30.0})
    size: tuple[int, int] = (48, 64)
    keep: Callable[[str, float], bool] = lambda _, __: True

    def commanded(self, seconds: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Joints (..., 7) that the arm is told for a time."""
        span = max(self.seconds - 2.0, 1e-9)
        phase = 2 * np.pi * np.clip(np.asarray(seconds) - 1.0, 0.0, span)[..., None] / span
        return REST + 0.1 * (1.0 - np.cos(phase)) * np.linspace(1.0, 0.4, 7)

    def hand(self, seconds: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """What the hand is told."""
        return 0.5 + 0.0 * np.asarray(seconds)[..., None] + 0.3 * np.sin(np.arange(6))

    def messages(self) -> Iterator[Message]:
        """In order of time."""
        found = [message for part in (self._states(), self._commands(), self._frames()) for message in part]
        for time_ns, topic, payload in sorted(found, key=lambda message: message[0]):
            if self.keep(topic, (time_ns - START_NS) * 1e-9):
                yield time_ns, topic, payload

    def _states(self) -> Iterator[Message]:
        for k in range(round(100 * self.seconds)):
            now = k / 100
            joints = self.commanded(now - DELAY)
            speed = (self.commanded(now - DELAY + 1e-4) - joints) / 1e-4
            pose, stamp = KINEMATICS.forward(joints), START_NS + k * 10_000_000
            yield stamp, "/fr3/state", arm_state_payload(stamp, "fr3_link0", joints, speed, pose)
            yield stamp, "/hand/state", hand_state_payload(stamp, self.hand(now), self.hand(now))

    def _commands(self) -> Iterator[Message]:
        """A window every 50 ms, from 20 ms later on, ending at rest."""
        for k in range(16, round(20 * self.seconds)):
            sent, start = k / 20, k / 20 + 0.02
            times = np.arange(20) * 0.05
            positions = self.commanded(start + times)
            speeds = (self.commanded(start + times + 1e-4) - positions) / 1e-4
            stamp, start_ns = START_NS + round(sent * 1e9), START_NS + round(start * 1e9)
            window = joint_trajectory_payload(start_ns, JOINT_NAMES, times, positions, speeds)
            yield stamp, "/fr3/joint_trajectory", window
            hand = joint_trajectory_payload(stamp, FINGER_NAMES, np.zeros(1), self.hand(sent)[None])
            yield stamp, "/hand/joint_trajectory", hand

    def _frames(self) -> Iterator[Message]:
        for camera, rate in self.rates.items():
            for k in range(round(rate * self.seconds)):
                stamp = START_NS + round(k / rate * 1e9)
                payload = image_payload(
                    stamp, f"{camera}_frame", self.size, "rgb8", numbered_picture(k, self.size).data
                )
                yield stamp, f"/camera/{camera}/color/image_raw", payload


def record_robot(
    recordings: Path,
    robot: Robot,
    instruction: str = "wipe the board",
    outcome: str = "success",
    config: RecorderConfig = SMALL,
) -> Episode:
    """A whole recording of the robot."""
    definitions = load_definitions({COMPRESSED_TYPE, EVENT_TYPE, *(topic.type for topic in TOPICS.values())})
    store = RecordingStore(recordings)
    try:
        beginning = Beginning(instruction, START_NS, time.time(), lab_snapshot("simulated", {}))
        writer = EpisodeWriter(store.next_folder(), beginning, config, definitions)
        writer.put_event(Event("started", instruction, writer.name, START_NS))
        for time_ns, topic, payload in robot.messages():
            assert writer.put(TOPICS[topic], payload, time_ns)
        end_ns = START_NS + round(robot.seconds * 1e9)
        writer.put_event(Event("sub_task", "wiped", writer.name, START_NS + 2_000_000_000))
        if outcome:
            writer.put_event(Event("success" if outcome == "success" else "failure", "", writer.name, end_ns))
        return writer.stop()
    finally:
        store.close()
