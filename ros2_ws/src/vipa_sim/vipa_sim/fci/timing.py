"""Timing of the server's cycles, kept in fixed memory."""

import time
from array import array

import numpy as np
from numpy.typing import NDArray

from vipa_sim.fci.protocol import CYCLE_S

WINDOW = 65_536  # cycles kept, a good minute


class CycleTimes:
    """Times of the last cycles: period, the server's own computing, and the plant's step; all in seconds."""

    def __init__(self) -> None:
        self._period, self._compute, self._plant = (array("d", bytes(8 * WINDOW)) for _ in range(3))
        self.reset()

    def reset(self) -> None:
        """Forget all cycles."""
        self.cycles = 0
        self._first = self._last = time.perf_counter()

    def add(self, started: float, compute: float, plant: float) -> None:
        """Note a cycle that began at ``started`` (``time.perf_counter``)."""
        index = self.cycles % WINDOW
        self._period[index] = started - self._last
        self._compute[index] = compute
        self._plant[index] = plant
        self._last = started
        self.cycles += 1

    def figures(self) -> dict[str, float]:
        """Percentiles, and simulated over elapsed time since the reset."""
        count = min(self.cycles, WINDOW)
        elapsed = max(time.perf_counter() - self._first, 1e-9)
        figures = {"cycles": float(self.cycles), "real_time_factor": self.cycles * CYCLE_S / elapsed}
        for name, values, scale in (
            ("period_ms", self._period, 1e3),
            ("compute_us", self._compute, 1e6),
            ("plant_us", self._plant, 1e6),
        ):
            times: NDArray[np.float64] = np.frombuffer(values)[:count] * scale if count else np.zeros(1)
            p50, p99 = np.percentile(times, (50, 99))
            figures |= {f"{name}_p50": float(p50), f"{name}_p99": float(p99), f"{name}_max": float(times.max())}
        return figures
