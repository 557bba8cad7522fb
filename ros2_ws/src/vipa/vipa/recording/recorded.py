"""Reads a recorded episode: states, commands, events and where its frames are; pictures are read later, in order."""

import contextlib
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from numpy.typing import NDArray

from vipa.config import from_mapping
from vipa.errors import ConfigurationError, VipaError
from vipa.lab import LabConfig
from vipa.recording.bag import Episode, mcap_name, read_bag
from vipa.recording.cdr import CdrError, CdrReader
from vipa.recording.commanded import CommandedHand, CommandedJoints, Window
from vipa.recording.images import COMPRESSED_TYPE, IMAGE_TYPE
from vipa_inference.rotations import matrix_from_quaternion

Array = NDArray[np.float64]
Times = NDArray[np.int64]
COLOR = re.compile(r"/camera/(?P<name>[^/]+)/color/image_raw(/compressed)?")
STATES = ("/fr3/state", "/hand/state", "/fr3/joint_trajectory", "/hand/joint_trajectory")
EVENTS = ("/recorder/events", "/trial/events", "/policy/action_chunk")


@dataclass(frozen=True)
class Camera:
    """The colour frames of one camera."""

    topic: str
    exposures_ns: Times  # (N,) increasing


@dataclass(frozen=True)
class Moment:
    """Something that was noted: kind ("sub_task", "succeeded", "started", ...) and text."""

    time_ns: int
    kind: str
    text: str
    trial: str = ""


@dataclass
class RecordedEpisode:
    """What is in an episode's file.

    Attributes:
        folder: of the episode.
        bag: what ``metadata.yaml`` says.
        lab: as it was when it was recorded; None where it was not attached.
        cameras: by name.
        arm_ns: (A,) of the arm's states, increasing.
        joints: (A, 7) rad.
        poses: (A, 4, 4) end effector in the base frame, m.
        hand_ns: (B,) of the hand's states, increasing.
        hand: (B, 6) positions, 0 closed to 1 open.
        commanded_joints: None where the arm was never told anything.
        commanded_hand: None where the hand was not.
        moments: in order.
        policy: that was heard last.
    """

    folder: Path
    bag: Episode
    lab: LabConfig | None
    cameras: dict[str, Camera]
    arm_ns: Times
    joints: Array
    poses: Array
    hand_ns: Times
    hand: Array
    commanded_joints: CommandedJoints | None = None
    commanded_hand: CommandedHand | None = None
    moments: tuple[Moment, ...] = ()
    policy: str = ""


@dataclass
class _Collected:
    exposures: dict[str, set[int]]
    arm: dict[int, tuple[Any, Any]] = field(default_factory=dict[int, tuple[Any, Any]])
    hand: dict[int, Any] = field(default_factory=dict[int, Any])
    windows: list[Window] = field(default_factory=list[Window])
    hand_targets: dict[int, Any] = field(default_factory=dict[int, Any])
    moments: list[Moment] = field(default_factory=list[Moment])
    policy: str = ""


def read_recorded(folder: Path) -> RecordedEpisode:
    """Read an episode that has ended.

    Raises:
        VipaError: it has not ended, or its file is missing or damaged.
    """
    bag = read_bag(folder)
    with open_episode(folder) as reader:
        lab = _lab(reader, folder)
        topics = _camera_topics(reader)
        found = _Collected({name: set() for name in topics})
        names = {topic: name for name, topic in topics.items()}
        for schema, channel, message in reader.iter_messages(topics=[*STATES, *EVENTS, *names]):
            if channel.topic in names:
                with contextlib.suppress(CdrError):  # not an image: the frame counts as missing
                    found.exposures[names[channel.topic]].add(CdrReader(message.data).stamp_ns())
            else:
                decoder = message_decoder(channel.message_encoding, schema)
                _take(found, channel.topic, decoder(message.data))
    exposures = {name: np.array(sorted(stamps), dtype=np.int64) for name, stamps in found.exposures.items()}
    arm = sorted(found.arm.items())
    hand = sorted(found.hand.items())
    targets = sorted(found.hand_targets.items())
    told = CommandedHand(np.array([t for t, _ in targets]), np.array([v for _, v in targets])) if targets else None
    return RecordedEpisode(
        folder,
        bag,
        lab,
        {name: Camera(topics[name], stamps) for name, stamps in exposures.items()},
        arm_ns=np.array([time for time, _ in arm], dtype=np.int64),
        joints=np.array([joints for _, (joints, _) in arm], dtype=np.float64).reshape(-1, 7),
        poses=_poses([pose for _, (_, pose) in arm]),
        hand_ns=np.array([time for time, _ in hand], dtype=np.int64),
        hand=np.array([positions for _, positions in hand], dtype=np.float64).reshape(-1, 6),
        commanded_joints=CommandedJoints(found.windows) if found.windows else None,
        commanded_hand=told,
        moments=tuple(sorted(found.moments, key=lambda moment: moment.time_ns)),
        policy=found.policy,
    )


