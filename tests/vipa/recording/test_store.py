"""The folder of all episodes: numbers, locks, lists, recovery; finished episodes are never touched."""

import errno
import os
import subprocess
import sys

import pytest
from fabricated_recordings import START_NS, file_of, new_recorder, record, small_robot, write_chunks
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.errors import ConfigurationError, VipaError
from vipa.recording import mcap_file
from vipa.recording import store as store_module
from vipa.recording.bag import read_bag
from vipa.recording.reserve import NAME as RESERVE
from vipa.recording.store import RecordingStore, Recovery, list_episodes

HOLD_LOCK = """
import sys
from pathlib import Path
from vipa.recording.store import RecordingStore
store = RecordingStore(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path):
    store = RecordingStore(tmp_path / "recordings")
    yield store
    store.close()


def recorded(folder, count=1, **changes):
    """Episodes in a folder."""
    robot = small_robot()
    recorder = new_recorder(folder, robot, **changes)
    episodes = [record(recorder, robot, 0.2, instruction=f"task {number}") for number in range(count)]
    recorder.close(START_NS)
    return episodes


def cut_off(folder, name, size):
    """What a crash leaves: no metadata, a file that ends anywhere, and the reserve."""
    (folder / name / "metadata.yaml").unlink()
    os.truncate(file_of(folder, name), size)
    (folder / name / RESERVE).write_bytes(bytes(1000))


def digests(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.parent != folder}


def test_numbers_go_on_after_what_is_there(store):
    assert store.next_folder().name == "episode_000001"
    for name in ("episode_000007", "discarded/episode_000011", "episode_12", "notes", "episode_000009.old"):
        (store.folder / name).mkdir(parents=True)
    assert store.next_folder().name == "episode_000012"
    (store.folder / "episode_1000000").mkdir()
    assert store.next_folder().name == "episode_1000001"


def test_a_crashed_recorder_numbers_go_on(tmp_path):
    recorded(tmp_path, 2)
    cut_off(tmp_path, "episode_000002", 100)
    store = RecordingStore(tmp_path)
    assert store.next_folder().name == "episode_000003"
    store.close()


def test_two_recorders_on_one_folder_are_refused(store):
    with pytest.raises(VipaError, match=rf"another recorder \(process {os.getpid()}\) writes there. End it, or name"):
        RecordingStore(store.folder)
    store.close()
    RecordingStore(store.folder).close()


def test_the_lock_of_a_killed_process_is_gone(tmp_path):
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(VipaError, match=f"process {holder.pid}"):
            RecordingStore(tmp_path)
        holder.kill()
    RecordingStore(tmp_path).close()


def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(VipaError, match=rf"recordings {tmp_path}/file/deep: cannot be written: Not a directory"):
        RecordingStore(tmp_path / "file" / "deep")

    def read_only(self, mode):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(store_module.Path, "open", read_only)
    with pytest.raises(VipaError, match=r"Read-only file system\. Name another folder, or give permission"):
        RecordingStore(tmp_path)


def test_a_folder_that_becomes_read_only_refuses_the_next_episode(tmp_path, monkeypatch):
    recorder = new_recorder(tmp_path)

    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(store_module.Path, "mkdir", read_only)
    with pytest.raises(VipaError, match="cannot be written: Read-only file system"):
        recorder.start("wipe", START_NS)
    monkeypatch.undo()
    assert not recorder.recording
    assert recorder.start("wipe", START_NS) == "episode_000001"
    recorder.close(START_NS)


def test_the_list_has_everything_and_says_what_is_cut_off(tmp_path):
    episodes = recorded(tmp_path, 3)
    cut_off(tmp_path, "episode_000002", 500)
    (tmp_path / "episode_000004").mkdir()
    (tmp_path / "episode_000004" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    first, second, third, fourth = list_episodes(tmp_path)
    assert (first.episode, third.episode) == (episodes[0], episodes[2])
    assert second.episode is None
    assert "vipa record recover" in second.problem
    assert fourth.episode is None
    assert "not written by VIPA's recorder" in fourth.problem


def test_a_list_of_nothing(tmp_path):
    assert list_episodes(tmp_path) == []
    with pytest.raises(ConfigurationError, match="no such folder"):
        list_episodes(tmp_path / "missing")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three episodes, and the size of the second file."""
    folder = tmp_path_factory.mktemp("three")
    recorded(folder, 3, chunk_period=0.01)
    content = file_of(folder, "episode_000002").read_bytes()
    return folder, content, (folder / "episode_000002" / "metadata.yaml").read_text()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_recovery_completes_what_was_cut_off_and_touches_nothing_else(three, data):
    folder, content, _ = three
    file_of(folder, "episode_000002").write_bytes(content)
    cut = data.draw(st.integers(0, len(content)))
    (folder / "episode_000002" / "metadata.yaml").touch()
    cut_off(folder, "episode_000002", cut)
    others = {p: c for p, c in digests(folder).items() if p.parent.name != "episode_000002"}
    store = RecordingStore(folder)
    (recovered,) = store.recover().recovered
    assert store.recover() == Recovery((), ())
    store.close()
    assert others.items() <= digests(folder).items()
    episode = read_bag(folder / "episode_000002")
    assert episode == recovered.episode
    assert episode.recovered
    assert episode.ended in ("cut off", "stopped")
    if cut == len(content):
        assert (episode.ended, episode.instruction) == ("stopped", "task 1")
        assert file_of(folder, "episode_000002").read_bytes() == content
    assert episode.file_size == os.path.getsize(file_of(folder, "episode_000002"))
    assert sorted(p.name for p in (folder / "episode_000002").iterdir()) == ["episode_000002_0.mcap", "metadata.yaml"]


