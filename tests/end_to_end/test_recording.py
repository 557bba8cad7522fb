"""The whole graph with the recorder: what the cell did is in the file; a killed recorder does not stop the robot."""

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
from vipa.recording.store import list_episodes

pytestmark = pytest.mark.end_to_end

DECODED = (
    "/joint_states",
    "/fr3/state",
    "/hand/state",
    "/policy/action_chunk",
    "/controller/trace",
    "/fr3/joint_trajectory",
    "/supervisor/state",
)
"""The first message of each; this decoder is slow."""


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


def test_an_episode_of_the_running_cell_and_a_killed_recorder(cell: Cell) -> None:
    recordings = cell.folder / "recordings"
    process = cell.start("bringup", "--record", "--recordings", str(recordings))
    cell.wait_for_log("supervisor", "cell READY")
    cell.wait_for_log("recorder", "episodes go to")
    record(cell, "start", "touch the markers")
    time.sleep(2.0)
    record(cell, "stop", "--outcome", "success")
    (entry,) = list_episodes(recordings)
    episode = entry.episode
    assert episode is not None, entry.problem
    for camera in ("front", "side"):
        for stream in ("color/image_raw/compressed", "depth/image_rect_raw"):
            assert 5 <= episode.frames[f"/camera/{camera}/{stream}"] <= 30 * episode.duration + 2
    with (entry.folder / mcap_name(episode.name)).open("rb") as stream:
        reader, decoders, counts = make_reader(stream, validate_crcs=True), DecoderFactory(), Counter[str]()
        for schema, channel, message in reader.iter_messages():
            if channel.topic in DECODED and not counts[channel.topic]:
                decode = decoders.decoder_for(channel.message_encoding, schema)
                assert decode is not None
                decode(message.data)
            counts[channel.topic] += 1
        attachments = {attachment.name for attachment in reader.iter_attachments()}
    for topic in DECODED:
        assert counts[topic] > 0, topic
    assert attachments == {"lab.yaml", "configuration.json", "calibration.json", "software.json"}

    record(cell, "start", "again")
    time.sleep(1.0)
    os.kill(recorder_process(cell), signal.SIGKILL)
    cell.wait_for_log("recorder", "had been cut off and was completed")
    assert "FAULT" not in cell.log("supervisor").partition("cell READY")[2]
    assert list_episodes(recordings)[1].episode is not None
    status, output = stop(process)
    assert status == 0, output
