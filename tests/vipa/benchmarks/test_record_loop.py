"""What the benchmark says of the recordings that it finds."""

from pathlib import Path

from fabricated_recordings import file_of, new_recorder, record, small_robot

from vipa.benchmarks.record_loop import recorded_figures


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
