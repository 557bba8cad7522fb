"""Simulated time in shared memory: what /clock says, to the millisecond, for the processes of the same computer.

A laboratory that stretches time stops its clock for some milliseconds whenever something is late. Nodes that heard of
it only through /clock, and ran on with the wall in between, would measure that wait as a delay of the robot.
"""

import mmap
import os
import struct
import time
from pathlib import Path

FOLDER = Path("/dev/shm")
_LAYOUT = struct.Struct("<qqqq")  # count of writes (odd while one is under way), simulated ns, wall ns, the count again
_COUNT = struct.Struct("<q")
_AHEAD_NS = 1_000_000  # between two writes the clock runs on with the wall, at most for one step of the laboratory
_SILENT_NS = 1_000_000_000  # a page that was not written for so long belongs to a laboratory that is gone
_RETRY_NS = 200_000_000


def page_path(domain: str | None = None) -> Path:
    """The page of a ROS domain; None: that of ``ROS_DOMAIN_ID``."""
    return FOLDER / f"vipa_clock_{domain or os.environ.get('ROS_DOMAIN_ID') or '0'}"


class ClockWriter:
    """The laboratory's side.

    Args:
        path: of the page; is made, or taken over from a laboratory that was killed.

    Raises:
        OSError: the page cannot be made.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or page_path()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        self._count = 0
        self._closed = False

    def write(self, now_ns: int) -> None:
        """Say what time it is, ns."""
        self._count += 2
        _LAYOUT.pack_into(self._memory, 0, self._count - 1, now_ns, time.monotonic_ns(), self._count)
        _COUNT.pack_into(self._memory, 0, self._count)

    def close(self) -> None:
        """Take the page away; readers go back to /clock."""
        if not self._closed:
            self._closed = True
            _LAYOUT.pack_into(self._memory, 0, 0, 0, 0, 0)
            self._memory.close()
            self._path.unlink(missing_ok=True)


class ClockReader:
    """A node's side.

    Args:
        path: of the page; it may come and go.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or page_path()
        self._memory: mmap.mmap | None = None
        self._next_try_ns = 0

    def now_ns(self) -> int | None:
        """Simulated time, ns; None where no laboratory of this computer says it."""
        wall_ns = time.monotonic_ns()
        for _ in range(3):
            if self._memory is None and not self._open(wall_ns):
                return None
            assert self._memory is not None
            count, now_ns, written_ns, again = _LAYOUT.unpack_from(self._memory, 0)
            if count != again or count % 2:
                continue  # in the middle of a write
            if wall_ns - written_ns < _SILENT_NS:
                return now_ns + min(max(wall_ns - written_ns, 0), _AHEAD_NS)
            self._memory.close()
            self._memory = None
        return None

    def _open(self, wall_ns: int) -> bool:
        if wall_ns < self._next_try_ns:
            return False
        self._next_try_ns = wall_ns + _RETRY_NS
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except OSError:
            return False
        try:
            if os.fstat(descriptor).st_size < _LAYOUT.size:
                return False
            self._memory = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return True
