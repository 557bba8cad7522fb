"""Clutch, indexing, silence and chunks, with an arm that follows the target after a while."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa.teleop.command import LEAVE, TeleopCommand
from vipa.teleop.config import TeleopConfig
from vipa.teleop.motion import TargetMotion
from vipa.teleop.session import RobotReading, TeleopSession
from vipa_inference.policy import ActionChunk
from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]
MS = 1_000_000
CYCLE = 10 * MS
CONFIG = TeleopConfig()
FORWARD = np.array([0.1, 0, 0, 0, 0, 0])
STILL = np.zeros(6)


class Bench:
    """A session, and an arm that is where the target was 50 ms ago."""

    def __init__(self, **changes: Any) -> None:
        config = TeleopConfig(**changes)
        motion = TargetMotion(config, np.array([0.2, -0.5, 0.0]), np.array([0.8, 0.5, 0.8]))
        self.session = TeleopSession(config, motion, "tidy up")
        self.pose = np.eye(4)
        self.pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
        self.pose[:3, 3] = 0.5, 0.0, 0.4
        self.hand = np.full(6, 0.8)
        self.lag: deque[Array] = deque(maxlen=5)
        self.now_ns = 10_000 * MS
        self.chunks: list[tuple[int, ActionChunk]] = []
        self.targets: list[Array] = []
        self.notes: list[str] = []
        self.follows = True

    def run(self, ms: int, command: TeleopCommand | None = None, allowed: bool = True, **fields: Any) -> None:
        """Let time pass; the fields make a command of every cycle."""
        for _ in range(ms * MS // CYCLE):
            self.now_ns += CYCLE
            given = TeleopCommand(self.now_ns, **fields) if fields else command
            robot = RobotReading(self.now_ns - 5 * MS, self.pose, self.hand)
            self.session.update(given, robot, self.now_ns, allowed)
            chunk = self.session.chunk(robot, self.now_ns)
            if chunk is not None:
                self.chunks.append((self.now_ns, chunk))
            if self.session.target is not None:
                self.lag.append(self.session.target.pose())
                self.targets.append(self.session.target.position)
                if self.follows:
                    self.pose = self.lag[0].copy()
            self.notes += self.session.take_notes()

    def settle(self) -> None:
        """Open the clutch until the arm rests."""
        self.run(800, clutch=False, twist=STILL)

    @property
    def x(self) -> float:
        return float(self.pose[0, 3])


def test_it_moves_only_while_the_clutch_is_held() -> None:
    bench = Bench()
    bench.run(300, clutch=False, twist=FORWARD)
    assert (bench.chunks, bench.session.engaged) == ([], False)
    bench.run(1000, clutch=True, twist=FORWARD)
    assert bench.session.engaged
    assert bench.x == pytest.approx(0.5 + 0.1 * (1.0 - 0.05 - 0.05), abs=0.012)
    bench.settle()
    assert not bench.session.moving
    rest = bench.x
    bench.run(500, clutch=False, twist=FORWARD)
    assert bench.x == rest
    assert [note.partition(":")[0] for note in bench.notes] == ["engaged", "released (clutch open)"]


def test_a_clutch_that_is_held_from_the_start_must_be_opened_first() -> None:
    bench = Bench()
    bench.run(500, clutch=True, twist=FORWARD)
    assert not bench.session.moving
    bench.run(20, clutch=False, twist=FORWARD)
    bench.run(500, clutch=True, twist=FORWARD)
    assert bench.x > 0.52


def test_silence_stops_the_target_smoothly_and_within_the_limits() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(700, clutch=True, twist=FORWARD)
    count, position = len(bench.targets), bench.x
    bench.run(1500)
    assert not bench.session.moving
    assert "released (silence): the target comes to rest" in bench.notes
    velocity = np.diff(np.array(bench.targets)[:, 0]) / 0.01
    assert np.abs(np.diff(velocity)).max() <= CONFIG.linear_acceleration * 0.01 * 1.01
    stopping = velocity[count:]
    assert stopping[:13].min() > 0.095, "the command holds for 150 ms"
    assert abs(velocity[-1]) < 1e-3
    assert bench.x - position < 0.1 * (0.15 + 0.1 + 0.05) + 0.01
    bench.run(300, clutch=True, twist=FORWARD)
    assert bench.session.engaged, "commands that come back go on, from where the arm is"


def test_the_newest_chunk_alone_brings_the_arm_to_rest_when_the_operator_falls_silent() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(700, clutch=True, twist=FORWARD)
    sent_ns, chunk = bench.chunks[-1]
    command_ns = bench.now_ns - (bench.now_ns - sent_ns)
    bench.run(1500)
    times = chunk.observation_ns + 50 * MS * np.arange(1, chunk.horizon + 1)
    poses = chunk.target_poses()
    ahead = poses[-1, 0, 3] - poses[0, 0, 3]
    assert np.linalg.norm(poses[-1, :3, 3] - poses[-2, :3, 3]) < 1e-4, "its last rows rest"
    assert 0.005 < ahead < 0.1 * (times[-1] - command_ns) * 1e-9
    assert bench.x == pytest.approx(poses[-1, 0, 3], abs=0.006)


def test_chunks_agree_with_one_another_and_say_what_a_policy_says() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(1000, clutch=True, twist=FORWARD)
    chunks = [chunk for _, chunk in bench.chunks]
    assert len(chunks) >= 19
    ids = [chunk.chunk_id for chunk in chunks]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    stamps = [chunk.observation_ns for chunk in chunks]
    assert (np.diff(stamps) > 0).all()
    for chunk in chunks:
        assert (chunk.policy, chunk.instruction, chunk.step_period) == ("teleop", "tidy up", 0.05)
        assert chunk.actions.shape == (CONFIG.horizon, 12)
        assert (chunk.actions[:, 6:] == 0.8).all(), "the hand keeps its target"
    before, after = chunks[10].target_poses(), chunks[11].target_poses()
    assert np.abs(before[1:3, :3, 3] - after[0:2, :3, 3]).max() < 1e-3


def test_the_clutch_indexes_a_pose_and_a_jump_while_it_is_open_does_not_matter() -> None:
    bench = Bench()
    hand = np.eye(4)
    hand[:3, 3] = -3.0, 1.0, 7.0
    bench.run(20, clutch=False, pose=hand)
    bench.run(200, clutch=True, pose=hand)
    assert bench.x == pytest.approx(0.5, abs=1e-6)
    moved = hand.copy()
    moved[0, 3] += 0.08
    moved[:3, :3] = matrix_from_rotation_vector([0.0, 0.0, 0.3])
    start = bench.pose[:3, :3].copy()
    bench.run(1500, clutch=True, pose=moved)
    assert bench.x == pytest.approx(0.58, abs=1e-3)
    assert np.abs(bench.pose[:3, :3] - moved[:3, :3] @ start).max() < 2e-3
    bench.run(800, clutch=False, pose=hand)
    bench.run(300, clutch=True, pose=hand)
    assert bench.x == pytest.approx(0.58, abs=1e-3)


def test_a_twist_in_the_frame_of_the_tool_follows_the_tool() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(500, clutch=True, twist=np.array([0, 0, 0.1, 0, 0, 0.0]), frame="tool")
    assert bench.pose[2, 3] < 0.37, "the tool points down"
    assert bench.x == pytest.approx(0.5)


def test_the_hand_follows_at_its_speed_and_only_where_it_is_told() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    wanted = np.array([0.0, np.nan, 0.5, 1.0, np.nan, 0.8])
    bench.run(200, clutch=True, twist=STILL, hand=wanted)
    assert bench.session.target is not None
    assert bench.session.target.hand[0] == pytest.approx(0.8 - 1.5 * 0.19, abs=0.02)
    bench.run(600, clutch=True, twist=STILL, hand=wanted)
    assert bench.session.target.hand == pytest.approx([0.0, 0.8, 0.5, 1.0, 0.8, 0.8])
    bench.run(20, clutch=False, twist=STILL, hand=np.ones(6))
    assert bench.chunks[-1][1].actions[-1, 6:] == pytest.approx([0.0, 0.8, 0.5, 1.0, 0.8, 0.8])


def test_after_a_stop_the_clutch_must_be_opened_and_closed_again() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(400, clutch=True, twist=FORWARD)
    bench.run(50, clutch=True, twist=FORWARD, allowed=False)
    assert not bench.session.moving
    count = len(bench.chunks)
    bench.run(500, clutch=True, twist=FORWARD)
    assert len(bench.chunks) == count
    bench.run(20, clutch=False, twist=STILL)
    bench.run(100, clutch=True, twist=FORWARD)
    assert len(bench.chunks) > count


def test_an_arm_that_does_not_follow_holds_the_target_back() -> None:
    bench = Bench()
    bench.follows = False
    bench.run(20, clutch=False, twist=STILL)
    bench.run(3000, clutch=True, twist=FORWARD)
    assert max(np.array(bench.targets)[:, 0]) <= 0.5 + CONFIG.tether + 0.002
    assert any("the arm does not follow" in note for note in bench.notes)


def test_a_refusal_of_the_gate_brings_the_target_back_to_the_arm() -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(400, clutch=True, twist=FORWARD)
    bench.session.refuse("reach: too far", RobotReading(bench.now_ns, bench.pose, bench.hand))
    assert bench.session.target is not None
    assert bench.session.target.resting
    assert bench.session.target.position[0] == bench.x
    assert bench.session.take_notes() == ["refused: reach: too far"]


BAD = [
    {"twist": np.array([np.nan, 0, 0, 0, 0, 0])},
    {"twist": np.array([0, 0, np.inf, 0, 0, 0])},
    {"twist": np.zeros(5)},
    {"twist": np.full(6, 1e9)},
    {"twist": np.array(["a"] * 6)},
    {"twist": STILL, "hand": np.full(6, np.inf)},
    {"twist": STILL, "hand": np.full(6, 7.0)},
    {"twist": STILL, "hand": np.zeros(4)},
    {"twist": STILL, "frame": "world"},
    {"pose": np.full((4, 4), np.nan)},
    {"pose": np.eye(3)},
    {"pose": 2.0 * np.eye(4)},
    {"twist": STILL, "pose": np.eye(4)},
    {"hand": LEAVE},
]


@pytest.mark.parametrize("fields", BAD)
def test_a_command_that_is_none_is_refused_and_counts_as_silence(fields: dict[str, Any]) -> None:
    bench = Bench()
    bench.run(20, clutch=False, twist=STILL)
    bench.run(400, clutch=True, twist=FORWARD)
    bench.run(1500, clutch=True, **fields)
    assert bench.session.refused == 150
    assert not bench.session.moving
    assert bench.notes[-1].startswith("command refused: ")
    assert all(np.isfinite(chunk.actions).all() for _, chunk in bench.chunks)


def test_a_clock_that_jumps_forgets_the_target() -> None:
    for jump in (-5_000 * MS, 5_000 * MS):
        bench = Bench()
        bench.run(20, clutch=False, twist=STILL)
        bench.run(400, clutch=True, twist=FORWARD)
        bench.now_ns += jump
        bench.run(10)
        assert not bench.session.moving
        bench.run(20, clutch=False, twist=STILL)
        bench.run(200, clutch=True, twist=FORWARD)
        assert bench.session.engaged


numbers = st.one_of(st.floats(-5.0, 5.0), st.floats(allow_nan=True, allow_infinity=True))
fields = st.fixed_dictionaries(
    {
        "clutch": st.booleans(),
        "twist": st.tuples(*[numbers] * 6).map(np.array),
        "hand": st.tuples(*[numbers] * 6).map(np.array),
        "frame": st.sampled_from(["base", "tool"]),
        "late_ms": st.integers(-400, 400),
    }
)


@given(st.lists(st.tuples(st.none() | fields, st.integers(1, 25), st.booleans()), max_size=12))
@settings(max_examples=25, deadline=None)
def test_whatever_comes_the_target_keeps_its_limits_and_rests_in_the_end(script: list[Any]) -> None:
    bench = Bench()
    for given_command, cycles, allowed in script:
        command = None
        if given_command is not None:
            late_ms = given_command["late_ms"]
            wanted = {name: value for name, value in given_command.items() if name != "late_ms"}
            command = TeleopCommand(bench.now_ns - late_ms * MS, **wanted)
        before = len(bench.targets)
        bench.run(10 * cycles, command, allowed)
        steps = np.diff(np.array(bench.targets[before:]).reshape(-1, 3), axis=0) / 0.01
        if any("does not follow" in note for note in bench.notes):
            return
        assert np.linalg.norm(steps, axis=1).max(initial=0.0) <= CONFIG.linear_speed * 1.001
        change = np.linalg.norm(np.diff(steps, axis=0), axis=1).max(initial=0.0)
        assert change <= CONFIG.linear_acceleration * 0.01 * 1.001
    bench.run(1200)
    assert not bench.session.moving
    for _, chunk in bench.chunks:
        assert np.isfinite(chunk.actions).all()
