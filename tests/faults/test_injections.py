"""Each injection with a cell that behaves, and with one that does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults.fabricated_cell import MS, START_NS, FabricatedCell

from vipa.control.gate import GateConfig, SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.faults import arm, camera, chunks, hand, inference, kill, quick_stop, seams, serial_hand, stop
from vipa.faults.cell import Plan, Seen, SeenState
from vipa.faults.lab_variants import QUICK, write_variant
from vipa.faults.suite import InjectionOptions

OPTIONS = InjectionOptions(repeats=2)


def test_a_stop_that_holds_passes_and_one_that_creeps_does_not() -> None:
    cell = FabricatedCell()
    (outcome,) = stop.inject(cell, OPTIONS)
    assert outcome.holds, outcome.line()
    assert outcome.injected == 2
    assert 80 <= outcome.figures["rest_max_ms"] <= 120
    assert cell.calls == ["/supervisor/stop", "/supervisor/resume"] * 2
    (slow,) = stop.inject(FabricatedCell(braking_s=0.6), OPTIONS)
    assert "rest_max_ms" in slow.broken[0]
    (creeping,) = stop.inject(FabricatedCell(creeps=0.015), OPTIONS)
    assert "moved_while_stopped_rad" in creeping.broken[0]


def test_every_node_is_killed_as_often_as_asked() -> None:
    cell = FabricatedCell()
    outcomes = list(kill.inject(cell, OPTIONS))
    assert sorted(cell.killed) == sorted(2 * kill.nodes(cell.lab))
    assert [o.name for o in outcomes][-2:] == ["kill_arm", "kill_supervisor"]
    assert all(outcome.holds for outcome in outcomes), [outcome.line() for outcome in outcomes]
    late = list(kill.inject(FabricatedCell(away_s=6.0), InjectionOptions(repeats=1)))
    assert all("whole_again_max_ms" in outcome.broken[0] for outcome in late)


def test_a_cell_is_whole_again_once_it_is_ready_after_it_was_not_or_was_not_heard() -> None:
    ready = [SeenState(t * MS, True, "") for t in (0, 50, 100)]
    assert kill.whole_ns(ready, 10 * MS) is None
    assert kill.whole_ns([*ready, SeenState(150 * MS, False, "x"), SeenState(900 * MS, True, "")], 10 * MS) == 900 * MS
    assert kill.whole_ns([*ready, SeenState(2000 * MS, True, "")], 120 * MS) == 2000 * MS


def test_an_arm_that_waits_for_its_operator_passes() -> None:
    cell = FabricatedCell()
    outcomes = list(arm.inject(cell, OPTIONS))
    assert [outcome.name for outcome in outcomes] == list(arm.FAULTS)
    assert all(outcome.holds for outcome in outcomes), [outcome.line() for outcome in outcomes]
    assert cell.calls == ["/fr3/recover", "/supervisor/resume"] * 8
    assert [name for name, _ in cell.requests].count("release_user_stop") == 2


def test_the_hand_is_back_after_its_longest_absence() -> None:
    read = [START_NS + k * 20 * MS for k in range(5)]
    assert hand.back_after(read, START_NS) == START_NS
    back = START_NS + 500 * MS
    assert hand.back_after([*read, back, back + 20 * MS], START_NS + 70 * MS) == back
    assert hand.back_after([], START_NS) is None


def test_a_hand_on_a_serial_line_is_another_hand() -> None:
    usual, serial = FabricatedCell(), FabricatedCell()
    names = [outcome.name for outcome in hand.inject(usual, OPTIONS)]
    assert names == ["hand_time_out", "hand_damaged_answer", "hand_disconnect"]
    outcomes = list(serial_hand.inject(serial, OPTIONS))
    assert [outcome.name for outcome in outcomes] == [
        "serial_hand_time_out",
        "serial_hand_crc_error",
        "serial_hand_disconnect",
    ]
    assert all(outcome.holds for outcome in outcomes), [outcome.line() for outcome in outcomes]
    asked = ["silence_hand"] * 2 + ["spoil_hand"] * 2 + ["disconnect_hand"] * 2
    assert [name for name, _ in usual.requests] == [name for name, _ in serial.requests] == asked


def test_chunks_that_reach_the_plan_are_counted() -> None:
    outcomes = {outcome.name: outcome for outcome in chunks.inject(FabricatedCell(), InjectionOptions(repeats=1))}
    assert all(outcome.holds for outcome in outcomes.values()), [o.line() for o in outcomes.values()]
    assert set(outcomes) == {f"chunks_{kind}" for kind in chunks.KINDS}
    leaky = next(chunks.inject(FabricatedCell(gate=lambda chunk: chunk.chunk_id % 2 == 0), InjectionOptions(repeats=1)))
    assert leaky.figures["reached_a_driver"] == leaky.injected / 2
    assert not leaky.holds


@pytest.mark.parametrize("kind", chunks.KINDS)
def test_the_gate_itself_refuses_what_is_injected(kind: str) -> None:
    gate_config, random = GateConfig(), InjectionOptions().random(kind)
    gate = SafetyGate(gate_config, Kinematics())
    cell = FabricatedCell()
    cell.wait(0.5)
    good = chunks.newest(cell)
    pose = Kinematics().forward(np.array([0.0, -0.4, 0.0, -2.4, 0.0, 2.0, 0.785]))
    actions = np.zeros((16, 12))
    actions[:, 6:] = 0.2
    good = replace(good, reference_pose=pose, actions=actions)
    now_ns = good.observation_ns + 40 * MS
    assert gate.check_chunk(good, now_ns, pose).accepted
    for _ in range(50):
        chunk, fields = chunks.KINDS[kind](good, random, gate_config)
        is_refused = not gate.check_chunk(chunk, now_ns, pose).accepted
        assert is_refused or set(fields) <= {"horizon", "dimension", "actions", "step_period"} != set()
        assert is_refused or fields


def test_a_stalled_server_stops_the_arm_at_the_limit_of_the_observations_age() -> None:
    outcomes = list(inference.inject(FabricatedCell(), InjectionOptions(repeats=3)))
    assert [outcome.name for outcome in outcomes] == ["inference_stall", "policy_server_kill"]
    assert all(outcome.holds for outcome in outcomes), [outcome.line() for outcome in outcomes]
    assert outcomes[0].figures["over_before_hold"] == 1.0  # the shortest stall
    assert all(560 < outcome.figures["rest_max_ms"] < 700 for outcome in outcomes)
    late = next(inference.inject(FabricatedCell(braking_s=0.5), InjectionOptions(repeats=3)))
    assert "rest_after_limit_max_ms" in late.broken[0]


def test_a_laboratory_that_stops_sooner_rests_within_300_ms_of_the_fault(tmp_path: Path) -> None:
    lab = str(write_variant("simulated", QUICK, tmp_path))
    outcomes = list(quick_stop.inject(FabricatedCell(lab=lab, period_ns=30 * MS), InjectionOptions(repeats=3)))
    assert [outcome.name for outcome in outcomes] == ["quick_inference_stall", "quick_policy_server_kill"]
    assert all(outcome.holds for outcome in outcomes), [outcome.line() for outcome in outcomes]
    assert all(outcome.figures["holds_without_a_fault_per_minute"] == 0.0 for outcome in outcomes)
    slow = FabricatedCell(lab=lab, period_ns=100 * MS)  # each chunk is missed after 80 ms
    assert next(quick_stop.inject(slow, InjectionOptions(repeats=1))).figures["holds_without_a_fault_per_minute"] > 100
    late = FabricatedCell(lab=lab, period_ns=30 * MS, braking_s=0.28)
    assert any("rest_max_ms" in line for line in next(quick_stop.inject(late, InjectionOptions(repeats=3))).broken)


def test_late_chunks_are_counted_and_a_violated_limit_breaks_the_bound() -> None:
    cell = FabricatedCell()
    outcomes = list(seams.inject(cell, InjectionOptions(repeats=1)))
    assert [outcome.name for outcome in outcomes] == [f"seams_{ms}ms" for ms in (0, 50, 100, 200, 300)]
    assert all(outcome.holds for outcome in outcomes), [outcome.line() for outcome in outcomes]
    assert all(outcome.figures["chunks_taken"] == 40.0 for outcome in outcomes)
    assert all(outcome.figures["age_p50_ms"] == 40.0 for outcome in outcomes)
    cell.violations = 1
    assert "limit_violations" in next(seams.inject(cell, InjectionOptions(repeats=1))).broken[0]
    silent = FabricatedCell(period_ns=10_000 * MS)
    assert not next(seams.inject(silent, InjectionOptions(repeats=1))).holds


def plan_seen(exposed_ns: dict[str, int], taken_ns: int, chunk_id: int = 1) -> Seen:
    cell = FabricatedCell()
    cell.wait(0.2)
    chunk = replace(
        chunks.newest(cell), chunk_id=chunk_id, exposures_ns=exposed_ns, observation_ns=min(exposed_ns.values())
    )
    return Seen(chunks={chunk_id: chunk}, plans=[Plan(taken_ns, chunk_id)])


def test_a_chunk_from_an_old_frame_is_found() -> None:
    frames = {"front": START_NS, "side": START_NS + 10 * MS}
    assert camera.taken_from_old_frames(plan_seen(frames, START_NS + 140 * MS)) == []
    assert camera.taken_from_old_frames(plan_seen(frames, START_NS + 160 * MS)) == [1]


def test_a_frame_that_is_used_twice_is_found() -> None:
    seen = plan_seen({"front": START_NS, "side": START_NS}, START_NS + 40 * MS)
    assert camera.frames_used_twice(seen) == []
    seen.chunks[2] = replace(seen.chunks[1], chunk_id=2, exposures_ns={"front": START_NS, "side": START_NS + 33 * MS})
    seen.plans.append(Plan(START_NS + 140 * MS, 2))
    assert camera.frames_used_twice(seen) == [2]


def test_the_hold_is_measured_from_the_limit_of_the_newest_observation() -> None:
    seen = plan_seen({"front": START_NS, "side": START_NS}, START_NS + 40 * MS)
    limit_ns, hold = camera.limit_and_hold(seen, START_NS, 0.6)
    assert (limit_ns, hold) == (START_NS + 600 * MS, None)
    seen.plans += [Plan(START_NS + 605 * MS, None), Plan(START_NS + 900 * MS, 3)]
    limit_ns, hold = camera.limit_and_hold(seen, START_NS, 0.6)
    assert hold is not None
    assert hold.time_ns - limit_ns == 5 * MS
    assert camera.next_plan_ns(seen, hold) == START_NS + 900 * MS
