"""Recorded actions: approached slowly, played in their time, ended where they must not go on, and compared."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fabricated_robot import DELAY, KINEMATICS, LAB, Robot, record_robot

from vipa.cli import main
from vipa.control.arbitration import TELEOP
from vipa.control.gate import SafetyGate
from vipa.errors import VipaError
from vipa.graph import replay_beside, replay_node
from vipa.lab import LabConfig
from vipa.recording.recorded import RecordedEpisode
from vipa.replay.episode import open_recorded
from vipa.replay.layout import check_layout
from vipa.replay.session import ReplayConfig, ReplaySession
from vipa.replay.trajectories import Track, compare_tracks, recorded_scene, recorded_targets, recorded_track
from vipa.teleop.session import RobotReading
from vipa_inference.policy import ActionChunk, CommittedPlan

MS, NS = 1_000_000, 1_000_000_000
START_NS = 90 * NS


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RecordedEpisode:
    folder = tmp_path_factory.mktemp("recordings")
    return open_recorded(folder / record_robot(folder, Robot()).name)


@pytest.fixture(scope="module")
def targets(recorded: RecordedEpisode) -> CommittedPlan:
    return recorded_targets(recorded, LAB)


class PerfectRobot:
    """Is where the newest chunk says."""

    def __init__(self, targets: CommittedPlan, away: float = 0.0) -> None:
        self.session = ReplaySession(targets, "replay")
        self.gate = SafetyGate(LAB.control.gate, KINEMATICS)
        self.pose, self.hand = targets.poses[0].copy(), np.full(6, 0.4)
        self.pose[2, 3] += away
        self.now_ns, self.follows = START_NS, True
        self.chunks: list[ActionChunk] = []
        self.times: list[int] = []
        self.poses: list[np.ndarray] = []

    def run(self, seconds: float, allowed: bool = True) -> None:
        for _ in range(round(seconds * 100)):
            self.now_ns += 10 * MS
            if self.chunks and self.follows:
                self._follow(self.chunks[-1])
            self.times.append(self.now_ns)
            self.poses.append(self.pose)
            robot = RobotReading(self.now_ns, self.pose, self.hand)
            self.session.update(robot, self.now_ns, allowed)
            chunk = self.session.chunk(robot, self.now_ns)
            if chunk is not None:
                assert self.gate.check_chunk(chunk, self.now_ns, self.pose).accepted
                self.chunks.append(chunk)

    def _follow(self, chunk: ActionChunk) -> None:
        steps = (self.now_ns - chunk.observation_ns) / (chunk.step_period * NS)
        row = min(max(round(steps) - 1, 0), chunk.horizon - 1)
        share = min(steps / (row + 1), 1.0)
        self.pose = chunk.reference_pose.copy()
        self.pose[:3, 3] += share * chunk.actions[row, :3]
        self.pose[:3, :3] = chunk.target_poses()[row, :3, :3]
        self.hand = chunk.actions[row, 6:]


def test_targets_are_what_the_arm_was_told(recorded: RecordedEpisode, targets: CommittedPlan) -> None:
    assert recorded.commanded_joints is not None
    assert targets.times_ns[0] == recorded.commanded_joints.start_ns
    seconds = (targets.times_ns - recorded.arm_ns[0]) * 1e-9
    told = KINEMATICS.forward(Robot().commanded(seconds))
    np.testing.assert_allclose(targets.poses[:, :3, 3], told[:, :3, 3], atol=2e-4)


def test_the_arm_is_brought_to_the_first_pose_slowly_and_then_does_what_was_recorded(
    recorded: RecordedEpisode, targets: CommittedPlan
) -> None:
    robot = PerfectRobot(targets, away=0.12)
    session = robot.session
    robot.run(0.5, allowed=False)
    assert (session.phase, robot.chunks) == ("waiting", [])
    robot.run(2.0)
    assert session.phase == "approach"
    robot.run(2.0)
    assert session.phase == "play"
    speeds = np.linalg.norm(np.diff([pose[:3, 3] for pose in robot.poses[:350]], axis=0), axis=1) * 100
    assert speeds.max() < 0.11
    robot.run(session.duration + 2.0)
    assert (session.phase, session.failure, session.ended) == ("done", "", True)
    assert {chunk.policy for chunk in robot.chunks} == {TELEOP}
    notes = " ".join(session.take_notes())
    assert "approaching the first recorded pose, 0.120 m" in notes
    assert "played to its end" in notes
    count = len(robot.times)
    played = Track(np.array(robot.times), np.array(robot.poses), np.array(robot.times), np.full((count, 6), 0.5))
    figures = compare_tracks(
        recorded_track(recorded), played, session.shift_ns, int(targets.times_ns[0]), int(targets.times_ns[-1])
    )
    assert figures["latency_offset_ms"] == pytest.approx(-DELAY * 1e3, abs=12.0), "this robot follows without delay"
    assert figures["aligned_position_rms_mm"] < 1.0
    assert figures["rotation_max_deg"] < 5.0


def test_a_stop_ends_the_replay(targets: CommittedPlan) -> None:
    robot = PerfectRobot(targets)
    robot.run(3.0)
    assert robot.session.phase == "play"
    sent = len(robot.chunks)
    robot.run(1.0, allowed=False)
    assert robot.session.failure.startswith("the cell was stopped")
    robot.run(1.0)
    assert (robot.session.phase, len(robot.chunks)) == ("failed", sent), "it does not begin again by itself"


def test_refusals_end_the_replay_where_there_are_many(targets: CommittedPlan) -> None:
    robot = PerfectRobot(targets)
    robot.run(3.0)
    for _ in range(8):  # one now and then is borne
        robot.session.refuse("chunk_age: old", robot.now_ns)
        robot.now_ns += 600 * MS
    assert not robot.session.ended
    for _ in range(ReplayConfig().refusals):
        robot.session.refuse("workspace: outside", robot.now_ns)
    assert robot.session.failure == "the gate refuses the recording: workspace: outside"
    assert robot.session.refused == 8 + ReplayConfig().refusals


def test_an_arm_that_does_not_come_to_the_first_pose_is_not_sent_on(targets: CommittedPlan) -> None:
    robot = PerfectRobot(targets, away=0.05)
    robot.follows = False
    robot.run(9.0)
    assert robot.session.failure.startswith("the arm does not reach the first recorded pose: it is 0.050 m")


def test_lag_and_offset_are_found() -> None:
    times = np.arange(0, 4 * NS, 10 * MS, dtype=np.int64)
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, 0, 3] = 0.1 * np.sin(2.0 * times / NS)
    hand = np.tile(np.linspace(0.0, 1.0, 6), (len(times), 1))
    one = Track(times, poses, times, hand)
    later = poses.copy()
    later[:, 1, 3] += 2e-3
    two = Track(times + 7 * NS + 80 * MS, later, times + 7 * NS, hand + 0.125)
    figures = compare_tracks(one, two, 7 * NS, NS, 3 * NS)
    assert figures["seconds"] == pytest.approx(2.0)
    assert figures["latency_offset_ms"] == pytest.approx(80.0, abs=0.5)
    assert figures["position_max_mm"] == pytest.approx(16.2, abs=0.5)
    assert figures["aligned_position_rms_mm"] == pytest.approx(2.0, abs=0.05)
    assert (figures["hand_rms"], figures["hand_max"], figures["rotation_max_deg"]) == pytest.approx((0.125, 0.125, 0.0))
    still = Track(times, np.tile(np.eye(4), (len(times), 1, 1)), times, hand)
    assert np.isnan(compare_tracks(still, still, 0, NS, 3 * NS)["latency_offset_ms"])
    with pytest.raises(VipaError, match="was not heard"):
        compare_tracks(one, two, 0, NS, 3 * NS)


def moved(lab: LabConfig, **arm: object) -> LabConfig:
    return dataclasses.replace(lab, name="other", arm=dataclasses.replace(lab.arm, **arm))


def test_another_laboratory_is_told_and_another_end_effector_refused(targets: CommittedPlan) -> None:
    assert check_layout(LAB, LAB, targets) == ()
    assert "nothing of its laboratory" in check_layout(None, LAB, targets)[0]
    front = LAB.cameras["front"]
    extrinsics = dataclasses.replace(front.extrinsics, translation=(1.0, 0.0, 0.7))
    cameras = {"front": dataclasses.replace(front, extrinsics=extrinsics)}
    other = dataclasses.replace(LAB, name="other", cameras=cameras)
    assert check_layout(LAB, other, targets) == (
        "recorded in laboratory simulated, played in other",
        "camera front stands elsewhere than in the recording",
        "only one of the two laboratories has the camera side",
    )
    with pytest.raises(VipaError, match=r"the end effector of laboratory other .* Name the right laboratory"):
        check_layout(LAB, moved(LAB, end_effector_translation=(0.0, 0.0, 0.1)), targets)
    gate = dataclasses.replace(LAB.control.gate, workspace_max=(0.75, 0.45, 0.3))
    low = dataclasses.replace(LAB, control=dataclasses.replace(LAB.control, gate=gate))
    with pytest.raises(VipaError, match=r"leaves the workspace of laboratory simulated by 0\.\d+ m"):
        check_layout(LAB, low, targets)


def test_what_was_never_told_to_move_cannot_be_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = Robot(seconds=1.0, keep=lambda topic, _: topic != "/fr3/joint_trajectory")
    episode = tmp_path / record_robot(tmp_path, robot).name
    assert main(["replay", str(episode), "--actions", "--logs", str(tmp_path / "logs")]) == 1
    assert "the arm was never told to move" in capsys.readouterr().err


def test_the_scene_is_that_of_the_recorded_trial(recorded: RecordedEpisode) -> None:
    assert recorded_scene(recorded) is None
    moments = tuple(dataclasses.replace(moment, trial="wipe_board-7") for moment in recorded.moments)
    assert recorded_scene(dataclasses.replace(recorded, moments=moments)) == ("wipe_board", 7)


@pytest.mark.parametrize("text", ["1", "1,2", "1,2,x", "-1,0,0", "nan,0,0"])
def test_a_tolerance_has_three_numbers(text: str) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "episode", "--actions", "--tolerance", text])


def test_the_node_is_declared_and_ends_the_graph() -> None:
    node = replay_node({"episode": "/data/episode_000001"})
    assert (node.respawn, node.ends_graph, node.module) == (False, True, "vipa.nodes.replay")
    declared = (Path(__file__).resolve().parents[3] / "ros2_ws/src/vipa/setup.py").read_text()
    assert f'"{node.executable}"' in declared
    beside = replay_beside("simulated", "/data/episode_000001", "replay.json")
    assert beside.parameters == {
        "lab": "simulated", "use_sim_time": True, "episode": "/data/episode_000001", "output": "replay.json"
    }  # fmt: skip
