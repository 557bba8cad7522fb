"""A plan of two policies through the whole graph: killed in the middle, gone on with, reported."""

import os
import signal
import time

import pytest
from end_to_end.cell import Cell

from vipa.trials.store import TrialStore

pytestmark = pytest.mark.end_to_end


def test_a_plan_survives_a_killed_trial_node(cell: Cell) -> None:
    out = cell.folder / "plan"
    process = cell.start(
        "trial", "--task", "reach", "--policies", "scripted,wave", "--time-limit", "4", "--out", str(out)
    )
    deadline = time.monotonic() + 90
    while not (out / "trials.jsonl").exists():
        assert time.monotonic() < deadline, cell.log("trial")
        time.sleep(0.1)
    for pid in children_of(process.pid):
        if "vipa.nodes.trial" in command_of(pid):
            os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "2 trials are left" in output
    progress = TrialStore(out).progress()
    assert (progress.interrupted, progress.finished) == (((1, 1),), {})

    status, output, result = cell.run("trial", "--resume", "--out", str(out))
    assert status == 0, output
    assert result["figures"]["finished"] == 2
    trials = result["details"]["report"]["trials"]
    assert {trial["policy"] for trial in trials} == {"scripted", "wave"}
    for trial in trials:
        assert len(trial["policy_hash"]) == 64
        assert trial["figures"]["executed_steps"] > 50
        assert trial["figures"]["exposure_to_command_p99_ms"] > 0
    assert "<svg" in (out / "report.html").read_text()


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return [int(child) for child in file.read().split()]


def command_of(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        return file.read()
