"""What the judges share: a state counts once it has lasted."""

_NS = 1_000_000_000


class Lasting:
    """A condition that counts once it has held for a while; short gaps are bridged, but do not count.

    Args:
        duration_s: s for which the condition must have held.
        gap_s: s; a longer gap starts the count anew.

    Raises:
        ValueError: the duration is not longer than the gap.
    """

    def __init__(self, duration_s: float, gap_s: float = 0.02) -> None:
        if not 0.0 <= gap_s < duration_s:
            raise ValueError(f"gap_s: must be at least 0 and shorter than duration_s ({duration_s}), is {gap_s}")
        self._duration_ns, self._gap_ns = round(duration_s * _NS), round(gap_s * _NS)
        self.reset()

    def reset(self) -> None:
        """Forget how long the condition has held."""
        self._held_ns = 0
        self._last_ns: int | None = None  # when the condition was last seen to hold
        self._updated_ns: int | None = None

    def update(self, now_ns: int, met: bool) -> bool:
        """Take a look at ``now_ns``; True where the condition has held for long enough and holds now."""
        elapsed = 0 if self._updated_ns is None else now_ns - self._updated_ns
        self._updated_ns = now_ns
        if met:
            self._held_ns += elapsed if self._last_ns is not None else 0
            self._last_ns = now_ns
        elif self._last_ns is not None and now_ns - self._last_ns > self._gap_ns:
            self._held_ns, self._last_ns = 0, None
        return met and self._held_ns >= self._duration_ns
