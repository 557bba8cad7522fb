"""Figures of the running loop: from the photons to the motor command, from traces and counters."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.result import Bound

SMOKE_BOUNDS: dict[str, Bound] = {
    "executed_steps": (">", 0),
    "gate_violations_reaching_driver": ("==", 0),
}
SIMULATED_SMOKE_BOUNDS: dict[str, Bound] = {
    "fci_packets_lost": ("==", 0),
    "aborts": ("==", 0),
    "real_time_factor": (">=", 0.95),
}
LOOP_BOUNDS: dict[str, Bound] = {
    "exposure_to_command_p99_ms": ("<=", 60.0),
    "control_period_jitter_p99_ms": ("<=", 2.0),
    "dropped_frames": ("==", 0),
}


@dataclass(frozen=True)
class Step:
    """One executed action step; times in ns of ROS time."""

    chunk_id: int
    exposure_ns: int  # the oldest exposure of its observation
    received_ns: int
    inference_start_ns: int
    inference_end_ns: int
    gate_ns: int
    sent_ns: int
    acknowledged_ns: int  # 0: the driver never took it
    changed: bool


@dataclass
class LoopStatistics:
    """Collects what one run of the loop showed."""

    control_period: float  # s, nominal
    frame_rate: float  # Hz, nominal
    steps: list[Step] = field(default_factory=list[Step])
    periods: list[float] = field(default_factory=list[float])  # s, of the control loop by the steady clock
    ros_periods: list[float] = field(default_factory=list[float])  # s, the same by ROS time
    frames: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    gate_refusals: dict[str, int] = field(default_factory=dict[str, int])
    gate_changes: dict[str, int] = field(default_factory=dict[str, int])
    driver_refusals: int = 0
    reflexes: int = 0  # times that the robot went into a reflex
    modes: dict[str, int] = field(default_factory=dict[str, int])
    refused_before: int | None = None  # trajectories that the driver had refused when this began
    mode: str = ""  # the newest
    ros_seconds: float = 0.0
    wall_seconds: float = 0.0
    fci: dict[str, Any] = field(default_factory=dict[str, Any])

    def clear(self) -> None:
        """Forget everything so far; the measurement begins now."""
        fresh = LoopStatistics(self.control_period, self.frame_rate, frames={name: [] for name in self.frames})
        for f in dataclasses.fields(self):
            setattr(self, f.name, getattr(fresh, f.name))

    def see_arm(self, mode: str, is_reflex: bool, trajectories_refused: int) -> None:
        """Take in a state of the arm: its mode, whether that is a reflex, and the driver's counter of refusals."""
        if self.refused_before is None:
            self.refused_before = trajectories_refused
        self.driver_refusals = trajectories_refused - self.refused_before
        self.reflexes += is_reflex and mode != self.mode
        self.mode = mode
        self.modes[mode] = self.modes.get(mode, 0) + 1

    def figures(self) -> dict[str, float]:
        """The figures; latencies of a chunk count once, at its first executed step."""
        first = _first_steps(self.steps)
        acknowledged = [s for s in first if s.acknowledged_ns]
        figures: dict[str, float] = {
            "executed_steps": len(self.steps),
            "chunks": len(first),
            "changed_steps": sum(s.changed for s in self.steps),
            "chunks_refused": sum(self.gate_refusals.values()),
            "gate_violations_reaching_driver": self.driver_refusals,
            "reflexes": self.reflexes,
            "dropped_frames": sum(dropped_frames(stamps, self.frame_rate) for stamps in self.frames.values()),
            "ros_seconds": round(self.ros_seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
            "real_time_factor": round(self.ros_seconds / self.wall_seconds, 4) if self.wall_seconds else 0.0,
        }
        stages = {
            "exposure_to_command": [(s.exposure_ns, s.acknowledged_ns) for s in acknowledged],
            "exposure_to_received": [(s.exposure_ns, s.received_ns) for s in first],
            "received_to_inference": [(s.received_ns, s.inference_start_ns) for s in first],
            "inference": [(s.inference_start_ns, s.inference_end_ns) for s in first],
            "inference_to_gate": [(s.inference_end_ns, s.gate_ns) for s in first],
            "gate_to_sent": [(s.gate_ns, s.sent_ns) for s in first],
            "sent_to_acknowledged": [(s.sent_ns, s.acknowledged_ns) for s in acknowledged],
        }
        for name, pairs in stages.items():
            milliseconds = np.array([(end - start) * 1e-6 for start, end in pairs])
            for percentile in (50, 99):
                figures[f"{name}_p{percentile}_ms"] = _percentile(milliseconds, percentile)
        for name, periods in (("jitter", self.periods), ("ros_jitter", self.ros_periods)):
            jitter = np.abs(np.array(periods) - self.control_period) * 1e3
            for percentile in (50, 99):
                figures[f"control_period_{name}_p{percentile}_ms"] = _percentile(jitter, percentile)
        if self.fci:
            figures["fci_packets_lost"] = int(self.fci["lost"])
            figures["aborts"] = int(sum(self.fci["aborts"].values()))
        return figures


def dropped_frames(stamps_ns: list[int], frame_rate: float) -> int:
    """How many frames are missing between the first and the last exposure of a camera."""
    if len(stamps_ns) < 2:
        return 0
    gaps = np.diff(np.unique(np.array(stamps_ns, dtype=np.int64))) * 1e-9 * frame_rate
    return int(np.sum(np.maximum(np.round(gaps) - 1, 0)))


def _first_steps(steps: list[Step]) -> list[Step]:
    seen: set[int] = set()
    first: list[Step] = []
    for step in steps:
        if step.chunk_id not in seen:
            seen.add(step.chunk_id)
            first.append(step)
    return first


def _percentile(values: NDArray[np.float64], percentile: float) -> float:
    return round(float(np.percentile(values, percentile)), 3) if values.size else float("nan")
