"""The faults that need no graph, a few of each: that nothing gets through, and that what would get through is seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vipa.control.config import ControlConfig
from vipa.control.gate import JointVerdict, SafetyGate
from vipa.control.schedule import JointWindow
from vipa.faults import disk, requests
from vipa.faults.clock import JUMPS_S, ClockJump
from vipa.faults.fuzz import MUTATIONS, UNUSABLE, Fuzzer, fuzz_trajectories
from vipa.faults.rig import FollowingArm, Rig
from vipa.faults.suite import INJECTIONS, InjectionOptions
from vipa.recording.config import MEGABYTE


def test_fuzzed_chunks_move_the_arm_within_its_limits() -> None:
    fuzzer = Fuzzer(seed=1)
    fuzzer.run(2000)
    arm = fuzzer.rig.arm
    assert fuzzer.rig.crashes == []
    assert (arm.outside, arm.refused) == (0, 0), arm.reasons
    assert fuzzer.sound_accepted >= 3
    assert arm.windows > 10
    assert sum(fuzzer.accepted[name] for name in UNUSABLE) == 0


@pytest.mark.parametrize("name", MUTATIONS)
def test_no_kind_of_fuzzed_chunk_harms(name: str) -> None:
    fuzzer = Fuzzer(seed=2)
    fuzzer.cycle([])
    for _ in range(3):
        fuzzer.cycle([name] * 3)
    assert fuzzer.rig.crashes == []
    assert (fuzzer.rig.arm.outside, fuzzer.rig.arm.refused) == (0, 0)
    assert fuzzer.offered[name] == 9
    assert name not in UNUSABLE or fuzzer.accepted[name] == 0


def test_the_fuzzer_sees_what_a_gate_without_limits_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_limit_translation", "_limit_rotation"):
        monkeypatch.setattr(SafetyGate, limit, lambda *_: (None, True))
    monkeypatch.setattr(SafetyGate, "_judge_path", lambda _, times, q, dq: JointVerdict(True, q[1:], dq[1:], ()))
    fuzzer = Fuzzer(seed=1)
    for _ in range(100):
        fuzzer.cycle(["tenfold"])
        if fuzzer.rig.arm.refused + fuzzer.rig.arm.outside:
            return
    pytest.fail("nothing was seen")


def test_the_arm_counts_a_window_beyond_its_limits() -> None:
    config = ControlConfig()
    rest = np.array(config.kinematics.rest_posture)
    arm = FollowingArm(config, rest)
    still = JointWindow(0, np.array([0.05, 0.1]), np.tile(rest, (2, 1)), np.zeros((2, 7)))
    arm.take(still, np.full(6, 0.5), 0, 0)
    assert (arm.windows, arm.outside, arm.refused) == (1, 0, 0)
    arm.take(still, np.full(6, 1.5), 0, 0)
    assert arm.outside == 1
    arm.take(replace(still, positions=rest + np.array([[0.0], [1.0]])), None, 0, 0)
    assert arm.refused == 1


def test_fuzzed_trajectories_pass_the_drivers_check_only_within_the_limits() -> None:
    taken, outside, crashes = fuzz_trajectories(300, np.random.default_rng(3))
    assert crashes == []
    assert taken > 10
    assert outside == 0


@pytest.mark.parametrize("jump_s", JUMPS_S[::2])
@pytest.mark.parametrize("fresh_state", [False, True])
def test_after_a_jump_of_the_clock_nothing_stale_moves_the_arm(jump_s: float, fresh_state: bool) -> None:
    jump = ClockJump(4, jump_s, 60, fresh_state)
    assert (jump.stale_accepted, jump.stale_windows, jump.rig.arm.outside) == (0, 0, 0)
    assert jump.is_at_rest
    assert jump.resumed


def test_without_a_jump_the_same_chunk_is_accepted() -> None:
    rig = Rig(4)
    for _ in range(3):
        rig.begin_cycle()
        rig.tick()
    assert rig.offer(rig.sound_chunk())
    assert rig.arm.windows == 1


@pytest.mark.protocol
def test_neither_server_accepts_what_it_must_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_FLOOD_S", 0.3)
    monkeypatch.setattr(requests, "_SAY_S", 0.05)
    outcomes = list(requests.inject(InjectionOptions(repeats=1)))
    assert [outcome.name for outcome in outcomes] == ["policy_server_requests", "console_requests"]
    assert [outcome.broken for outcome in outcomes] == [(), ()]


def test_a_slow_disk_drops_frames_and_damages_nothing(tmp_path: Path) -> None:
    robot = disk.SyntheticRobot(disk.SyntheticRobotConfig(cameras=("front",), height=120, width=160))
    config = replace(disk._SLOW, write_rate=0.2 * MEGABYTE, queue_size=400_000, reserve=100_000)
    waits = disk.record(tmp_path, config, robot, 1.0)
    figures = disk.recorded_figures(tmp_path)
    assert figures["episodes_damaged"] == 0
    assert figures["frames_dropped"] > 0
    assert figures["frames"] > 0
    assert np.percentile(waits, 50) < 1e-3, "nobody waits for the disk"


def test_each_injection_has_its_module() -> None:
    for injection in INJECTIONS:
        assert callable(injection.inject)
