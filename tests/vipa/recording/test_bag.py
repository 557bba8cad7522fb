"""An episode's folder is a rosbag2: read with ``rosbags`` and with what rosbag2 itself asks of ``metadata.yaml``."""

from collections import Counter

import pytest
import yaml
from fabricated_recordings import INSTRUCTION, START_NS, file_of, new_recorder, record, samples, small_robot
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vipa.errors import ConfigurationError
from vipa.recording.bag import custom_data, read_bag
from vipa.recording.cdr import CdrWriter
from vipa.recording.recovery import complete


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    robot = small_robot()
    recorder = new_recorder(folder, robot)
    recorder.put(INSTRUCTION, CdrWriter().string("wipe").payload, START_NS)
    record(recorder, robot, 0.5, instruction='wipe: the "board", it\'s\nwhite ✓')
    recorder.close(START_NS)
    return folder


def read(folder):
    counts: Counter[str] = Counter()
    decoded = {}
    with Reader(folder / "episode_000001") as reader:
        store = get_typestore(Stores.EMPTY)
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        for connection, time_ns, raw in reader.messages():
            counts[connection.topic] += 1
            decoded[connection.topic] = (time_ns, store.deserialize_cdr(raw, connection.msgtype))
    return counts, decoded


def test_rosbags_reads_every_message(folder):
    counts, decoded = read(folder)
    assert counts == {
        "/recorder/events": 2,
        "/policy/instruction": 1,
        "/camera/front/color/image_raw/compressed": 15,
        "/camera/front/depth/image_rect_raw": 15,
        "/joint_states": 50,
    }
    newest = list(samples(small_robot(), 0.5))[-1]
    time_ns, state = decoded["/joint_states"]
    assert time_ns == newest.time_ns
    assert len(state.position) == len(state.name) == 7
    assert decoded["/policy/instruction"][1].data == "wipe"
    assert decoded["/camera/front/depth/image_rect_raw"][1].encoding == "16UC1"


def test_rosbags_reads_a_recovered_episode(folder, tmp_path):
    robot = small_robot()
    recorder = new_recorder(tmp_path, robot)
    record(recorder, robot, 0.3)
    recorder.close(START_NS)
    metadata = (tmp_path / "episode_000001" / "metadata.yaml").read_text()
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    complete(path)
    (tmp_path / "episode_000001" / "metadata.yaml").write_text(metadata)
    assert read(tmp_path)[0]["/joint_states"] == 30


def test_times_and_counts(folder):
    information = yaml.safe_load((folder / "episode_000001" / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]
    with Reader(folder / "episode_000001") as reader:
        assert reader.message_count == information["message_count"] == 83
        assert reader.start_time == START_NS
        assert reader.duration == information["duration"]["nanoseconds"] + 1
        assert {c.topic: c.msgcount for c in reader.connections} == {
            t["topic_metadata"]["name"]: t["message_count"] for t in information["topics_with_message_count"]
        }
    assert information["files"] == [
        {
            "path": "episode_000001_0.mcap",
            "starting_time": {"nanoseconds_since_epoch": START_NS},
            "duration": {"nanoseconds": 500_000_000},
            "message_count": 83,
        }
    ]


def test_the_keys_that_rosbag2_reads_are_there_with_its_types(folder):
    """Those of ``rosbag2_storage/yaml.hpp`` for version 6."""
    text = (folder / "episode_000001" / "metadata.yaml").read_text()
    assert "&id" not in text  # no references
    information = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert information["version"] == 6
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["episode_000001_0.mcap"]
    assert (information["compression_format"], information["compression_mode"]) == ("", "")
    assert all(isinstance(value, str) for value in information["custom_data"].values())
    for topic in information["topics_with_message_count"]:
        assert set(topic) == {"topic_metadata", "message_count"}
        assert set(topic["topic_metadata"]) == {"name", "type", "serialization_format", "offered_qos_profiles"}
        assert topic["topic_metadata"]["serialization_format"] == "cdr"
        assert isinstance(topic["topic_metadata"]["offered_qos_profiles"], str)


def test_the_quality_of_service_is_that_of_the_publishers(folder):
    with Reader(folder / "episode_000001") as reader:
        found = {}
        for connection in reader.connections:
            (qos,) = connection.ext.offered_qos_profiles
            found[connection.topic] = (qos.reliability, qos.durability)
    assert found["/joint_states"] == (QosReliability.RELIABLE, QosDurability.VOLATILE)
    assert found["/camera/front/depth/image_rect_raw"] == (QosReliability.BEST_EFFORT, QosDurability.VOLATILE)
    assert found["/policy/instruction"] == (QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)


def test_what_vipa_says_of_an_episode_is_read_back(folder):
    episode = read_bag(folder / "episode_000001")
    assert episode.instruction == 'wipe: the "board", it\'s\nwhite ✓'
    with Reader(folder / "episode_000001") as reader:
        assert reader.storage.metadata.custom == custom_data(episode)


@pytest.mark.parametrize(("old", "new"), [
    ("outcome: ''", "outcome: splendid"), ("custom_data:", "other_data:"), ("recovered: 'false'", ""),
    ("dropped: '{}'", "dropped: '['"), ("message_count: 83", "message_count: many"),
    ("- episode_000001_0.mcap", "- missing.mcap"),
])  # fmt: skip
def test_another_programs_metadata_is_refused_with_its_path(folder, tmp_path, old, new):
    text = (folder / "episode_000001" / "metadata.yaml").read_text()
    assert old in text
    (tmp_path / "metadata.yaml").write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/metadata.yaml"):
        read_bag(tmp_path)
