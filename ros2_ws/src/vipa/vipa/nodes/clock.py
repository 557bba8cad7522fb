"""ROS time with a resolution below that of /clock."""

import time
from collections import deque
from typing import Any

from vipa.clock_page import ClockReader


class FineClock:
    """ROS time in nanoseconds, cheap to ask for a thousand times a second.

    A laboratory on the same computer says its time to the millisecond in shared memory (``vipa.clock_page``). Where it
    is elsewhere, /clock arrives at 25 Hz; between two messages this clock runs on with the wall, for at most
    ``HOLD_NS``, so that a laboratory that stretches time also holds this clock. A message that was taken late would set
    the clock back by its delay; so the largest difference to the wall among the last ``SAMPLES`` messages counts. The
    clock never runs backwards by less than a second; a larger step back (another laboratory, a replay) is followed.

    The subscription to /clock is polled here instead of waking an executor for each message.
    """

    HOLD_NS = 60_000_000
    JUMP_NS = 1_000_000_000
    SAMPLES = 5

    def __init__(self, node: Any, page: ClockReader | None = None) -> None:
        self._node = node
        self._page = page or ClockReader()
        self._ros_ns = 0
        self._offsets: deque[int] = deque(maxlen=self.SAMPLES)  # ROS time less wall time, ns
        self._last_ns = 0

    def now_ns(self) -> int:
        """ROS time, ns; 0 while simulated time has not begun."""
        subscription = self._node.clock_subscription
        if subscription is None:
            return int(self._node.get_clock().now().nanoseconds)
        now_ns = self._page.now_ns()
        if now_ns is None:
            now_ns = self._from_messages(subscription)
        if self._last_ns - self.JUMP_NS < now_ns < self._last_ns:
            return self._last_ns
        self._last_ns = now_ns
        return now_ns

    def _from_messages(self, subscription: Any) -> int:
        message = self._node.take_latest(subscription)
        wall_ns = time.monotonic_ns()
        if message is not None:
            ros_ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec
            if ros_ns < self._ros_ns - self.JUMP_NS:
                self._offsets.clear()
            self._ros_ns = ros_ns
            self._offsets.append(ros_ns - wall_ns)
        if not self._offsets:
            return 0
        return min(wall_ns + max(self._offsets), self._ros_ns + self.HOLD_NS)
