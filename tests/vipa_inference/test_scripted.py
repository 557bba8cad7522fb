"""The scripted policies in closed loop with a drawn cell and a kinematic arm."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest

from vipa_inference.minimum_jerk import SpeedLimits
from vipa_inference.path_following import PathConfig, fingers_down
from vipa_inference.policy import ACTION_DIMENSION, Observation, PolicyError
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from vipa_inference.scripted import (
    ReachConfig,
    ReachPhase,
    ReachPolicy,
    ScriptedPolicy,
    WaveConfig,
    WavePolicy,
    WavePose,
    parse_touch_instruction,
)

ALL = "touch the red, then the green, then the blue marker"
TIP = np.array(
    [ReachConfig().fingertip_offset_m[0], ReachConfig().fingertip_offset_m[1], ReachConfig().fingertip_reach_m]
)
REACH, RADIUS = float(TIP[2]), 0.025
HOME = np.array([[1.0, 0, 0, 0.40], [0, -1, 0, 0], [0, 0, -1, 0.40], [0, 0, 0, 1]])


@dataclass
class Arm:
    """Follows the newest chunk that has arrived; ``lag`` is the time constant of a first-order delay."""

    pose: np.ndarray = field(default_factory=HOME.copy)
    hand: np.ndarray = field(default_factory=lambda: np.ones(6))
    lag: float = 0.0  # s
    held: bool = False
    chunks: list = field(default_factory=list)  # (arrival_ns, chunk)

    def step(self, now_ns, step):
        arrived = [chunk for arrival_ns, chunk in self.chunks if arrival_ns <= now_ns]
        if not arrived or self.held:
            return
        target, hand = target_at(arrived[-1], now_ns)
        share = 1.0 if self.lag == 0.0 else 1.0 - np.exp(-step / self.lag)
        turn = rotation_vector_from_matrix(target[:3, :3] @ self.pose[:3, :3].T)
        self.pose = self.pose.copy()
        self.pose[:3, 3] += share * (target[:3, 3] - self.pose[:3, 3])
        self.pose[:3, :3] = matrix_from_rotation_vector(share * turn) @ self.pose[:3, :3]
        self.hand = self.hand + share * (hand - self.hand)


def target_at(chunk, now_ns):
    """Pose and hand that a chunk asks for at a time, linear between its rows."""
    row = (now_ns - chunk.observation_ns) * 1e-9 / chunk.step_period - 1.0
    row = float(np.clip(row, 0.0, chunk.horizon - 1))
    low, high = int(row), min(int(row) + 1, chunk.horizon - 1)
    rows = dataclasses.replace(chunk, actions=chunk.actions[[low, high]])
    poses, share = rows.target_poses(), row - int(row)
    pose = poses[0].copy()
    pose[:3, 3] += share * (poses[1, :3, 3] - poses[0, :3, 3])
    return pose, chunk.actions[low, 6:] + share * (chunk.actions[high, 6:] - chunk.actions[low, 6:])


@dataclass
class Loop:
    """Cell, arm and policy; chunks arrive 50 ms after the exposure, the arm steps every 10 ms."""

    cell: object
    sphere: type
    policy: object
    instruction: str = ALL
    markers: dict = field(default_factory=dict)
    arm: Arm = field(default_factory=Arm)
    noise_m: float = 0.0
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    now_ns: int = 5_000_000_000
    touched: list = field(default_factory=list)
    poses: list = field(default_factory=list)
    hands: list = field(default_factory=list)
    rigid: bool = True
    period: int = 15  # steps between observations

    def observe(self):
        tip = self.arm.pose[:3, 3] + self.arm.pose[:3, :3] @ TIP
        up = -self.arm.pose[:3, 2]
        hand = [self.sphere("grey", tip + (0.008 + 0.03 * k) * up, 0.008) for k in range(3)]
        hand.append(self.sphere("grey", tip + 0.15 * up, 0.045))
        balls = [self.sphere(colour, position) for colour, position in self.markers.items()]
        views = self.cell.views([*balls, *hand], self.now_ns)
        measured = self.arm.pose.copy()
        measured[:3, 3] += self.generator.normal(0.0, self.noise_m, 3) if self.noise_m else 0.0
        return Observation(views, measured, np.zeros(7), self.arm.hand, self.instruction)

    def run(self, seconds, until=lambda: False):
        """Simulated time until ``until`` or the end, s."""
        start_ns = self.now_ns
        while (self.now_ns - start_ns) * 1e-9 < seconds and not until():
            chunk = self.policy.infer(self.observe())
            assert chunk.actions.shape == (chunk.horizon, ACTION_DIMENSION)
            assert np.all(np.isfinite(chunk.actions))
            self.arm.chunks = [*self.arm.chunks[-2:], (self.now_ns + 50_000_000, chunk)]
            for _ in range(self.period):
                self.now_ns += 10_000_000
                self.arm.step(self.now_ns, 0.01)
                self._contact()
                self.poses.append(self.arm.pose)
                self.hands.append(self.arm.hand)
        return (self.now_ns - start_ns) * 1e-9

    def _contact(self):
        """A rigid ball stops the fingertip at its surface; the touch is noted."""
        for colour, centre in self.markers.items():
            tip = self.arm.pose[:3, 3] + self.arm.pose[:3, :3] @ TIP
            offset = tip - centre
            if np.linalg.norm(offset) < RADIUS:
                if not self.touched or self.touched[-1] != colour:
                    self.touched.append(colour)
                if self.rigid:
                    self.arm.pose[:3, 3] += centre + offset / np.linalg.norm(offset) * RADIUS - tip

    def speeds(self):
        """m/s between control steps."""
        return np.linalg.norm(np.diff([pose[:3, 3] for pose in self.poses], axis=0), axis=1) / 0.01


def scattered(seed):
    """Three balls at least 12 cm apart."""
    generator = np.random.default_rng(seed)
    placed = []
    while len(placed) < 3:
        position = np.array(
            [generator.uniform(0.38, 0.6), generator.uniform(-0.22, 0.22), generator.uniform(0.08, 0.15)]
        )
        if all(np.linalg.norm((position - other)[:2]) > 0.12 for other in placed):
            placed.append(position)
    return dict(zip(("red", "green", "blue"), placed, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_reach_touches_the_markers_in_order(cell, sphere, seed):
    policy = ReachPolicy()
    loop = Loop(cell, sphere, policy, markers=scattered(seed), period=10)
    duration = loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    assert loop.touched == ["red", "green", "blue"]
    assert duration < 30.0
    assert loop.speeds().max() < 0.25 * 1.05


@pytest.mark.parametrize("seed", range(3))
def test_reach_works_with_a_lagging_arm_and_noisy_proprioception(cell, sphere, seed):
    policy = ReachPolicy()
    loop = Loop(cell, sphere, policy, markers=scattered(10 + seed), arm=Arm(lag=0.06), noise_m=0.005)
    duration = loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    assert loop.touched == ["red", "green", "blue"]
    assert duration < 30.0


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [("touch the blue, then the red marker", ["blue", "red"]), ("Touch the green marker.", ["green"])],
)
def test_reach_obeys_the_order_and_the_subset_of_the_instruction(cell, sphere, instruction, expected):
    loop = Loop(cell, sphere, ReachPolicy(), instruction, markers=scattered(5))
    loop.run(30.0, lambda: loop.policy.phase is ReachPhase.DONE)
    loop.run(1.0)
    assert loop.touched == expected


def test_reach_stays_where_it_is_when_it_is_done(cell, sphere):
    loop = Loop(cell, sphere, ReachPolicy(), "touch the red marker", markers=scattered(1))
    loop.run(30.0, lambda: loop.policy.phase is ReachPhase.DONE)
    loop.run(2.0)
    resting = loop.arm.pose.copy()
    loop.run(1.0)
    np.testing.assert_allclose(loop.arm.pose, resting, atol=1e-9)
    assert resting[2, 3] > max(p[2] for p in loop.markers.values()) + RADIUS + REACH


def test_reach_levels_a_tilted_hand_and_shapes_it(cell, sphere):
    tilted = HOME.copy()
    tilted[:3, :3] = matrix_from_rotation_vector([0.4, 0.2, 0.5]) @ HOME[:3, :3]
    policy = ReachPolicy(ReachConfig(hand_shape="pointing"))
    loop = Loop(cell, sphere, policy, "touch the red marker", markers=scattered(2), arm=Arm(pose=tilted))
    loop.run(30.0, lambda: policy.phase is ReachPhase.PRESS)
    np.testing.assert_allclose(loop.arm.pose[:3, 2], [0, 0, -1], atol=1e-3)
    np.testing.assert_allclose(loop.arm.pose[:3, :3], fingers_down(tilted[:3, :3]), atol=1e-3)
    np.testing.assert_allclose(loop.arm.hand, [0.0, 0.0, 0.0, 1.0, 0.3, 1.0], atol=1e-3)
    loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    assert loop.touched == ["red"]


def test_reach_puts_an_offset_fingertip_on_the_ball(cell, sphere):
    policy = ReachPolicy(ReachConfig(fingertip_offset_m=(0.02, 0.03)))
    loop = Loop(cell, sphere, policy, "touch the red marker", markers=scattered(3), rigid=False)
    loop.run(30.0, lambda: policy.phase is ReachPhase.PRESS)
    tip = loop.arm.pose @ np.array([0.02, 0.03, REACH, 1.0])
    expected = loop.markers["red"] + [0.0, 0.0, RADIUS - 0.008]
    np.testing.assert_allclose(tip[:3], expected, atol=0.004)


@pytest.mark.parametrize("stop_in", [ReachPhase.TRANSIT, ReachPhase.DESCEND, ReachPhase.PRESS])
def test_reach_goes_on_smoothly_after_the_arm_was_stopped(cell, sphere, stop_in):
    policy = ReachPolicy()
    loop = Loop(cell, sphere, policy, "touch the green, then the red marker", markers=scattered(0))
    loop.run(20.0, lambda: policy.phase is stop_in)
    loop.run(0.3)
    loop.arm.held = True
    loop.run(3.0)
    assert policy.phase is not ReachPhase.DONE
    loop.arm.held = False
    first = len(loop.poses)
    loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    assert list(dict.fromkeys(loop.touched)) == ["green", "red"]
    jump = np.linalg.norm(loop.poses[first][:3, 3] - loop.poses[first - 1][:3, 3])
    assert jump < 0.03 + (0.15 + 0.15) * 0.25  # distance and lag that count as on the path, and one observation period


def test_reach_recovers_from_a_push(cell, sphere):
    policy = ReachPolicy()
    loop = Loop(cell, sphere, policy, "touch the red marker", markers=scattered(0))
    loop.run(20.0, lambda: policy.phase is ReachPhase.DESCEND)
    loop.arm.pose = loop.arm.pose.copy()
    loop.arm.pose[:3, 3] += [0.05, 0.05, 0.02]
    loop.arm.chunks = []
    loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    assert loop.touched == ["red"]


def test_reach_searches_for_a_hidden_marker_then_says_so_and_recovers(cell, sphere):
    policy = ReachPolicy()
    markers = scattered(0)
    loop = Loop(cell, sphere, policy, "touch the blue marker", markers={"red": markers["red"]})
    with pytest.raises(PolicyError, match=r"the blue marker has not been seen by cameras front and side for \d+ s"):
        loop.run(20.0)
    assert np.linalg.norm(loop.arm.pose[:3, 3] - [0.35, 0.0, 0.5]) < 0.01
    assert loop.touched == []
    loop.markers = markers
    loop.run(20.0, lambda: policy.phase is ReachPhase.DONE)
    assert loop.touched == ["blue"]


def test_reach_ignores_a_marker_outside_the_workspace(cell, sphere):
    far = {"red": np.array([0.45, 0.0, 0.45])}
    loop = Loop(cell, sphere, ReachPolicy(), "touch the red marker", markers=far, arm=Arm(pose=_at(0.35, 0.3, 0.5)))
    loop.run(1.0)
    assert loop.policy.marker_position("red") is None


def test_reach_locates_the_markers_within_5_mm_while_the_hand_moves(cell, sphere):
    policy = ReachPolicy()
    loop = Loop(cell, sphere, policy, markers=scattered(7))
    loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    for colour, position in loop.markers.items():
        assert np.linalg.norm(policy.marker_position(colour) - position) < 0.005


def test_a_new_instruction_starts_a_new_episode(cell, sphere):
    policy = ReachPolicy()
    loop = Loop(cell, sphere, policy, "touch the red marker", markers=scattered(0))
    loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    loop.instruction, loop.markers, loop.touched = "touch the blue marker", scattered(9), []
    loop.run(0.2)
    loop.run(30.0, lambda: policy.phase is ReachPhase.DONE)
    assert loop.touched == ["blue"]


@pytest.mark.parametrize(
    ("instruction", "colours"),
    [
        (ALL, ("red", "green", "blue")),
        ("Touch the blue marker, then the red and finally the green.", ("blue", "red", "green")),
        ("touch green", ("green",)),
    ],
)
def test_instructions(instruction, colours):
    assert parse_touch_instruction(instruction) == colours


@pytest.mark.parametrize(
    ("instruction", "complaint"),
    [
        ("touch the yellow marker", '"yellow" is not understood'),
        ("touch the red after the green marker", '"after" is not understood'),
        ("touch the red, then the red marker", "twice"),
        ("touch the markers", "no colour"),
        ("do not touch the red marker", "does not begin with"),
        ("", "does not begin with"),
    ],
)
def test_instructions_that_are_refused(cell, sphere, instruction, complaint):
    loop = Loop(cell, sphere, ReachPolicy(), instruction, markers=scattered(0))
    with pytest.raises(PolicyError, match=complaint):
        loop.run(1.0)


def test_wave_moves_within_the_workspace_and_works_the_hand(cell, sphere):
    loop = Loop(cell, sphere, WavePolicy(), "")
    loop.run(15.0)
    positions = np.array([pose[:3, 3] for pose in loop.poses])
    assert np.all(positions >= [0.3, -0.3, 0.1])
    assert np.all(positions <= [0.65, 0.3, 0.6])
    assert np.all(np.ptp(positions, axis=0) > [0.04, 0.25, 0.1])
    assert np.ptp(np.array(loop.hands)[:, 3]) > 0.7
    assert loop.speeds().max() < 0.25 * 1.05
    assert np.mean(loop.speeds() > 0.005) > 0.6  # it does not stall


def test_consecutive_chunks_agree_on_the_time_they_share(cell, sphere):
    policy = WavePolicy()
    loop = Loop(cell, sphere, policy, "", arm=Arm(lag=0.1))
    previous = None
    for _ in range(40):
        loop.run(0.15)
        chunk = loop.arm.chunks[-1][1]
        if previous is not None:
            for ahead_ns in range(100_000_000, 650_000_000, 100_000_000):
                now, before = (target_at(c, chunk.observation_ns + ahead_ns) for c in (chunk, previous))
                np.testing.assert_allclose(now[0][:3, 3], before[0][:3, 3], atol=1e-9)
                np.testing.assert_allclose(now[1], before[1], atol=1e-9)
        previous = chunk


def test_wave_does_not_run_away_from_an_arm_that_is_held(cell, sphere):
    loop = Loop(cell, sphere, WavePolicy(), "")
    loop.run(2.0)
    loop.arm.held = True
    loop.run(10.0)
    target, _ = target_at(loop.arm.chunks[-1][1], loop.now_ns)
    assert np.linalg.norm(target[:3, 3] - loop.arm.pose[:3, 3]) < 0.15
    loop.arm.held = False
    loop.run(1.0)
    assert loop.speeds()[-90:].max() < 0.25 * 1.05


def test_wave_starts_anew_when_time_runs_backwards(cell, sphere):
    loop = Loop(cell, sphere, WavePolicy(), "")
    loop.run(3.0)
    loop.now_ns, loop.arm.chunks = 1_000_000_000, []
    loop.run(2.0)
    assert loop.speeds().max() < 0.25 * 1.05


@pytest.mark.parametrize("instruction", ["", "wave", ALL])
def test_scripted_chunks_carry_their_provenance_and_are_reproducible(cell, sphere, instruction):
    first, second = (Loop(cell, sphere, ScriptedPolicy(), instruction, markers=scattered(0)) for _ in range(2))
    first.run(1.5)
    second.run(1.5)
    chunk = first.arm.chunks[-1][1]
    np.testing.assert_array_equal(chunk.actions, second.arm.chunks[-1][1].actions)
    assert chunk.policy == "scripted"
    assert chunk.policy_hash == ScriptedPolicy().policy_hash
    assert set(chunk.exposures_ns) == {"front", "side"}
    assert chunk.observation_ns == min(chunk.exposures_ns.values())
    assert chunk.instruction == instruction


def test_scripted_reaches_when_told_to_touch_and_waves_otherwise(cell, sphere):
    policy = ScriptedPolicy()
    loop = Loop(cell, sphere, policy, ALL, markers=scattered(0))
    loop.run(25.0)
    assert loop.touched == ["red", "green", "blue"]
    loop.instruction, loop.markers = "wave", {}
    moving = len(loop.poses)
    loop.run(5.0)
    assert np.ptp([pose[1, 3] for pose in loop.poses[moving:]]) > 0.1
    assert loop.speeds()[moving:].max() < 0.25 * 1.05


def test_reset_forgets_the_episode(cell, sphere):
    policy = ScriptedPolicy()
    loop = Loop(cell, sphere, policy, "touch the red marker", markers=scattered(0))
    loop.run(2.0)
    fresh = policy.infer(loop.observe()).actions
    policy.reset()
    start = policy.infer(loop.observe()).actions
    assert not np.allclose(fresh, start)
    np.testing.assert_allclose(start[:2, :6], 0.0, atol=1e-3)  # from rest


def test_the_hash_names_the_configuration():
    default = ReachPolicy().policy_hash
    assert len(default) == 64
    assert default == ReachPolicy(ReachConfig()).policy_hash
    assert default != ReachPolicy(ReachConfig(fingertip_reach_m=0.06)).policy_hash
    assert default != WavePolicy().policy_hash


@pytest.mark.parametrize("policy", [WavePolicy, ReachPolicy, ScriptedPolicy])
def test_an_observation_without_a_camera_is_refused(cell, sphere, policy):
    observation = Loop(cell, sphere, None).observe()
    without = dataclasses.replace(observation, views={"front": observation.views["front"]})
    with pytest.raises(PolicyError, match=r"no frame of camera side \(present: front\)"):
        policy().infer(without)


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: PathConfig(horizon=0), "horizon"),
        (lambda: PathConfig(step_period=0.0), "step_period"),
        (lambda: PathConfig(lead=-0.1), "lead"),
        (lambda: PathConfig(cameras=()), "cameras"),
        (lambda: PathConfig(limits=SpeedLimits(linear=float("nan"))), "linear"),
        (lambda: WavePose((0.2, 0.0, 0.3)), "position"),
        (lambda: WavePose((0.4, 0.0, 0.3), hand=1.2), "hand"),
        (lambda: WaveConfig(poses=()), "poses"),
        (lambda: ReachConfig(path=PathConfig(cameras=("front",))), "path.cameras"),
        (lambda: ReachConfig(press_m=0.05), "press_m"),
        (lambda: ReachConfig(hover_m=0.0), "hover_m"),
        (lambda: ReachConfig(memory=2, sightings=3), "memory"),
    ],
)
def test_configurations_out_of_range_name_the_key(build, key):
    with pytest.raises(ValueError, match=key):
        build()


def _at(x, y, z):
    pose = HOME.copy()
    pose[:3, 3] = x, y, z
    return pose
