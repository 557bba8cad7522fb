"""That the cell was stopped, kept in shared memory for a supervisor that is killed and started again."""

import os
from pathlib import Path

from vipa.leftovers import start_time

FOLDER = Path("/dev/shm")


class StopMemory:
    """The stop of one ROS domain. It belongs to what started the supervisor, and is void once that was started anew.

    Args:
        path: of the file; None: that of ``ROS_DOMAIN_ID``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or FOLDER / f"vipa_stop_{os.environ.get('ROS_DOMAIN_ID') or '0'}"
        parent = os.getppid()
        self._owner = f"{parent} {start_time(parent)}"

    def remember(self, reason: str) -> None:
        """Keep the stop, with its reason in one line."""
        partial = self._path.with_name(f"{self._path.name}.part")
        partial.write_text(f"{self._owner}\n{reason}", encoding="utf-8")
        partial.replace(self._path)

    def forget(self) -> None:
        """The stop is over."""
        self._path.unlink(missing_ok=True)

    def recall(self) -> str:
        """The reason of the stop that an earlier supervisor of the same graph was told of; empty: there is none."""
        try:
            owner, _, reason = self._path.read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return ""
        if owner != self._owner:
            self.forget()
            return ""
        return reason
