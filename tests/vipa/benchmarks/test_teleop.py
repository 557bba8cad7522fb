"""From commands to motion: the figures, of fabricated joints."""

import math
from pathlib import Path

import numpy as np
import pytest

from vipa.benchmarks.teleop import Command, TeleopStatistics, write_script
from vipa.teleop.sources import make_source

MS = 1_000_000


def run(latency_ms: int, noise: float, drift: float = 0.0, moves: int = 12) -> TeleopStatistics:
    """Commands at 100 Hz, a move of 400 ms every second, and joints at 100 Hz that answer after a while."""
    rng = np.random.default_rng(0)
    statistics = TeleopStatistics()
    onsets = [600 + 1000 * k for k in range(moves)]
    for ms in range(0, 1000 * moves, 10):
        statistics.commands.append(Command(ms * MS, any(0 <= ms - onset < 400 for onset in onsets)))
        moved = sum(min(max(ms - onset - latency_ms, 0), 400) for onset in onsets) * 1e-3
        joints = np.zeros(7)
        joints[2] = 0.5 * moved
        statistics.states.append((ms * MS, joints + drift * ms + noise * rng.standard_normal(7)))
    return statistics


@pytest.mark.parametrize(("noise", "drift"), [(0.0, 0.0), (2e-4, 0.0), (1e-5, 2e-6)])
def test_the_latency_is_found_through_noise_and_drift(noise: float, drift: float) -> None:
    figures = run(70, noise, drift).figures()
    assert figures["moves"] == 12
    assert figures["moves_not_seen"] == 0
    assert 70 < figures["command_to_motion_p50_ms"] <= 90
    assert figures["command_to_motion_p99_ms"] <= 100


def test_a_move_that_no_joint_answers_is_counted() -> None:
    figures = run(5000, 1e-5, moves=4).figures()
    assert (figures["moves"], figures["moves_not_seen"]) == (4, 4)
    assert math.isnan(figures["command_to_motion_p50_ms"])


def test_nothing_seen_is_no_move() -> None:
    assert TeleopStatistics().figures()["moves"] == 0


def test_the_script_closes_the_clutch_before_each_move_and_ends_where_it_began(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    write_script(file, 6)
    source = make_source("scripted", {"file": str(file)})
    clutches: list[bool] = []
    way = np.zeros(6)
    onsets, moving, ms = 0, False, 0
    while not source.finished:
        command = source.read(ms * MS, np.ones(6))
        if command is not None and command.twist is not None:
            clutches.append(command.clutch)
            way += command.twist * 1e-3
            onsets += bool(command.twist.any()) and not moving
            moving = bool(command.twist.any())
        ms += 1
    assert onsets == 6
    changes = np.flatnonzero(np.diff(np.array(clutches, dtype=int)) > 0)
    assert len(changes) == 6, "it closes before each move"
    assert np.abs(way).max() < 1e-3
