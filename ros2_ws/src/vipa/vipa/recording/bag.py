"""``metadata.yaml`` of a rosbag2 folder: what rosbag2 needs to play an episode, and what VIPA says of it.

Version 6 of the format is read by rosbag2 of Humble and of Jazzy; what is VIPA's own is under ``custom_data``.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from vipa.config import read_yaml
from vipa.errors import ConfigurationError
from vipa.recording.summary import FileIndex
from vipa.recording.topics import Topic
from vipa.trials.journal import write_durably

FILE_NAME = "metadata.yaml"
VERSION = 6
QOS_KEY = "offered_qos_profiles"  # in the metadata of an MCAP channel, and here
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_INFINITE = {"sec": 9223372036, "nsec": 854775807}
Outcome = Literal["", "success", "failure"]


@dataclass(frozen=True)
class Episode:
    """An episode that has ended.

    Attributes:
        name: of its folder.
        instruction: what the robot was told to do.
        outcome: what the operator said; empty: nothing.
        ended: why it ended: "stopped", "cut off", or one line about what went wrong.
        duration: s of ROS time from the first message to the last.
        messages: number of messages.
        frames: number of images of each topic.
        dropped: messages that did not fit into the queue, per topic.
        file_size: bytes.
        warnings: one line each.
        recovered: it was cut off, and completed later.
    """

    name: str
    instruction: str = ""
    outcome: Outcome = ""
    ended: str = "stopped"
    duration: float = 0.0
    messages: int = 0
    frames: dict[str, int] = field(default_factory=dict[str, int])
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    file_size: int = 0
    warnings: tuple[str, ...] = ()
    recovered: bool = False


def mcap_name(episode: str) -> str:
    """The name of the file in an episode's folder, as rosbag2 would choose it."""
    return f"{episode}_0.mcap"


def qos_text(topic: Topic) -> str:
    """A topic's quality of service as rosbag2 writes it up to version 8 (numbers of ``rmw/types.h``)."""
    profile: dict[str, Any] = {
        "history": 1,  # keep last
        "depth": 10,
        "reliability": 1 if topic.reliable else 2,
        "durability": 1 if topic.latched else 2,  # transient local, volatile
        "deadline": dict(_INFINITE),
        "lifespan": dict(_INFINITE),
        "liveliness": 1,  # automatic
        "liveliness_lease_duration": dict(_INFINITE),
        "avoid_ros_namespace_conventions": False,
    }
    return yaml.safe_dump([profile], sort_keys=False)


def frames_of(index: FileIndex) -> dict[str, int]:
    """How many images each topic has."""
    names = {schema.id: schema.name for schema in index.schemas.values()}
    return {
        channel.topic: index.counts.get(channel.id, 0)
        for channel in index.channels.values()
        if names.get(channel.schema_id) in IMAGE_TYPES
    }


def write_bag(folder: Path, index: FileIndex, episode: Episode) -> None:
    """Write ``metadata.yaml``; from then on the episode counts as finished.

    Raises:
        VipaError: it cannot be written.
    """
    duration = {"nanoseconds": index.end_ns - index.start_ns}
    start = {"nanoseconds_since_epoch": index.start_ns}
    file = {"path": mcap_name(episode.name), "starting_time": start, "duration": duration}
    schemas = {schema.id: schema.name for schema in index.schemas.values()}
    topics = [
        {
            "topic_metadata": {
                "name": channel.topic,
                "type": schemas[channel.schema_id],
                "serialization_format": channel.message_encoding,
                QOS_KEY: channel.metadata.get(QOS_KEY, ""),
            },
            "message_count": index.counts.get(channel.id, 0),
        }
        for channel in index.channels.values()
    ]
    information = {
        "version": VERSION,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": start,
        "message_count": index.message_count,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [mcap_name(episode.name)],
        "files": [file | {"message_count": index.message_count}],
        "custom_data": custom_data(episode),
    }
    text = yaml.dump({"rosbag2_bagfile_information": information}, Dumper=_PlainDumper, sort_keys=False)
    write_durably(folder / FILE_NAME, text)


def custom_data(episode: Episode) -> dict[str, str]:
    """What VIPA says of an episode, as text."""
    return {
        "instruction": episode.instruction,
        "outcome": episode.outcome,
        "ended": episode.ended,
        "dropped": json.dumps(episode.dropped),
        "warnings": json.dumps(episode.warnings, ensure_ascii=False),
        "recovered": "true" if episode.recovered else "false",
    }


def read_bag(folder: Path) -> Episode:
    """What ``write_bag`` wrote.

    Raises:
        ConfigurationError: there is no ``metadata.yaml``, or it is not one of VIPA's.
    """
    path = folder / FILE_NAME
    content = read_yaml(path)
    try:
        information = content["rosbag2_bagfile_information"]
        custom = information["custom_data"]
        if custom["outcome"] not in get_args(Outcome):
            raise ValueError(f"outcome {custom['outcome']!r}")
        topics = [(t["topic_metadata"]["name"], t["topic_metadata"]["type"], int(t["message_count"]))
                  for t in information["topics_with_message_count"]]  # fmt: skip
        return Episode(
            name=folder.name,
            instruction=str(custom["instruction"]),
            outcome=custom["outcome"],
            ended=str(custom["ended"]),
            duration=information["duration"]["nanoseconds"] * 1e-9,
            messages=int(information["message_count"]),
            frames={name: count for name, kind, count in topics if kind in IMAGE_TYPES},
            dropped={str(k): int(v) for k, v in json.loads(custom["dropped"]).items()},
            file_size=sum((folder / name).stat().st_size for name in information["relative_file_paths"]),
            warnings=tuple(json.loads(custom["warnings"])),
            recovered=custom["recovered"] == "true",
        )
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.filename}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path}: not written by VIPA's recorder: {error!r}") from None


class _PlainDumper(yaml.SafeDumper):
    """Writes the same object twice instead of a reference to it: rosbag2's reader knows no references."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True
