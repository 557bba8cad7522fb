"""What a bring-up that was killed leaves behind: processes and shared memory of Fast DDS; found and ended here.

Every process of a graph carries a mark in its environment that names the bring-up that started it. So nothing has to be
written down that could itself become stale, and children of children are found as well.
"""

import fcntl
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "VIPA_BRINGUP"
SHARED_MEMORY = Path("/dev/shm")
MINIMUM_AGE_S = 2.0  # a younger lock file may belong to a process that has not locked it yet


@dataclass(frozen=True)
class GraphProcess:
    """A running process of some bring-up."""

    pid: int
    bringup_pid: int
    bringup_start: str
    domain: str

    @property
    def is_stale(self) -> bool:
        """True where the bring-up that started it is gone."""
        return start_time(self.bringup_pid) != self.bringup_start


def mark(domain: str) -> str:
    """Value of the mark for processes that this process starts in the ROS domain ``domain``."""
    return f"{os.getpid()}:{start_time(os.getpid())}:{domain}"


def own_bringup() -> tuple[int, str]:
    """Process and ROS domain of the bring-up that started this process; this process itself where none did."""
    parts = os.environ.get(MARK, "").split(":", 2)
    return (int(parts[0]), parts[2]) if len(parts) == 3 else (os.getpid(), os.environ.get("ROS_DOMAIN_ID") or "0")


def start_time(pid: int) -> str | None:
    """Start of a process in clock ticks since boot (proc(5), field 22 of /proc/PID/stat); None where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def graph_processes() -> list[GraphProcess]:
    """All processes of this user that carry the mark, without this process and those it descends from."""
    own, namespace = _ancestors(os.getpid()), os.readlink("/proc/self/ns/pid")
    found: list[GraphProcess] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in own:
            continue
        try:
            if os.readlink(entry / "ns" / "pid") != namespace:
                continue  # in a container: what its mark calls a process is another one here
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        for variable in environment:
            name, _, value = variable.decode(errors="replace").partition("=")
            parts = value.split(":", 2)
            if name == MARK and len(parts) == 3 and parts[0].isdigit():
                found.append(GraphProcess(int(entry.name), int(parts[0]), parts[1], parts[2]))
    return found


def end_stale_processes(patience_s: float = 3.0) -> int:
    """End the processes of bring-ups that are gone: SIGTERM, after ``patience_s`` SIGKILL.

    Returns:
        How many were ended.
    """
    ended: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience_s
        stale = [p.pid for p in graph_processes() if p.is_stale]
        for pid in stale:
            _send(pid, number)
        ended.update(stale)
        while any(start_time(pid) for pid in stale) and time.monotonic() < deadline:
            time.sleep(0.02)
    return len(ended)


def clean_shared_memory(folder: Path = SHARED_MEMORY) -> int:
    """Remove the shared memory of Fast DDS whose owner is dead.

    A living participant holds a lock on the file ``<segment>_el`` (one owner) or ``<port>_sl`` (several listeners).

    Returns:
        How many segments and ports were removed.
    """
    removed = 0
    for lock in sorted((*folder.glob("fastrtps_*_el"), *folder.glob("fastrtps_*_sl"))):
        if not _is_abandoned(lock):
            continue
        base = lock.name[: -len("_el")]
        other = lock.with_name(base + ("_sl" if lock.name.endswith("_el") else "_el"))
        if other.exists() and not _is_abandoned(other):
            continue
        for path in (folder / base, folder / f"sem.{base}_mutex", other, lock):
            path.unlink(missing_ok=True)
        removed += 1
    return removed


def _is_abandoned(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < MINIMUM_AGE_S:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
