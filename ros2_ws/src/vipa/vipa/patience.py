"""How long something may fail in succession before that counts; a single failure does not."""


class Patience:
    """Runs out when something has failed for so long without a success in between.

    Args:
        seconds: until then.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failing_since: float | None = None

    @property
    def is_tried(self) -> bool:
        """Whether it failed last."""
        return self._failing_since is not None

    def failed(self, now: float) -> bool:
        """It failed at ``now`` (s of the steady clock); True where patience has run out."""
        if self._failing_since is None:
            self._failing_since = now
        return now - self._failing_since >= self._seconds

    def renew(self) -> None:
        """It succeeded, or something new begins."""
        self._failing_since = None
