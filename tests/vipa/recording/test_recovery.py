"""A file that is cut off anywhere keeps every whole chunk; a damaged one keeps what is right, and loses nothing."""

import shutil

import pytest
from fabricated_recordings import write_chunks
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import NonSeekingReader, make_reader

from vipa.recording import recovery
from vipa.recording.mcap_file import header
from vipa.recording.recovery import complete, scan

CHUNKS, PER_CHUNK = 6, 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished file, its bytes, and where each chunk ends."""
    path = tmp_path_factory.mktemp("whole") / "a.mcap"
    ends = write_chunks(path, CHUNKS, per_chunk=PER_CHUNK)
    return path, path.read_bytes(), ends


def read(path):
    with path.open("rb") as stream:
        return [(c.topic, m.log_time, m.data) for _, c, m in make_reader(stream, validate_crcs=True).iter_messages()]


def read_in_order(path):
    with path.open("rb") as stream:
        reader = NonSeekingReader(stream, validate_crcs=True)
        return [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages(log_time_order=False)]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_cut_off_anywhere_keeps_every_whole_chunk(whole, tmp_path_factory, data):
    path, content, ends = whole
    cut = data.draw(st.integers(0, len(content)))
    torn = tmp_path_factory.mktemp("torn") / "a.mcap"
    torn.write_bytes(content[:cut])
    repair = complete(torn)
    kept = sum(end <= cut for end in ends)
    assert len(repair.scan.index.chunks) == kept
    assert read(torn) == read(path)[: kept * PER_CHUNK]
    assert read_in_order(torn) == read(torn)
    assert repair.kept_aside is None
    assert content.startswith(torn.read_bytes()[: ends[kept - 1] if kept else 0])
    assert scan(torn).finished
    again = torn.read_bytes()
    assert complete(torn).removed == 0
    assert torn.read_bytes() == again


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_recovery_itself_may_be_cut_off(whole, tmp_path_factory, data):
    path, content, ends = whole
    torn = tmp_path_factory.mktemp("torn") / "a.mcap"
    torn.write_bytes(content[: data.draw(st.integers(ends[1], ends[4]))])
    kept = len(complete(torn).scan.index.chunks)
    completed = torn.read_bytes()
    torn.write_bytes(completed[: data.draw(st.integers(ends[kept - 1], len(completed)))])
    complete(torn)
    assert read(torn) == read(path)[: kept * PER_CHUNK]
    assert torn.read_bytes() == completed


def test_a_finished_file_is_not_touched(whole, tmp_path):
    path, content, _ = whole
    copy = tmp_path / "a.mcap"
    shutil.copy(path, copy)
    modified = copy.stat().st_mtime_ns
    repair = complete(copy)
    assert repair.scan.finished
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == (content, modified)


def test_every_cut_within_the_indices_of_the_last_chunk(whole, tmp_path):
    """Its messages are there, although the record that says where they are is torn."""
    _, content, ends = whole
    indices_end = scan(whole[0]).index.chunks[-1]
    last = indices_end.chunk_start_offset + indices_end.chunk_length + indices_end.message_index_length
    for cut in range(ends[-1], last + 1):
        torn = tmp_path / f"{cut}.mcap"
        torn.write_bytes(content[:cut])
        complete(torn)
        assert torn.read_bytes() == content


def test_attachments_and_metadata_survive(whole, tmp_path):
    _, content, ends = whole
    torn = tmp_path / "a.mcap"
    torn.write_bytes(content[: ends[2] + 20])
    repair = complete(torn)
    assert repair.scan.metadata == {"vipa": {"instruction": "wipe the board"}}
    with torn.open("rb") as stream:
        (attachment,) = make_reader(stream, validate_crcs=True).iter_attachments()
    assert attachment.data == b"name: test\n"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_noticed_and_what_follows_is_kept_aside(whole, tmp_path_factory, data):
    path, content, ends = whole
    start = scan(path).index.chunks[0].chunk_start_offset
    place = data.draw(st.integers(start, ends[-1] - 1))
    damaged = bytearray(content[: ends[-1] + 3])
    damaged[place] ^= data.draw(st.integers(1, 255))
    torn = tmp_path_factory.mktemp("damaged") / "a.mcap"
    torn.write_bytes(damaged)
    repair = complete(torn)
    kept = len(repair.scan.index.chunks)
    assert kept >= sum(end <= place for end in ends)
    assert read(torn) == read(path)[: kept * PER_CHUNK]
    if repair.kept_aside is not None:
        assert repair.kept_aside.read_bytes() == bytes(damaged[-repair.removed :])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_before_the_first_chunk_leaves_a_file_that_can_be_read(whole, tmp_path_factory, data):
    """Names of topics have no checksum; times and contents of messages do."""
    path, content, ends = whole
    start = scan(path).index.chunks[0].chunk_start_offset
    damaged = bytearray(content[: ends[-1]])
    place = data.draw(st.integers(len(header()), start - 1))
    damaged[place] ^= data.draw(st.integers(1, 127))
    torn = tmp_path_factory.mktemp("damaged") / "a.mcap"
    torn.write_bytes(damaged)
    complete(torn)
    assert {message[1:] for message in read(torn)} <= {message[1:] for message in read(path)}


def test_a_damaged_chunk_in_the_middle_loses_nothing(whole, tmp_path):
    path, content, ends = whole
    damaged = bytearray(content)
    damaged[ends[2] - 4] ^= 0xFF
    torn = tmp_path / "a.mcap"
    torn.write_bytes(damaged)
    repair = complete(torn)
    assert read(torn) == read(path)[: 2 * PER_CHUNK]
    assert repair.kept_aside == tmp_path / "a.mcap.damaged"
    assert len(repair.kept_aside.read_bytes()) == repair.removed > len(content) - ends[2]


def test_more_than_a_torn_chunk_is_kept_aside(whole, tmp_path, monkeypatch):
    _, content, ends = whole
    monkeypatch.setattr(recovery, "LARGEST_TORN", 10)
    torn = tmp_path / "a.mcap"
    torn.write_bytes(content[: ends[2] - 1])
    repair = complete(torn)
    assert repair.kept_aside.read_bytes() == content[: ends[2] - 1][-repair.removed :]


@pytest.mark.parametrize("zeros", [1, 9, 1000])
def test_zeros_at_the_end_are_what_a_power_failure_leaves(whole, tmp_path, zeros):
    path, content, _ = whole
    index = scan(path).index.chunks[3]
    end = index.chunk_start_offset + index.chunk_length + index.message_index_length
    torn = tmp_path / "a.mcap"
    torn.write_bytes(content[:end] + bytes(zeros))
    repair = complete(torn)
    assert (repair.removed, repair.kept_aside) == (zeros, None)
    assert read(torn) == read(path)[: 4 * PER_CHUNK]


def test_a_file_that_is_no_mcap_is_kept_aside_if_it_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "LARGEST_TORN", 5)
    path = tmp_path / "a.mcap"
    path.write_bytes(b"something else")
    repair = complete(path)
    assert repair.kept_aside.read_bytes() == b"something else"
    assert read(path) == []
