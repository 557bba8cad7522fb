"""The file: read by the reference reader, whole after every write, unchanged by a write that fails."""

import errno
import os

import pytest
from fabricated_recordings import START_NS, write_chunks
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import NonSeekingReader, make_reader

from vipa.recording import mcap_file
from vipa.recording.mcap_file import McapFile
from vipa.recording.recovery import scan


def messages(path):
    with path.open("rb") as file:
        return [(c.topic, m.log_time, m.data) for _, c, m in make_reader(file, validate_crcs=True).iter_messages()]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000), st.binary(max_size=300)), max_size=6)))
def test_every_message_is_read_back(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("file") / "a.mcap"
    file = McapFile(path)
    channels = [file.add_channel(f"/t{i}", "std_msgs/msg/String", "string data", {"k": str(i)}) for i in range(3)]
    expected = []
    for chunk in chunks:
        for channel, time_ns, data in chunk:
            file.add_message(channels[channel], time_ns, data)
            expected.append((f"/t{channel}", time_ns, data))
        file.close_chunk()
    file.finish()
    assert sorted(messages(path)) == sorted(expected)
    with path.open("rb") as stream:
        in_file_order = [(c.topic, m.log_time, m.data) for _, c, m in
                         NonSeekingReader(stream, validate_crcs=True).iter_messages(log_time_order=False)]  # fmt: skip
    assert in_file_order == expected
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary.statistics.message_count == len(expected)
    assert summary.statistics.chunk_count == sum(bool(chunk) for chunk in chunks)
    if expected:
        times = [time_ns for _, time_ns, _ in expected]
        assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (min(times), max(times))
    assert {c.topic: c.metadata for c in summary.channels.values()} == {f"/t{i}": {"k": str(i)} for i in range(3)}


def test_attachments_and_metadata(tmp_path):
    write_chunks(tmp_path / "a.mcap", 2)
    with (tmp_path / "a.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        (attachment,) = reader.iter_attachments()
        assert (attachment.name, attachment.media_type, attachment.data) == (
            "lab.yaml",
            "application/yaml",
            b"name: test\n",
        )
        (metadata,) = reader.iter_metadata()
        assert (metadata.name, metadata.metadata) == ("vipa", {"instruction": "wipe the board"})


def test_the_last_message_of_a_channel_is_found_by_its_index(tmp_path):
    """The seeking reader uses the message indices; a wrong offset would give another message."""
    write_chunks(tmp_path / "a.mcap", 4)
    everything = messages(tmp_path / "a.mcap")
    with (tmp_path / "a.mcap").open("rb") as stream:
        reader = make_reader(stream)
        for topic in ("/topic0", "/topic1", "/topic2"):
            found = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages(topics=[topic])]
            assert found == [message for message in everything if message[0] == topic]
        late = [m.log_time for _, _, m in reader.iter_messages(starting_at=START_NS + 12)]
        assert late == list(range(START_NS + 12, START_NS + 20))


def test_one_schema_serves_many_channels(tmp_path):
    write_chunks(tmp_path / "a.mcap", 1)
    with (tmp_path / "a.mcap").open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert len(summary.schemas) == 1
    assert len(summary.channels) == 3


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "a.mcap").write_text("precious")
    with pytest.raises(FileExistsError):
        McapFile(tmp_path / "a.mcap")
    assert (tmp_path / "a.mcap").read_text() == "precious"


def test_closing_a_chunk_without_messages_writes_nothing(tmp_path):
    file = McapFile(tmp_path / "a.mcap")
    size = file.size
    file.close_chunk()
    assert file.size == size == os.path.getsize(tmp_path / "a.mcap")


def test_the_chunk_is_on_the_disk_when_it_is_closed(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(mcap_file.os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    file = McapFile(tmp_path / "a.mcap")
    file.add_message(file.add_channel("/t", "std_msgs/msg/String", "string data", {}), 1, b"x")
    file.close_chunk()
    assert synced == [file.size]


@pytest.mark.parametrize("written", [0, 1, 50])
def test_a_write_that_fails_midway_leaves_the_file_as_before(tmp_path, monkeypatch, written):
    file = McapFile(tmp_path / "a.mcap")
    channel = file.add_channel("/t", "std_msgs/msg/String", "string data", {})
    file.add_message(channel, 1, b"first")
    file.close_chunk()
    before = (tmp_path / "a.mcap").read_bytes()
    genuine = os.write

    def full(descriptor, content):
        if written:
            genuine(descriptor, content[:written])
        raise OSError(errno.ENOSPC, "No space left on device")

    file.add_message(channel, 2, bytes(1000))
    monkeypatch.setattr(mcap_file.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.close_chunk()
    assert (tmp_path / "a.mcap").read_bytes() == before
    monkeypatch.undo()
    file.add_message(channel, 3, b"third")
    file.close_chunk()
    file.finish()
    assert [time for _, time, _ in messages(tmp_path / "a.mcap")] == [1, 3]
    assert scan(tmp_path / "a.mcap").finished


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    genuine = os.write
    monkeypatch.setattr(mcap_file.os, "write", lambda descriptor, content: genuine(descriptor, content[:7]))
    write_chunks(tmp_path / "a.mcap", 3)
    assert len(messages(tmp_path / "a.mcap")) == 15
