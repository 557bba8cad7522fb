"""The whole graph with the recorder: what the cell did is in the file, a killed recorder does not stop the robot.

And the episode is replayed: the policy says the same in every bit, and the robot of another graph does the same.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from end_to_end.cell import Cell, processes_of, stop
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from vipa.recording.bag import mcap_name
from vipa.recording.store import Listed, list_episodes

pytestmark = pytest.mark.end_to_end


def record(cell: Cell, *arguments: str) -> str:
    """Run ``vipa record`` in the cell's ROS domain; what it printed."""
    command = [sys.executable, "-m", "vipa.cli", "record", *arguments, "--domain", str(cell.domain)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + cell.log("recorder")
    return done.stdout


def recorder_process(cell: Cell) -> int:
    """The process of the recorder."""
    (pid,) = [p for p in processes_of(cell) if b"vipa.nodes.recorder" in Path(f"/proc/{p}/cmdline").read_bytes()]
    return pid


def test_an_episode_of_the_running_cell_a_killed_recorder_and_the_replay(cell: Cell) -> None:
    recordings = cell.folder / "recordings"
    process = cell.start("bringup", "--record", "--lossless", "--recordings", str(recordings))
    cell.wait_for_log("supervisor", "cell READY")
    cell.wait_for_log("recorder", "episodes go to")
    record(cell, "start", "touch the red marker, then the green one, then the blue one")
    time.sleep(5.0)
    record(cell, "stop", "--outcome", "success")
    (entry,) = list_episodes(recordings)
    assert_complete(entry)

    record(cell, "start", "again")
    time.sleep(2.0)
    os.kill(recorder_process(cell), signal.SIGKILL)
    cell.wait_for_log("recorder", "had been cut off and was completed")
    assert "FAULT" not in cell.log("supervisor").partition("cell READY")[2]
    assert list_episodes(recordings)[1].episode is not None
    status, output = stop(process)
    assert status == 0, output

    assert_replayed(cell, entry.folder)
    assert processes_of(cell) == []


def assert_complete(entry: Listed) -> None:
    """Frames, messages and attachments of the episode."""
    episode = entry.episode
    assert episode is not None, entry.problem
    for camera in ("front", "side"):
        for stream in ("color/image_raw", "depth/image_rect_raw"):
            assert 5 <= episode.frames[f"/camera/{camera}/{stream}"] <= 30 * episode.duration + 2
    with (entry.folder / mcap_name(episode.name)).open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        counts = Counter(channel.topic for _, channel, _, _ in reader.iter_decoded_messages())
        attachments = {attachment.name for attachment in reader.iter_attachments()}
    for topic in ("/joint_states", "/fr3/state", "/hand/state", "/policy/action_chunk", "/controller/trace",
                  "/fr3/joint_trajectory", "/supervisor/state"):  # fmt: skip
        assert counts[topic] > 0, topic
    assert attachments == {"lab.yaml", "configuration.json", "calibration.json", "software.json"}


def assert_replayed(cell: Cell, episode: Path) -> None:
    """Its observations give the same chunks, its actions the same motion."""
    status, output, report = cell.run("replay", str(episode), "--observations")
    assert status == 0, output
    figures = report["figures"]
    assert figures["identical"] == figures["compared"] == figures["chunks"] >= 20, output
    assert report["details"]["color"] == "lossless"

    status, output, report = cell.run("replay", str(episode), "--actions")
    assert status == 0, output + cell.log("replay")
    assert "approaching the first recorded pose" in cell.log("replay")
    assert report["figures"]["seconds"] > 2.0
    assert report["figures"]["aligned_position_rms_mm"] < 10.0
    assert report["figures"]["rotation_max_deg"] < 5.0
