"""What a soak says of its samples, and which processes it looks at."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vipa import cli
from vipa.benchmarks.processes import ProcessUse, graph_pids, node_name, uses
from vipa.benchmarks.soak import Sample, read_samples, slope, soak_result
from vipa.errors import ConfigurationError
from vipa.leftovers import MARK, mark

MB = 1_000_000


def sample(wall_s: float, memory: float = 100.0, handles: int = 20, **changes: float) -> Sample:
    use = ProcessUse("/arm", 7, round(memory * MB), round(memory * MB / 2), handles, 5)
    still = ProcessUse("/hand", 8, 50 * MB, 30 * MB, 10, 5)
    taken = Sample(wall_s, wall_s, round(100 * wall_s), 0, 0, round(20 * wall_s), 0, 0, 0, 0, 0, (use, still))
    return replace(taken, **changes)


def soak(seconds: int = 3600, growth: float = 0.0, **changes: float) -> list[Sample]:
    return [sample(t, 100.0 + growth * t / seconds, **changes) for t in range(0, seconds + 1, 10)]


def test_a_steady_hour_passes() -> None:
    result = soak_result(soak(), 60.0, simulated=True, restarts=0, ok=True)
    assert result.passed, result.check()
    assert result.figures["minutes"] == 60.0
    assert result.details["interrupted"] is False


@pytest.mark.parametrize(
    ("samples", "broken"),
    [
        (soak(growth=3.0), {"memory_growth_percent", "largest_memory_growth_percent"}),
        (soak(growth=1.2), {"largest_memory_growth_percent"}),  # of one process; the whole grows by less
        (soak(missed=400), {"missed_ticks_percent"}),
        (soak(dropped_frames=1, packets_lost=1, aborts=1), {"dropped_frames", "fci_packets_lost", "aborts"}),
        (soak(refused_by_driver=1), {"gate_violations_reaching_driver"}),
        ([*soak(1800), *(sample(t, handles=21) for t in range(1810, 3610, 10))], {"handles_added"}),
    ],
)
def test_each_bound_can_break(samples: list[Sample], broken: set[str]) -> None:
    result = soak_result(samples, 60.0, simulated=True, restarts=0, ok=True)
    assert {line.partition(":")[0] for line in result.check()} == broken


def test_growth_within_the_warm_up_and_outliers_do_not_count() -> None:
    samples = [sample(t, 100.0 + min(t, 290) / 10) for t in range(0, 3601, 10)]
    samples[200] = sample(2000, memory=500.0)
    assert soak_result(samples, 60.0, simulated=False, restarts=0, ok=True).figures["memory_growth_percent"] == 0.0


def test_a_soak_that_was_interrupted_or_never_began_says_so() -> None:
    assert soak_result(soak(600), 60.0, simulated=True, restarts=0, ok=True).details["interrupted"] is True
    assert not soak_result([], 60.0, simulated=True, restarts=0, ok=True).passed
    assert not soak_result(soak(), 60.0, simulated=True, restarts=1, ok=True).passed


def test_the_slope_of_a_line_is_found_among_outliers() -> None:
    values = [0.5 * t for t in range(20)]
    values[3], values[11] = 900.0, -900.0
    assert slope(range(20), values) == pytest.approx(0.5)
    assert slope([1.0], [1.0]) == 0.0


def test_samples_come_back_from_their_file_without_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    samples = soak(50)
    path.write_text("".join(s.line() for s in samples) + samples[0].line()[:40])
    assert read_samples(path) == samples
    path.write_text('{"wall_s": 1}\n')
    with pytest.raises(ConfigurationError, match="line 1: no sample"):
        read_samples(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        read_samples(tmp_path / "none")


def test_the_command_judges_the_samples_of_a_soak_that_was_killed(tmp_path: Path) -> None:
    path, output = tmp_path / "samples.jsonl", tmp_path / "result.json"
    path.write_text("".join(s.line() for s in soak(900)))
    arguments = ["bench", "soak", "--samples", str(path), "--minutes", "60", "--json", str(output)]
    assert cli.main(arguments) == 0
    content = json.loads(output.read_text())
    assert (content["figures"]["minutes"], content["details"]["interrupted"]) == (15.0, True)


def test_a_process_of_the_graph_is_found_by_its_mark_and_named_by_its_node() -> None:
    command = [sys.executable, "-c", "input()", "--ros-args", "-r", "__node:=front", "-r", "__ns:=/camera"]
    environment = {**os.environ, MARK: mark("177")}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        pids = graph_pids("177", os.getpid())
        (use,) = uses([process.pid])
        process.communicate(b"\n")
    assert pids == [os.getpid(), process.pid]
    assert (use.name, use.pid) == ("/camera/front", process.pid)
    assert use.resident >= use.proportional > 0
    assert use.handles > 0
    assert list(uses([process.pid])) == [], "it has ended"
    assert node_name(["python", "-m", "vipa.cli"]) == ""
