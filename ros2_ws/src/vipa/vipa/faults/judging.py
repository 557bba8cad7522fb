"""When the arm came to rest, whether it moved again, whether the hand kept its grip: judged from samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REST_SPEED = 0.02  # rad/s of the fastest joint
MOVING_SPEED = 0.15  # rad/s of the fastest joint, from which on a fault can show that it stops the arm
MOVED = 5e-3  # rad between two moments at rest
OPENED = 0.05  # of a finger's whole way
_REST_NS = 50_000_000  # for so long, at least, the arm must have been seen at rest


@dataclass(frozen=True)
class Sample:
    """The world at one moment of simulated time, as the laboratory knows it."""

    time_ns: int
    q: Array  # (7,) rad
    dq: Array  # (7,) rad/s
    hand: Array  # (6,) 0 closed - 1 open

    @property
    def speed(self) -> float:
        """rad/s of the fastest joint."""
        return float(np.abs(self.dq).max())


def rest_ns(samples: Sequence[Sample], from_ns: int, until_ns: int | None = None) -> int | None:
    """When the arm came to rest after a moment, to stay so until another (None: to the end); None: it did not."""
    between = [s for s in samples if s.time_ns >= from_ns and (until_ns is None or s.time_ns < until_ns)]
    at_rest: int | None = None
    for sample in between:
        if sample.speed > REST_SPEED:
            at_rest = None
        elif at_rest is None:
            at_rest = sample.time_ns
    is_long = at_rest is not None and between[-1].time_ns - at_rest >= _REST_NS
    return at_rest if is_long else None


def slowed_ns(samples: Sequence[Sample], from_ns: int, share: float = 0.5) -> int | None:
    """When the arm had less than a share of the speed that it had at a moment; None: it had not."""
    after = [sample for sample in samples if sample.time_ns >= from_ns]
    return next((s.time_ns for s in after if s.speed < share * after[0].speed), None)


def moved(samples: Sequence[Sample], from_ns: int, to_ns: int) -> float:
    """rad: how far a joint went from where it was at one moment, until another."""
    between = np.array([sample.q for sample in samples if from_ns <= sample.time_ns <= to_ns])
    return float(np.abs(between - between[0]).max()) if len(between) else 0.0


def opened(samples: Sequence[Sample], from_ns: int, to_ns: int) -> float:
    """How far a finger opened from where it was at one moment, until another; of its whole way."""
    between = np.array([sample.hand for sample in samples if from_ns <= sample.time_ns <= to_ns])
    return max(0.0, float((between - between[0]).max())) if len(between) else 0.0


def milliseconds(from_ns: int, to_ns: int | None) -> float:
    """From one moment to another; infinite where the other never came."""
    return float("inf") if to_ns is None else round((to_ns - from_ns) * 1e-6, 2)


def largest(values: Sequence[float]) -> float:
    """The largest; nan of nothing, which breaks every bound."""
    return max(values, default=float("nan"))


def median(values: Sequence[float]) -> float:
    """The median; nan of nothing."""
    return float(np.median(values)) if len(values) else float("nan")
