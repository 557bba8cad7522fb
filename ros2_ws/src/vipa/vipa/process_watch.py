"""Sees at once when another process of this computer ends, be it by kill -9 (pidfd_open(2))."""

import os
import select
from pathlib import Path


def own_process() -> str:
    """What names this process to those who watch it: computer, process namespace, number."""
    return f"{_here()} {os.getpid()}"


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


class ProcessWatch:
    """Watches processes that have told their names; of one elsewhere, be it in another container, it sees nothing."""

    def __init__(self) -> None:
        self._here = _here()
        self._handles: dict[str, int] = {}
        self._ended: set[str] = set()

    def has_ended(self, process: str) -> bool:
        """Whether a process has ended, by the name that its ``own_process`` gave; False also where nobody can see it.

        It is watched from the first question on.
        """
        where, _, number = process.rpartition(" ")
        if process in self._ended:
            return True
        if where != self._here or not number.isdigit():
            return False
        try:
            if process not in self._handles:
                self._handles[process] = os.pidfd_open(int(number))
        except ProcessLookupError:
            self._ended.add(process)
            return True
        except OSError:  # forbidden here, or an old kernel
            return False
        handle = self._handles[process]
        if select.select([handle], (), (), 0.0)[0]:
            os.close(self._handles.pop(process))
            self._ended.add(process)
        return process in self._ended
