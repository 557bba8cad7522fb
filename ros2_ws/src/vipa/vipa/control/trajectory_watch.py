"""Sees that the controller has fallen silent while the arm follows its last trajectory."""

_NS = 1_000_000_000


class TrajectoryWatch:
    """A controller that lives renews the trajectory long before its end; one that does not must not be followed there.

    Args:
        time_out: s without a further trajectory.
    """

    def __init__(self, time_out: float) -> None:
        self._time_out_ns = round(time_out * _NS)
        self._taken_ns = self._ends_ns = 0

    def take(self, now_ns: int, start_ns: int, duration: float) -> None:
        """A trajectory was taken at ``now_ns``; it begins at ``start_ns`` and lasts ``duration`` s; ns of ROS time."""
        self._taken_ns, self._ends_ns = now_ns, start_ns + round(duration * _NS)

    def is_abandoned(self, now_ns: int) -> bool:
        """Whether the arm still follows a trajectory that should have been renewed by now."""
        return self._taken_ns + self._time_out_ns < now_ns < self._ends_ns
