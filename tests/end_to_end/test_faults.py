"""Faults on the running cell, injected and judged by ``vipa bench faults``; latencies are for the benchmark itself."""

import math

import pytest
from end_to_end.cell import Cell, processes_of

pytestmark = pytest.mark.end_to_end


def test_stops_and_blind_cameras_hold_the_arm(cell: Cell) -> None:
    _, output, result = cell.run("bench", "faults", "--only", "stop,camera", "--repeats", "1")
    assert processes_of(cell) == []
    assert list(result["details"]) == ["camera_dropout", "camera_frozen", "camera_duplicates", "operator_stop"], output
    figures = result["figures"]
    assert figures["operator_stop_moved_while_stopped_rad"] < 5e-3, output
    assert math.isfinite(figures["operator_stop_rest_max_ms"])
    for fault in ("camera_dropout", "camera_frozen"):
        assert math.isfinite(figures[f"{fault}_rest_max_ms"]), output
        assert figures[f"{fault}_limit_violations"] == 0
    assert figures["camera_duplicates_chunks"] > 0
    assert figures["camera_duplicates_frames_used_twice"] == 0
