"""Recorded observations into a policy: the same bits out, or what differs, and why something cannot be compared."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fabricated_policy import MemoryPolicy, WatchedRobot
from fabricated_recordings import SMALL
from fabricated_robot import Robot, record_robot

from vipa.cli import main
from vipa.commands import replay as command
from vipa.errors import VipaError
from vipa.reading import from_chunk_message
from vipa.recording.bag import FILE_NAME, mcap_name
from vipa.replay.episode import open_recorded, read_inputs
from vipa.replay.observations import AFTER_GAP, BEFORE_RESET, Comparison, Tolerance, compare, replay_observations
from vipa_inference.policy import ActionChunk, Policy

RAW = dataclasses.replace(SMALL, jpeg_quality=0)
CHUNKS = 17
NOTHING = Tolerance()


def recorded_in(folder: Path, robot: Robot, config: object = RAW) -> Path:
    return folder / record_robot(folder, robot, config=config).name  # type: ignore[arg-type]


def replayed(episode: Path, policy: Policy) -> Comparison:
    recorded = open_recorded(episode)
    assert recorded.lab is not None
    return replay_observations(recorded, read_inputs(recorded), policy, recorded.lab)


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_in(tmp_path_factory.mktemp("recordings"), WatchedRobot(seconds=2.0))


@pytest.fixture(scope="module")
def jpeg_episode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_in(tmp_path_factory.mktemp("recordings"), WatchedRobot(seconds=2.0), SMALL)


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """``make_policy`` knows the policy of these tests."""

    def make(name: str, **options: float) -> Policy:
        return MemoryPolicy(**options) if name == "memory" else _known(name, **options)

    _known = command.make_policy
    monkeypatch.setattr(command, "make_policy", make)


def test_every_chunk_is_the_same_in_every_bit(episode: Path) -> None:
    comparison = replayed(episode, MemoryPolicy())
    assert len(comparison.differences) == comparison.chunks == CHUNKS
    assert all(difference.identical for difference in comparison.differences)
    assert comparison.first_beyond(NOTHING) is None
    assert not comparison.not_compared


def test_another_policy_differs_from_the_first_chunk_on(episode: Path) -> None:
    comparison = replayed(episode, MemoryPolicy(gain=1.001))
    first = comparison.first_beyond(NOTHING)
    assert first is not None
    assert first.chunk_id == 1
    assert 0.0 < first.position_mm < 1.0
    assert comparison.figures(NOTHING)["identical"] == 0
    assert comparison.figures(Tolerance(1.0, 1.0, 1.0))["beyond_tolerance"] == 0


def test_pictures_that_were_recorded_lossily_are_told(jpeg_episode: Path) -> None:
    comparison = replayed(jpeg_episode, MemoryPolicy())
    assert comparison.figures(NOTHING)["identical"] < CHUNKS
    assert comparison.figures(NOTHING)["position_max_mm"] < 1.0


def test_chunks_count_from_a_reset_on(tmp_path: Path) -> None:
    comparison = replayed(recorded_in(tmp_path, WatchedRobot(seconds=2.0, resets=(5, 9))), MemoryPolicy())
    assert comparison.not_compared == {BEFORE_RESET: 5}
    assert [one.chunk_id for one in comparison.differences] == list(range(6, CHUNKS + 1))
    assert all(one.identical for one in comparison.differences)


def test_without_a_reset_nothing_can_be_compared(tmp_path: Path) -> None:
    with pytest.raises(VipaError, match=r"no chunk can be compared: what the policy remembered .*vipa cell instruct"):
        replayed(recorded_in(tmp_path, WatchedRobot(seconds=1.0, resets=())), MemoryPolicy())


def lost(topic: str) -> Callable[[str, float], bool]:
    """Everything is recorded but a tenth of a second of one topic."""
    return lambda name, at: not (name.startswith(topic) and 0.59 < at < 0.71)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("/camera/side/color/image", "its frame of camera side is not in the recording"),
        ("/hand/state", "the robot's state is not in the recording"),
        ("/fr3/state", "the robot's state is not in the recording"),
        ("/controller/plan", "the controller's plan is not in the recording"),
        ("/policy/action_chunk", AFTER_GAP),
    ],
)
def test_what_is_lost_costs_the_chunks_up_to_the_next_reset(tmp_path: Path, topic: str, reason: str) -> None:
    robot = WatchedRobot(seconds=2.0, resets=(0, 12), keep=lost(topic))
    comparison = replayed(recorded_in(tmp_path, robot), MemoryPolicy())
    assert reason in comparison.not_compared
    assert set(comparison.not_compared) <= {reason, AFTER_GAP}
    compared = [one.chunk_id for one in comparison.differences]
    assert compared[:5] == [1, 2, 3, 4, 5]
    assert 11 not in compared
    assert compared[-5:] == [13, 14, 15, 16, 17]
    assert all(one.identical for one in comparison.differences)


def test_the_command_reports_in_json(
    episode: Path, tmp_path: Path, policies: None, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert main(["replay", str(episode), "--observations", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["ok"] is True
    assert (found["figures"]["identical"], found["figures"]["position_max_mm"]) == (CHUNKS, 0.0)
    assert (found["details"]["policy"], found["details"]["color"]) == ("memory", "lossless")
    assert "identical" in capsys.readouterr().out


def test_the_command_tells_differences_and_tolerates_them(
    jpeg_episode: Path, policies: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["replay", str(jpeg_episode), "--observations", "--policy", "memory"]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "colour was recorded lossily, as JPEG; record with --lossless" in said
    assert "first difference: chunk 1, observed at 20.000 s" in said
    assert main([*arguments, "--tolerance", "1,1,0.1"]) == 0
    assert main([*arguments, "--policy-option", "gain=2"]) == 1
    assert "another policy or configuration: memory 2 now, memory 1.0 recorded" in capsys.readouterr().err


def test_what_cannot_be_replayed_is_told_in_one_line(
    episode: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off = recorded_in(tmp_path, Robot(seconds=1.0))
    (cut_off / FILE_NAME).unlink()
    os.truncate(cut_off / mcap_name(cut_off.name), 20_000)
    silent = recorded_in(tmp_path, Robot(seconds=1.0))
    imported = recorded_in(tmp_path, WatchedRobot(seconds=1.0, resets=(), keep=lambda name, _: "state" not in name))
    for arguments, message in (
        ([str(tmp_path / "episode_000099")], "no such episode. See those that there are with: vipa record list FOLDER"),
        ([str(cut_off)], f"vipa record recover {tmp_path}"),
        ([str(silent)], "has no chunk of a policy. Record while a policy drives"),
        ([str(episode)], "unknown policy 'memory'; known: "),
        ([str(imported), "--policy", "wave"], "no chunk can be compared"),
        ([str(episode), "--policy", "wave", "--lab", "nowhere"], "laboratory nowhere: not one of those shipped"),
    ):
        assert main(["replay", *arguments, "--observations"]) == 1
        said = capsys.readouterr().err
        assert message in said, said
        assert said.startswith("vipa: ")
        assert said.count("\n") == 1, said


def chunk(actions: np.ndarray, step_period: float = 0.05) -> ActionChunk:
    return ActionChunk(actions, step_period, np.eye(4), 5, "memory", "")


def test_differences_are_in_millimetres_degrees_and_strokes() -> None:
    actions = np.zeros((4, 12))
    other = actions.copy()
    other[1, 0], other[2, 4], other[3, 7] = 1e-3, np.radians(2.0), 0.25
    found = compare(chunk(actions), chunk(other))
    assert not found.identical
    assert (found.position_mm, found.rotation_deg, found.hand) == pytest.approx((1.0, 2.0, 0.25))
    assert found.within(Tolerance(1.1, 2.1, 0.3))
    assert not found.within(Tolerance(1.1, 2.1, 0.2))


def test_one_bit_or_another_shape_is_a_difference() -> None:
    actions = np.zeros((4, 12))
    assert compare(chunk(actions), chunk(actions.copy())).identical
    assert not compare(chunk(actions), chunk(-actions)).identical, "minus zero has another bit"
    assert not compare(chunk(actions), chunk(actions + 5e-324)).within(NOTHING)
    assert not compare(chunk(actions), chunk(actions[:3])).within(Tolerance(1e9, 1e9, 1e9))
    assert not compare(chunk(actions), chunk(actions, 0.1)).within(Tolerance(1e9, 1e9, 1e9))


def test_a_chunk_of_an_older_recorder_does_not_tell_what_it_was_inferred_from() -> None:
    stamp = SimpleNamespace(sec=1, nanosec=0)
    message = SimpleNamespace(
        actions=[0.0] * 12, horizon=1, dimension=12, step_period=0.05, observation=stamp, policy="wave",
        policy_hash="", chunk_id=1, cameras=[], exposures=[], received=stamp, inference_start=stamp,
        inference_end=stamp, instruction="",
        reference_pose=SimpleNamespace(
            position=SimpleNamespace(x=0.0, y=0.0, z=0.0), orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        ),
    )  # fmt: skip
    assert from_chunk_message(message).sources.since_reset == 0
