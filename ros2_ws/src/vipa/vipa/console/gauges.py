"""Figures of the last seconds: how old the photons are when a command reaches the arm, and what the gate refused."""

from collections import Counter, deque
from typing import Any

import numpy as np

from vipa.benchmarks.loop import LOOP_BOUNDS, Step

WINDOW_S = 10.0
LATENCY_BOUND_MS = LOOP_BOUNDS["exposure_to_command_p99_ms"][1]


class LatencyGauge:
    """From the exposure of a chunk's oldest frame to the moment when the robot had its first step."""

    def __init__(self) -> None:
        self._latencies: deque[tuple[float, float]] = deque(maxlen=1000)  # when seen, s; ms
        self._last_chunk: int | None = None

    def see(self, step: Step, now: float) -> None:
        """Take in an executed step, at time ``now`` in s; only the first of each chunk counts."""
        if step.acknowledged_ns and step.chunk_id != self._last_chunk:
            self._last_chunk = step.chunk_id
            self._latencies.append((now, (step.acknowledged_ns - step.exposure_ns) * 1e-6))

    def figures(self, now: float) -> dict[str, Any]:
        """Median, 99th percentile (ms) and number of chunks of the last ``WINDOW_S``; None where there were none."""
        recent = [latency for seen, latency in self._latencies if now - seen <= WINDOW_S]
        p50, p99 = np.percentile(recent, (50, 99)) if recent else (None, None)
        return {
            "p50": None if p50 is None else round(float(p50), 1),
            "p99": None if p99 is None else round(float(p99), 1),
            "bound": LATENCY_BOUND_MS,
            "chunks": len(recent),
            "window": WINDOW_S,
        }


class GateGauge:
    """How often each rule of the gate refused or changed something."""

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._last = ""

    def see(self, rule: str, detail: str, is_refusal: bool) -> None:
        """Take in what the gate did."""
        (self._refused if is_refusal else self._changed)[rule] += 1
        if is_refusal:
            self._last = f"{rule}: {detail}"

    def figures(self) -> dict[str, Any]:
        """Counts by rule since the console started, and the last refusal."""
        return {"refused": dict(self._refused), "changed": dict(self._changed), "last": self._last}
