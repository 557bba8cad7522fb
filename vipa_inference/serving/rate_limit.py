"""How often something may happen: so many times a second, and some at once."""


class RateLimit:
    """A bucket that holds up to ``burst`` permits and gets ``rate`` new ones per second.

    Args:
        rate: Hz.
        burst: permits that may be taken at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._permits, self._last_s = burst, 0.0

    def take(self, now_s: float) -> float:
        """Take a permit, by a clock that never goes back; s to wait until it is there, 0 where it is.

        The wait is no longer than for a whole burst, so nobody pays for those who came before and left.
        """
        permits = min(self._burst, self._permits + (now_s - self._last_s) * self._rate) - 1.0
        self._permits, self._last_s = max(permits, -self._burst), now_s
        return max(-self._permits / self._rate, 0.0)

    def allows(self, now_s: float) -> bool:
        """Take a permit if there is one."""
        if self.take(now_s) > 0.0:
            self._permits += 1.0
            return False
        return True
