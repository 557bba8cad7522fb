"""What the benchmark says of the recordings that it finds."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from fabricated_recordings import file_of, new_recorder, record, small_robot

from vipa.benchmarks import record_loop
from vipa.benchmarks.record_loop import JITTERS, recorded_figures, run_record_loop_benchmark
from vipa.graph import GraphArguments
from vipa.result import Result


def test_a_whole_episode_and_one_without_its_end(tmp_path: Path) -> None:
    robot = small_robot()
    recorder = new_recorder(tmp_path, robot)
    frames = sum(record(recorder, robot).frames.values())
    recorder.close(0)
    whole = {"episodes_damaged": 0, "episodes_cut_short": 0, "frames": frames, "frames_dropped": 0}
    assert recorded_figures(tmp_path) == whole
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-60])
    assert recorded_figures(tmp_path)["episodes_damaged"] == 1


def test_what_a_recorder_adds_counts_by_either_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steady clock sees nothing of a simulated one that waits, so each has its bound in each run."""
    measured = iter([(0.2, 0.5), (0.3, 1.4), (0.4, 1.6), (1.3, 0.9)])

    def run(arguments: GraphArguments, logs: Path, domain: int | None) -> SimpleNamespace:
        Path(arguments.recordings or logs).mkdir(exist_ok=True)
        figures = dict(zip(JITTERS.values(), next(measured), strict=True))
        Result("monitor", True, figures).write(str(logs / "monitor.json"))
        return SimpleNamespace(status=0)

    monkeypatch.setattr(record_loop, "run_graph", run)
    monkeypatch.setattr(record_loop, "small_disk", nullcontext)
    result = run_record_loop_benchmark(GraphArguments(), 1.0, tmp_path, None)
    added = {name: value for name, value in result.figures.items() if name.endswith("added_ms")}
    assert added == pytest.approx(
        {
            "recording_jitter_added_ms": 0.1,
            "recording_ros_jitter_added_ms": 0.9,
            "slow_jitter_added_ms": 0.2,
            "slow_ros_jitter_added_ms": 1.1,
            "full_jitter_added_ms": 1.1,
            "full_ros_jitter_added_ms": 0.4,
        }
    )
    broken = " ".join(result.check())
    assert set(added) <= set(result.bounds)
    assert [name for name in added if name in broken] == ["slow_ros_jitter_added_ms", "full_jitter_added_ms"]
