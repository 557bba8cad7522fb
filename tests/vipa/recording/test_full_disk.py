"""A disk that fills up, for real: a small tmpfs, or a limit on the size of the file where none can be mounted."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fabricated_recordings import START_NS, feed, file_of, new_recorder, record, small_robot
from mcap.reader import make_reader

from vipa.benchmarks.record_loop import recorded_figures
from vipa.benchmarks.synthetic_robot import NS
from vipa.recording.config import MEGABYTE
from vipa.recording.recovery import scan
from vipa.recording.store import RecordingStore, list_episodes

SIZE = (120, 160)
LIMITED = """
import resource, signal, sys, time
from pathlib import Path
from fabricated_recordings import START_NS, feed, new_recorder, small_robot
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
robot = small_robot(size=(120, 160))
recorder = new_recorder(Path(sys.argv[1]), robot)
recorder.start("wipe", START_NS)
for second in range(60):
    feed(recorder, robot, 0.05, START_NS + second * 10**8)
    time.sleep(0.15)
    recorder.step(START_NS + second * 10**8)
    if not recorder.recording:
        break
recorder.close(START_NS)
"""


def count(path):
    with path.open("rb") as stream:
        return sum(1 for _ in make_reader(stream, validate_crcs=True).iter_messages())


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs can be mounted by root only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def record_until_it_ends(recorder, robot):
    begin = time.monotonic()
    for sample in robot.samples(START_NS):
        pause = begin + (sample.time_ns - START_NS) / NS / 4 - time.monotonic()  # four times as fast
        if pause > 0:
            time.sleep(pause)
        recorder.put(sample.topic, sample.payload, sample.time_ns)
        recorder.step(sample.time_ns)
        if not recorder.recording:
            return
        assert time.monotonic() - begin < 60, "the disk never filled up"


def test_the_guard_ends_the_episode_before_the_disk_is_full(small_disk):
    robot = small_robot(("front", "side"), SIZE)
    recorder = new_recorder(small_disk, robot, minimum_free=6 * MEGABYTE, minimum_free_to_start=7 * MEGABYTE)
    first = record(recorder, robot, 1.0)
    before = file_of(small_disk).read_bytes()
    recorder.start("until it is full", START_NS)
    record_until_it_ends(recorder, robot)
    recorder.close(START_NS)
    _, second = list_episodes(small_disk)
    assert second.episode.ended.startswith("the disk is almost full")
    assert second.episode.dropped == {}
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 3 * MEGABYTE
    assert count(file_of(small_disk, "episode_000002")) == second.episode.messages > first.messages
    assert file_of(small_disk).read_bytes() == before
    figures = recorded_figures(small_disk)
    assert (figures["episodes_damaged"], figures["episodes_cut_short"]) == (0, 1)


def test_a_disk_that_another_program_fills_ends_the_episode_cleanly(small_disk):
    robot = small_robot(("front", "side"), SIZE)
    recorder = new_recorder(small_disk, robot, minimum_free=0, minimum_free_to_start=MEGABYTE)
    recorder.start("until it is full", START_NS)
    feed(recorder, robot, 2.0)
    time.sleep(0.6)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
    record_until_it_ends(recorder, robot)
    recorder.close(START_NS)
    (listed,) = list_episodes(small_disk)
    assert listed.episode.ended == "the disk failed: No space left on device"
    assert scan(file_of(small_disk)).finished
    assert count(file_of(small_disk)) == listed.episode.messages > 300
    filler.unlink()
    recorder = new_recorder(small_disk, robot)
    assert record(recorder, robot, 0.2).name == "episode_000002"
    recorder.close(START_NS)


def test_a_limit_on_the_size_of_files_ends_the_episode_cleanly(tmp_path):
    tests = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (entry,) = list_episodes(tmp_path)
    if entry.episode is None:  # the end did not fit either: the file is as long as it may be
        store = RecordingStore(tmp_path)
        (recovered,) = store.recover().recovered
        store.close()
        episode = recovered.episode
    else:
        episode = entry.episode
        assert episode.ended == f"the disk failed: {os.strerror(errno.EFBIG)}"
    assert count(file_of(tmp_path)) == episode.messages > 10
