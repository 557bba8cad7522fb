"""What the arm and the hand were told, as functions of time, out of the trajectories that were sent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa.control.schedule import hermite

Array = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """One trajectory for the arm, as it was sent."""

    start_ns: int
    times_s: Array  # (N,) s after start_ns
    positions: Array  # (N, 7) rad
    velocities: Array  # (N, 7) rad/s


class CommandedJoints:
    """The joint positions that the arm was told: each window holds from its start until a later one takes over.

    ``/controller/trace`` tells the same only at the steps of chunks; the windows also hold stops, pauses and what no
    chunk asked for.

    Args:
        windows: in the order in which they were sent; at least one.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        valid: list[Window] = []
        for window in reversed(windows):  # one that begins after a later one never counts
            if not valid or window.start_ns < valid[-1].start_ns:
                valid.append(window)
        self._windows = valid[::-1]
        self._starts = np.array([window.start_ns for window in self._windows])

    @property
    def start_ns(self) -> int:
        """When the first one begins."""
        return int(self._starts[0])

    @property
    def end_ns(self) -> int:
        """When the last one ends, at rest."""
        return int(self._starts[-1]) + round(float(self._windows[-1].times_s[-1]) * 1e9)

    def at(self, times_ns: Times) -> Array:
        """Joint positions (T, 7), rad; before the first window, those of its begin."""
        which = np.maximum(np.searchsorted(self._starts, times_ns, side="right") - 1, 0)
        joints = np.empty((len(times_ns), 7))
        for number in np.unique(which):
            window, rows = self._windows[number], which == number
            seconds = np.maximum(times_ns[rows] - window.start_ns, 0) * 1e-9
            joints[rows] = hermite(window.times_s, window.positions, window.velocities, seconds)[0]
        return joints


class CommandedHand:
    """The hand's targets: straight lines between two commands that follow closely, else the older one.

    Args:
        times_ns: (N,) of the commands, increasing; at least one.
        targets: (N, 6).
        longest: s between commands that are one movement.
    """

    def __init__(self, times_ns: Times, targets: Array, longest: float = 0.25) -> None:
        gaps = np.flatnonzero(np.diff(times_ns) > longest * 1e9)
        held = times_ns[gaps + 1] - 1  # up to there the older command holds
        self._times_ns = np.insert(times_ns, gaps + 1, held)
        self._targets = np.insert(targets, gaps + 1, targets[gaps], axis=0)

    def at(self, times_ns: Times) -> Array:
        """Targets (T, 6)."""
        start = self._times_ns[0]
        columns = (np.interp(times_ns - start, self._times_ns - start, column) for column in self._targets.T)
        return np.stack(list(columns), axis=-1)
