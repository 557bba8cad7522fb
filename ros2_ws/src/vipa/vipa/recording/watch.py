"""What may go wrong around a recorder while it records: a camera that falls silent, a clock that jumps."""

from collections.abc import Iterable

NS = 1_000_000_000


class StreamWatch:
    """Notices topics on which nothing arrives any more, and those that come back.

    Args:
        topics: names.
        longest_gap: s of ROS time without a message after which a topic counts as lost.
    """

    def __init__(self, topics: Iterable[str], longest_gap: float) -> None:
        self._topics = tuple(topics)
        self._longest_gap_ns = round(longest_gap * NS)
        self._last_ns: dict[str, int] = {}
        self._lost: set[str] = set()

    def begin(self, time_ns: int) -> None:
        """Begin anew: every topic has time until ``time_ns`` + ``longest_gap``."""
        self._last_ns = dict.fromkeys(self._topics, time_ns)
        self._lost.clear()

    def seen(self, topic: str, time_ns: int) -> None:
        """Note a message."""
        if topic in self._last_ns:
            self._last_ns[topic] = time_ns

    def check(self, time_ns: int) -> list[str]:
        """One line for each topic that was lost, or came back, since the last call."""
        lines: list[str] = []
        for topic, last_ns in self._last_ns.items():
            is_lost = time_ns - last_ns > self._longest_gap_ns
            if is_lost and topic not in self._lost:
                self._lost.add(topic)
                gap = self._longest_gap_ns / NS
                lines.append(f"{topic}: no message for {gap:g} s; everything else is recorded. Look after its camera")
            elif not is_lost and topic in self._lost:
                self._lost.remove(topic)
                lines.append(f"{topic}: messages arrive again")
        return lines


class ClockWatch:
    """Notices that ROS time leaps ahead of the wall or steps back; running slower than the wall is no jump.

    Args:
        jump: s.
    """

    def __init__(self, jump: float) -> None:
        self._jump = jump
        self._last: tuple[int, float] | None = None

    def begin(self) -> None:
        """Forget what was seen."""
        self._last = None

    def check(self, time_ns: int, wall: float) -> float:
        """By how many seconds ROS time has jumped since the last call; 0: not at all.

        Args:
            time_ns: ROS time.
            wall: a steady clock, s.
        """
        last, self._last = self._last, (time_ns, wall)
        if last is None:
            return 0.0
        passed, passed_wall = (time_ns - last[0]) / NS, wall - last[1]
        return passed - passed_wall if passed < -self._jump or passed - passed_wall > self._jump else 0.0