@contextlib.contextmanager
def open_episode(folder: Path) -> Generator[Any]:
    """A reader of an episode's file, from the package ``mcap``.

    Raises:
        VipaError: the file is missing or damaged.
    """
    path = folder / mcap_name(folder.name)
    try:
        with path.open("rb") as stream:
            yield make_reader(stream, validate_crcs=True)
    except OSError as error:
        raise VipaError(f"{path}: cannot be read: {error.strerror}") from None
    except McapError as error:
        raise VipaError(f"{path}: damaged: {error}. Recover it with: vipa record recover {folder.parent}") from None


_decoders: dict[tuple[str, bytes], Any] = {}


def message_decoder(encoding: str, schema: Any) -> Any:
    """What decodes the messages of a channel."""
    key = schema.name, schema.data
    if key not in _decoders:
        # A factory knows schemas by their number, which is another one in each file.
        _decoders[key] = DecoderFactory().decoder_for(encoding, schema)
    return _decoders[key]


def _take(found: _Collected, topic: str, message: Any) -> None:
    if topic == "/policy/action_chunk":
        found.policy = str(message.policy)
        return
    time_ns = _ns(message.header.stamp)
    if topic == "/fr3/state":
        found.arm[time_ns] = message.joint_positions, message.end_effector_pose
    elif topic == "/hand/state":
        if message.connected and np.isfinite(message.positions).all():
            found.hand[time_ns] = message.positions
    elif topic == "/fr3/joint_trajectory":
        if message.points:
            found.windows.append(_window(time_ns, message.points))
    elif topic == "/hand/joint_trajectory":
        for point in message.points[:1]:
            found.hand_targets[time_ns] = point.positions
    else:
        found.moments.append(Moment(time_ns, message.event, message.sub_task or message.detail, message.trial))


def _window(start_ns: int, points: Sequence[Any]) -> Window:
    times = [point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in points]
    positions = np.array([point.positions for point in points], dtype=np.float64)
    velocities = [point.velocities if len(point.velocities) else [0.0] * positions.shape[1] for point in points]
    return Window(start_ns, np.array(times), positions, np.array(velocities, dtype=np.float64))


def _camera_topics(reader: Any) -> dict[str, str]:
    """The topics of colour images, by camera."""
    summary = reader.get_summary()
    schemas = {schema.id: schema.name for schema in summary.schemas.values()}
    found: dict[str, str] = {}
    for channel in summary.channels.values():
        match = COLOR.fullmatch(channel.topic)
        if match is not None and schemas.get(channel.schema_id) in (IMAGE_TYPE, COMPRESSED_TYPE):
            found[match["name"]] = channel.topic
    return dict(sorted(found.items()))


def _lab(reader: Any, folder: Path) -> LabConfig | None:
    for attachment in reader.iter_attachments():
        if attachment.name == "lab.yaml":
            try:
                return from_mapping(LabConfig, cast(object, yaml.safe_load(attachment.data)))
            except (yaml.YAMLError, ConfigurationError) as error:
                text = " ".join(str(error).split())
                raise VipaError(f"{folder.name}: its lab.yaml cannot be read: {text}. Name one with --lab") from None
    return None


def _poses(messages: Sequence[Any]) -> Array:
    poses = np.tile(np.eye(4), (len(messages), 1, 1))
    if messages:
        poses[:, :3, 3] = [(m.position.x, m.position.y, m.position.z) for m in messages]
        turns = [(m.orientation.x, m.orientation.y, m.orientation.z, m.orientation.w) for m in messages]
        poses[:, :3, :3] = matrix_from_quaternion(np.array(turns))
    return poses


def _ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
