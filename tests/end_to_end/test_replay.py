"""A recorded trial, replayed: the policy says the same in every bit, and the robot of another graph does the same."""

from pathlib import Path

import pytest
from end_to_end.cell import Cell, processes_of

pytestmark = pytest.mark.end_to_end


def recorded_trial(cell: Cell) -> Path:
    """The episode of a trial that is ended after some seconds."""
    recordings = cell.folder / "recordings"
    _, output, report = cell.run("trial", "--task", "reach", "--seed", "3", "--time-limit", "4",
                                 "--record", "--lossless", "--recordings", str(recordings))  # fmt: skip
    assert report["figures"]["trials"] == 1, output
    return recordings / "episode_000001"


def test_a_recorded_trial_is_replayed(cell: Cell) -> None:
    episode = recorded_trial(cell)

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
    assert processes_of(cell) == []
