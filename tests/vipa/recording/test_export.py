"""Recordings become rows: frames, states and targets fit together, and what does not fit is told."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fabricated_datasets import number_in
from fabricated_robot import DELAY, KINEMATICS, START_NS, Robot, record_robot

from vipa.errors import VipaError
from vipa.recording.alignment import AlignConfig, AlignedEpisode
from vipa.recording.bag import FILE_NAME, mcap_name
from vipa.recording.commanded import CommandedHand, CommandedJoints, Window
from vipa.recording.export import ExportConfig, ExportedEpisode, export_episode, recordings
from vipa.recording.recorded import read_recorded
from vipa.trials.result import TrialResult

RAW = ExportConfig(longer_side=0)
Keep = Callable[[str, float], bool]


def exported(folder: Path, robot: Robot, config: ExportConfig = RAW) -> ExportedEpisode:
    record_robot(folder, robot)
    (listed,) = recordings(folder)
    return export_episode(listed, config)


@pytest.fixture(scope="module")
def robot() -> Robot:
    return Robot()


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory, robot: Robot) -> ExportedEpisode:
    return exported(tmp_path_factory.mktemp("recordings"), robot)


def seconds(aligned: AlignedEpisode) -> np.ndarray:
    return (aligned.times_ns - START_NS) * 1e-9


def test_every_picture_is_the_one_of_its_exposure(episode: ExportedEpisode) -> None:
    pictures = list(episode.pictures())
    assert len(pictures) == len(episode.aligned.times_ns)
    for camera, stamps in episode.aligned.exposures_ns.items():
        frames = np.round((stamps - START_NS) * 30e-9).astype(int)
        assert [number_in(images[camera]) for images in pictures] == frames.tolist()


def test_rows_are_at_the_rate_and_near_their_frames(episode: ExportedEpisode) -> None:
    aligned = episode.aligned
    assert np.abs(np.diff(aligned.times_ns) * 1e-9 - 0.05).max() < 0.018
    assert aligned.report["front_off_max_ms"] == pytest.approx(16.7, abs=0.1)
    assert aligned.report["front_missing"] == aligned.report["front_repeated"] == aligned.report["dropped"] == 0


def test_state_is_that_of_the_exposure_and_target_what_was_told(episode: ExportedEpisode, robot: Robot) -> None:
    aligned, now = episode.aligned, seconds(episode.aligned)
    np.testing.assert_allclose(aligned.states[:, 9:16], robot.commanded(now - DELAY), atol=1e-4)
    told = KINEMATICS.forward(robot.commanded(now + 0.05))
    np.testing.assert_allclose(aligned.target_poses[:, :3, 3], told[:, :3, 3], atol=2e-4)
    np.testing.assert_allclose(aligned.target_hand, robot.hand(now), atol=1e-9)


def test_idle_ends_are_cut(episode: ExportedEpisode, robot: Robot) -> None:
    now = seconds(episode.aligned)
    assert now[0] - 0.0 - 0.0 <= 0.6 or now[0] >= 0.4
    assert now[-1] < robot.seconds - 0.3
    assert episode.aligned.report["trimmed_s"] > 0.2


def test_marks(episode: ExportedEpisode) -> None:
    marks = episode.marks
    assert (marks.task, marks.outcome) == ("wipe the board", "success")
    assert marks.sub_tasks == (("wiped", pytest.approx(2.0 - seconds(episode.aligned)[0])),)


def test_a_trial_tells_seed_and_variant(tmp_path: Path) -> None:
    record_robot(tmp_path, Robot(), outcome="")
    result = TrialResult(
        task="wipe_board", instruction="wipe", seed=7, variant="unseen", policy="expert", policy_hash="",
        sub_tasks=("wiped",), done=(True,), times=(1.0,), start_ns=START_NS + 500_000_000, duration=2.0,
        outcome="succeeded", detail="", recording=None,
    )  # fmt: skip
    (listed,) = recordings(tmp_path)
    marks = export_episode(listed, RAW, results=[result]).marks
    assert (marks.seed, marks.variant, marks.scene, marks.outcome) == (7, "unseen", "wipe_board", "success")


def without(topic: str, start: float = 0.0, end: float = 100.0) -> Keep:
    return lambda name, at: not (name.startswith(topic) and start <= at < end)


UNUSABLE: dict[str, tuple[Robot, str]] = {
    "no frame at all": (Robot(rates={}), "no colour image of any camera"),
    "silent camera": (Robot(keep=without("/camera/side", 2.0, 2.6)), r"camera side: nothing for 0\.6\d s"),
    "silent arm": (Robot(keep=without("/fr3/state", 2.0, 2.5)), r"arm: nothing for 0\.5\d s"),
    "no arm": (Robot(keep=without("/fr3/state")), "no state of the arm"),
    "no hand": (Robot(keep=without("/hand/state")), "no state of the hand"),
    "no command": (Robot(keep=without("/fr3/joint_trajectory")), "never told to move"),
    "cameras one after the other": (
        Robot(keep=lambda name, at: "/camera" not in name or (at < 2) == ("front" in name)),
        "are together for less than",
    ),
    "standing still": (Robot(seconds=2.0), "stand still"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    robot, message = UNUSABLE[name]
    record_robot(tmp_path, robot)
    (listed,) = recordings(tmp_path)
    with pytest.raises(VipaError, match=message):
        export_episode(listed, RAW)


def test_a_camera_that_was_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(VipaError, match="camera wrist is missing; recorded: front, side"):
        exported(tmp_path, Robot(), ExportConfig(AlignConfig(cameras=("wrist",))))


def test_recordings_whose_topics_began_in_another_order_are_read_alike(tmp_path: Path) -> None:
    record_robot(tmp_path, Robot(seconds=2.5))
    record_robot(tmp_path, Robot(seconds=2.5, keep=lambda name, at: "/hand" in name or at > 0.2))
    first, second = (read_recorded(listed.folder) for listed in recordings(tmp_path))
    np.testing.assert_array_equal(first.joints[-200:], second.joints[-200:])
    np.testing.assert_array_equal(first.hand, second.hand)


def test_a_failure_is_left_out_unless_wanted(tmp_path: Path) -> None:
    record_robot(tmp_path, Robot(), outcome="failure")
    (listed,) = recordings(tmp_path)
    with pytest.raises(VipaError, match="failed; it is left out"):
        export_episode(listed, RAW)
    assert export_episode(listed, ExportConfig(failures=True)).marks.outcome == "failure"


def test_missing_frames_are_counted_where_they_are_allowed(tmp_path: Path) -> None:
    lost = Robot(keep=without("/camera/side", 2.0, 2.2))
    episode = exported(tmp_path, lost, ExportConfig(AlignConfig(longest_gap=0.3), 0))
    report = episode.aligned.report
    assert report["side_missing"] == 6
    assert report["side_repeated"] >= 2
    assert report["side_off_max_ms"] > 80
    assert report["front_missing"] == 0
    pictures = list(episode.pictures())
    frames = np.round((episode.aligned.exposures_ns["side"] - START_NS) * 30e-9).astype(int)
    assert [number_in(images["side"]) for images in pictures] == frames.tolist()


def test_stamps_rounded_to_milliseconds_are_no_missing_frames(tmp_path: Path) -> None:
    class Rounded(Robot):
        def _frames(self):
            for stamp, topic, payload in super()._frames():
                yield round(stamp / 2e6) * 2_000_000, topic, payload

    report = exported(tmp_path, Rounded(seconds=4.0)).aligned.report
    assert report["front_missing"] == report["side_missing"] == 0


def test_a_frozen_camera_is_counted(tmp_path: Path) -> None:
    class Frozen(Robot):
        def _frames(self):
            pictures: dict[str, bytes] = {}
            for stamp, topic, payload in super()._frames():
                pixels = pictures.setdefault(topic, payload[12:]) if "side" in topic else payload[12:]
                yield stamp, topic, payload[:12] + pixels

    episode = exported(tmp_path, Frozen())
    rows = sum(1 for _ in episode.pictures())
    assert episode.report()["side_same_picture"] == rows - 1
    assert episode.report()["front_same_picture"] == 0


def test_a_recording_that_was_cut_off_is_completed_first(tmp_path: Path) -> None:
    name = record_robot(tmp_path, Robot()).name
    (tmp_path / name / FILE_NAME).unlink()
    path = tmp_path / name / mcap_name(name)
    os.truncate(path, round(path.stat().st_size * 0.8))
    (listed,) = recordings(tmp_path)
    assert listed.episode is not None
    assert listed.episode.recovered
    assert len(export_episode(listed, RAW).aligned.times_ns) > 20


def test_one_recording_by_its_folder(tmp_path: Path) -> None:
    for _ in range(2):
        record_robot(tmp_path, Robot(seconds=3.0))
    (listed,) = recordings(tmp_path / "episode_000002")
    assert listed.folder.name == "episode_000002"
    assert len(recordings(tmp_path)) == 2


def test_pictures_keep_their_shape_and_get_even_sides(tmp_path: Path) -> None:
    episode = exported(tmp_path, Robot(seconds=3.0, size=(60, 90)), ExportConfig(longer_side=50))
    assert next(episode.pictures())["front"].shape == (34, 50, 3)


def window(start: float, position: float) -> Window:
    ends = np.full((2, 7), position)
    return Window(round(start * 1e9), np.array([0.0, 1.0]), ends, np.zeros((2, 7)))


def test_a_later_window_takes_over_where_it_begins() -> None:
    path = CommandedJoints([window(0.0, 1.0), window(0.5, 2.0), window(0.4, 3.0)])
    times = np.array([-0.1, 0.0, 0.39, 0.4, 0.6, 9.0]) * 1e9
    assert path.at(times.astype(np.int64))[:, 0].tolist() == [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]


def test_the_hand_holds_between_movements() -> None:
    times = (np.array([1.0, 1.1, 3.0]) * 1e9).astype(np.int64)
    hand = CommandedHand(times, np.array([[0.0] * 6, [1.0] * 6, [0.5] * 6]))
    wanted = (np.array([0.0, 1.05, 2.0, 2.9, 3.0, 9.0]) * 1e9).astype(np.int64)
    np.testing.assert_allclose(hand.at(wanted)[:, 0], [0.0, 0.5, 1.0, 1.0, 0.5, 0.5])
