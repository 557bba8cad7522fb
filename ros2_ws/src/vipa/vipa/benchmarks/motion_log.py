"""Writes how the simulated arm moves: ``python -m vipa.benchmarks.motion_log HOST:PORT FILE``, until it is ended.

A line per sample: [time of the steady clock (s), [joint positions (rad)], motions that the robot aborted so far].
"""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa.lab import split_address
from vipa.laboratory_client import LaboratoryClient, LaboratoryError

PERIOD_S = 0.02
STILL_RAD = 0.002  # between two moments: noise of the measurement and of the controller at rest
WINDOW_S = 0.3


class Motion:
    """A log of the arm's motion.

    Args:
        times: s of the steady clock, (N,).
        positions: rad, (N, 7).
        aborts: motions that the robot aborted until the end of the log.
    """

    def __init__(self, times: NDArray[np.float64], positions: NDArray[np.float64], aborts: int = 0) -> None:
        self.times, self._positions, self.aborts = times, positions, aborts

    @classmethod
    def read(cls, file: Path) -> "Motion":
        """What a log has so far; its last line may be cut off."""
        lines = file.read_text(encoding="ascii").split("\n")[:-1] if file.is_file() else []
        samples = [json.loads(line) for line in lines]
        positions = np.array([s[1] for s in samples]).reshape(-1, 7)
        return cls(np.array([s[0] for s in samples]), positions, samples[-1][2] if samples else 0)

    def moved(self, begin: float, end: float) -> float:
        """The furthest that a joint was from where it was at ``begin``, until ``end``; rad."""
        chosen = self._positions[(self.times >= begin) & (self.times <= end)]
        return float(np.abs(chosen - chosen[0]).max()) if len(chosen) else 0.0

    def is_moving(self) -> bool:
        """Whether the arm has moved within the last ``WINDOW_S``."""
        return bool(len(self.times)) and self.moved(self.times[-1] - WINDOW_S, self.times[-1]) > STILL_RAD

    def still_from(self, begin: float, end: float) -> float | None:
        """From when on the arm was at rest until ``end``, s after ``begin``; None: not for ``WINDOW_S``."""
        chosen = (self.times >= begin) & (self.times <= end)
        times = self.times[chosen]
        if not len(times):
            return None
        moving = np.flatnonzero(np.abs(self._positions[chosen] - self._positions[chosen][-1]).max(axis=1) > STILL_RAD)
        first = int(moving[-1]) + 1 if len(moving) else 0
        if times[-1] - times[first] < WINDOW_S:
            return None
        return float(times[first] - begin) if len(moving) else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until it is ended; what the laboratory does not answer is left out."""
    address, file = sys.argv[1:] if arguments is None else arguments
    laboratory = LaboratoryClient(split_address(address, "referee"), 1.0)
    with Path(file).open("w", encoding="ascii") as log, contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                positions = laboratory.request("status")["joint_positions"]
                aborts = sum(laboratory.request("statistics")["fci"]["aborts"].values())
            except LaboratoryError:
                time.sleep(PERIOD_S)
                continue
            log.write(json.dumps([time.monotonic(), positions, aborts]) + "\n")
            log.flush()
            time.sleep(PERIOD_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
