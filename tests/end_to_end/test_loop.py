"""The whole loop in the simulated laboratory, through the genuine drivers: bring-up, trial, restart after a crash."""

import os
import signal
import time

import numpy as np
import pytest
from end_to_end.cell import Cell, processes_of, stop

from vipa.laboratory_client import LaboratoryClient

pytestmark = pytest.mark.end_to_end


def test_bring_up_moves_arm_and_hand_and_stops_everything(cell: Cell) -> None:
    _, output, result = cell.run("bringup", "--smoke", "8")
    figures = result["figures"]
    assert figures["executed_steps"] > 100, output
    assert figures["fci_packets_lost"] == 0
    assert figures["aborts"] == 0
    assert figures["gate_violations_reaching_driver"] == 0
    assert figures["node_restarts"] == 0
    assert result["details"]["exit_status"] == 0
    assert processes_of(cell) == []


def test_a_trial_touches_all_three_markers(cell: Cell) -> None:
    status, output, result = cell.run("trial", "--task", "reach", "--seed", "1")
    assert status == 0, output
    (task,) = result["details"]["report"]["tasks"]
    assert task["outcomes"]["succeeded"] == 1
    assert output.count("1/1") == 3
    assert processes_of(cell) == []


def test_a_killed_laboratory_ends_the_graph_and_the_next_start_is_clean(cell: Cell) -> None:
    process = cell.start("bringup")
    cell.wait_for_log("supervisor", "cell READY")
    (pid,) = [p for p in processes_of(cell) if "vipa_sim.laboratory" in command_of(p)]
    os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "laboratory" in output
    assert processes_of(cell) == []
    process = cell.start("bringup")
    cell.wait_for_log("supervisor", "cell READY")
    status, output = stop(process)
    assert status == 0, output


def test_stops_hold_arm_and_hand_until_the_operator_allows_motion(cell: Cell) -> None:
    process = cell.start("bringup")
    cell.wait_for_log("supervisor", "cell READY")
    laboratory = cell.laboratory()
    laboratory.request("disconnect_hand")
    cell.wait_for_log("hand", "connecting again")
    wait_for_motion(laboratory)
    assert "FAULT" not in cell.log("supervisor"), "a connection that comes back at once is no fault"
    laboratory.request("silence_hand", seconds=2.0)
    cell.wait_for_log("supervisor", "cell FAULT: hand")
    wait_for_motion(laboratory)
    assert cell.ask("cell", "stop") == "stopped\n"
    time.sleep(1.0)
    assert_at_rest(laboratory)
    assert cell.ask("cell", "reset") == "motion allowed\n"
    wait_for_motion(laboratory)

    laboratory.request("user_stop")
    cell.wait_for_log("supervisor", "USER_STOP")
    time.sleep(0.5)
    assert_at_rest(laboratory)
    laboratory.request("release_user_stop")
    assert_at_rest(laboratory)  # the operator has not recovered the arm: it must not move by itself
    stop(process)


def assert_at_rest(laboratory: LaboratoryClient, seconds: float = 2.0) -> None:
    before = laboratory.request("status")
    time.sleep(seconds)
    after = laboratory.request("status")
    for name, tolerance in (("joint_positions", 2e-3), ("hand_positions", 0.02)):
        assert np.abs(np.array(after[name]) - np.array(before[name])).max() < tolerance, f"{name} move"


def wait_for_motion(laboratory: LaboratoryClient) -> None:
    before = np.array(laboratory.request("status")["joint_positions"])
    deadline = time.monotonic() + 60
    while np.abs(np.array(laboratory.request("status")["joint_positions"]) - before).max() < 0.02:
        assert time.monotonic() < deadline, "the policy does not move the arm"
        time.sleep(0.1)


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""