def test_outcome_and_warnings_of_a_cut_off_episode_come_from_its_events(tmp_path):
    robot = small_robot()
    recorder = new_recorder(tmp_path, robot)
    recorder.start("wipe", START_NS)
    recorder.mark("success", "", START_NS + 1)
    recorder.step(START_NS + 900_000_000)  # no frame for 0.9 s
    recorder.stop("", START_NS + 950_000_000)
    recorder.close(START_NS)
    before = read_bag(tmp_path / "episode_000001")
    cut_off(tmp_path, "episode_000001", os.path.getsize(file_of(tmp_path)) - 1)
    store = RecordingStore(tmp_path)
    (recovered,) = store.recover().recovered
    store.close()
    assert (recovered.episode.outcome, recovered.episode.instruction) == ("success", "wipe")
    assert set(recovered.episode.warnings) <= set(before.warnings)
    assert len(recovered.episode.warnings) == 2  # both streams of the camera


def test_a_damaged_episode_says_so(tmp_path):
    recorded(tmp_path, 1, chunk_period=0.01)
    content = bytearray(file_of(tmp_path).read_bytes())
    content[len(content) // 2] ^= 0xFF
    file_of(tmp_path).write_bytes(content)
    (tmp_path / "episode_000001" / "metadata.yaml").unlink()
    store = RecordingStore(tmp_path)
    (recovered,) = store.recover().recovered
    store.close()
    assert recovered.kept_aside.read_bytes() == bytes(content[-recovered.removed :])
    assert "the file was damaged" in recovered.episode.warnings[-1]


def test_what_was_begun_without_a_message_is_removed(store):
    partial = store.folder / ".episode_000001.new"
    partial.mkdir()
    write_chunks(partial / "episode_000001_0.mcap", 0)
    assert store.recover() == Recovery((), ())
    assert not partial.exists()


def test_what_cannot_be_recovered_is_named_and_the_rest_is_recovered(tmp_path):
    recorded(tmp_path, 3)
    file_of(tmp_path, "episode_000001").unlink()
    for name in ("episode_000001", "episode_000003"):
        (tmp_path / name / "metadata.yaml").unlink()
    store = RecordingStore(tmp_path)
    recovery = store.recover()
    store.close()
    (problem,) = recovery.problems
    assert problem == f"{file_of(tmp_path, 'episode_000001')}: cannot be recovered: No such file or directory"
    assert [item.episode.name for item in recovery.recovered] == ["episode_000003"]


def test_a_begin_that_fails_leaves_nothing(tmp_path, monkeypatch):
    recorder = new_recorder(tmp_path, attachments={"lab.yaml": b"name: x"})

    def fail(self, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mcap_file.McapFile, "add_attachment", fail)
    with pytest.raises(VipaError, match="cannot be written: No space left on device"):
        recorder.start("wipe", START_NS)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    recorder.close(START_NS)


def test_discard_of_what_is_not_there(store):
    with pytest.raises(VipaError, match="episode_000005 cannot be discarded: No such file"):
        store.discard("episode_000005")
