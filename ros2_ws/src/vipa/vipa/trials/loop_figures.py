"""The figures of the loop that are kept of each trial."""

import math

from vipa.benchmarks.loop import LoopStatistics

KEPT = (
    "executed_steps",
    "changed_steps",
    "chunks_refused",
    "gate_violations_reaching_driver",
    "reflexes",
    "exposure_to_command_p50_ms",
    "exposure_to_command_p99_ms",
    "inference_p50_ms",
    "inference_p99_ms",
)


def loop_figures(statistics: LoopStatistics) -> dict[str, float]:
    """Latency (ms of ROS time) and what the gate did, of one trial; empty where no action step was executed."""
    if not statistics.steps:
        return {}
    figures = statistics.figures()
    return {name: float(figures[name]) for name in KEPT if math.isfinite(figures[name])}
