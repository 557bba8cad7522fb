"""Minimum-jerk paths through waypoints, as functions of time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]

_PEAK_TO_MEAN_SPEED = 1.875  # of s(x) = 10 x³ - 15 x⁴ + 6 x⁵, at x = 1/2


@dataclass(frozen=True)
class Waypoint:
    """A pose of the end effector and of the hand."""

    pose: Array  # (4, 4) base frame, m
    hand: Array  # (6,) 0 closed - 1 open


@dataclass(frozen=True)
class SpeedLimits:
    """Peak speeds along a path."""

    linear: float = 0.25  # m/s
    angular: float = 1.0  # rad/s
    hand: float = 1.5  # full strokes a second
    shortest: float = 0.4  # s, of a segment

    def __post_init__(self) -> None:
        for name in ("linear", "angular", "hand", "shortest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


@dataclass(frozen=True)
class _Segment:
    start_ns: int
    duration: float  # s
    start: Waypoint
    translation: Array  # (3,) m
    rotation: Array  # (3,) rotation vector, applied from the left
    hand_change: Array  # (6,)


class MinimumJerkPath:
    """A path in time, at rest at every waypoint (Flash and Hogan 1985: s(x) = 10 x³ - 15 x⁴ + 6 x⁵).

    Before its first segment the path rests at its start, between segments and after the last at the waypoint reached.
    """

    def __init__(self, start: Waypoint, start_ns: int) -> None:
        self.end, self.end_ns = start, start_ns
        self._segments = [_Segment(start_ns, 1e-9, start, np.zeros(3), np.zeros(3), np.zeros_like(start.hand))]

    @property
    def start_ns(self) -> int:
        """The earliest time that the path remembers."""
        return self._segments[0].start_ns

    def go_to(self, target: Waypoint, earliest_ns: int, limits: SpeedLimits) -> None:
        """Append a segment to ``target`` that starts at ``earliest_ns``, but not before the end of the last one."""
        translation = target.pose[:3, 3] - self.end.pose[:3, 3]
        rotation = rotation_vector_from_matrix(target.pose[:3, :3] @ self.end.pose[:3, :3].T)
        hand_change = target.hand - self.end.hand
        duration = max(
            limits.shortest,
            _PEAK_TO_MEAN_SPEED * float(np.linalg.norm(translation)) / limits.linear,
            _PEAK_TO_MEAN_SPEED * float(np.linalg.norm(rotation)) / limits.angular,
            _PEAK_TO_MEAN_SPEED * float(np.abs(hand_change).max()) / limits.hand,
        )
        start_ns = max(earliest_ns, self.end_ns)
        self._segments.append(_Segment(start_ns, duration, self.end, translation, rotation, hand_change))
        self.end, self.end_ns = target, start_ns + round(duration * 1e9)

    def forget_before(self, time_ns: int) -> None:
        """Drop the segments that were over at ``time_ns``; the last one always stays."""
        while len(self._segments) > 1 and self._segments[1].start_ns <= time_ns:
            del self._segments[0]

    def sample(self, times_ns: NDArray[np.int64]) -> tuple[Array, Array]:
        """Poses (N, 4, 4) in the base frame and hand positions (N, 6) at the times (N,)."""
        starts = np.array([segment.start_ns for segment in self._segments], dtype=np.int64)
        index = np.maximum(np.searchsorted(starts, times_ns, side="right") - 1, 0)
        durations = np.array([segment.duration for segment in self._segments])
        x = np.clip((times_ns - starts[index]) * 1e-9 / durations[index], 0.0, 1.0)[:, None]
        s = x**3 * (10.0 + x * (6.0 * x - 15.0))
        start_poses = np.stack([segment.start.pose for segment in self._segments])[index]
        poses = start_poses.copy()
        poses[:, :3, 3] += s * np.stack([segment.translation for segment in self._segments])[index]
        turn = matrix_from_rotation_vector(s * np.stack([segment.rotation for segment in self._segments])[index])
        poses[:, :3, :3] = turn @ start_poses[:, :3, :3]
        hands = np.stack([segment.start.hand for segment in self._segments])[index]
        return poses, hands + s * np.stack([segment.hand_change for segment in self._segments])[index]
