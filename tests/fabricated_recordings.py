"""Small recordings for tests: one camera of few pixels, all message types defined here or installed."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vipa.benchmarks.synthetic_robot import NS, Sample, SyntheticRobot, SyntheticRobotConfig
from vipa.recording.bag import Episode, mcap_name
from vipa.recording.config import MEGABYTE, RecorderConfig
from vipa.recording.definitions import SEPARATOR
from vipa.recording.mcap_file import McapFile
from vipa.recording.recorder import Recorder
from vipa.recording.store import RecordingStore
from vipa.recording.topics import Topic

START_NS = 5 * NS
SMALL = RecorderConfig(minimum_free=MEGABYTE, minimum_free_to_start=2 * MEGABYTE, reserve=100_000)
_HEADER = (
    "std_msgs/Header header\n{fields}\n" + SEPARATOR + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\n"
    "string frame_id\n" + SEPARATOR + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec"
)
DEFINITIONS = {
    name: _HEADER.format(fields=fields)
    for name, fields in {
        "vipa_msgs/msg/TrialEvent": "string trial\nstring event\nstring sub_task\nstring detail",
        "sensor_msgs/msg/Image": (
            "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data"
        ),
        "sensor_msgs/msg/CompressedImage": "string format\nuint8[] data",
        "sensor_msgs/msg/JointState": "string[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort",
    }.items()
} | {"std_msgs/msg/String": "string data"}
INSTRUCTION = Topic("/policy/instruction", "std_msgs/msg/String", reliable=True, latched=True)


def small_robot(cameras: tuple[str, ...] = ("front",), size: tuple[int, int] = (24, 32)) -> SyntheticRobot:
    """A synthetic robot with tiny images."""
    return SyntheticRobot(SyntheticRobotConfig(cameras=cameras, height=size[0], width=size[1]))


def samples(robot: SyntheticRobot, seconds: float, start_ns: int = START_NS) -> Iterator[Sample]:
    """The robot's messages of some seconds."""
    return itertools.takewhile(lambda s: s.time_ns < start_ns + seconds * NS, robot.samples(start_ns))


def new_recorder(
    folder: Path, robot: SyntheticRobot | None = None, attachments: Mapping[str, bytes] | None = None, **changes: Any
) -> Recorder:
    """A recorder into ``folder`` with small limits; ``changes`` are of its configuration."""
    robot = robot or small_robot()
    topics = (*robot.topics, INSTRUCTION)
    return Recorder(RecordingStore(folder), topics, replace(SMALL, **changes), attachments or {}, DEFINITIONS)


def record(
    recorder: Recorder, robot: SyntheticRobot, seconds: float = 0.5, instruction: str = "wipe the board"
) -> Episode:
    """A whole episode, as fast as it goes."""
    recorder.start(instruction, START_NS)
    feed(recorder, robot, seconds)
    return recorder.stop("", START_NS + round(seconds * NS))


def feed(recorder: Recorder, robot: SyntheticRobot, seconds: float, start_ns: int = START_NS) -> None:
    """Give the recorder the robot's messages."""
    for sample in samples(robot, seconds, start_ns):
        recorder.put(sample.topic, sample.payload, sample.time_ns)


def file_of(folder: Path, name: str = "episode_000001") -> Path:
    """The MCAP file of an episode."""
    return folder / name / mcap_name(name)


def write_chunks(path: Path, chunks: int, seed: int = 0, per_chunk: int = 5) -> list[int]:
    """A finished file with ``chunks`` chunks of text messages; where each chunk's record ends."""
    rng = random.Random(seed)
    file = McapFile(path)
    file.add_metadata("vipa", {"instruction": "wipe the board"})
    file.add_attachment("lab.yaml", "application/yaml", b"name: test\n", START_NS)
    channels = [file.add_channel(f"/topic{i}", "std_msgs/msg/String", "string data", {}) for i in range(3)]
    ends: list[int] = []
    number = 0
    for _ in range(chunks):
        for _ in range(per_chunk):
            file.add_message(rng.choice(channels), START_NS + number, rng.randbytes(rng.randint(5, 60)))
            number += 1
        file.close_chunk()
        index = file.index.chunks[-1]
        ends.append(index.chunk_start_offset + index.chunk_length)
    file.finish()
    return ends
