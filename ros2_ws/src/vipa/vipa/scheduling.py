"""Real-time scheduling of the calling thread, where the machine permits it."""

import contextlib
import os
import sys


def request_real_time(priority: int) -> None:
    """Ask for SCHED_FIFO for the calling thread; where the machine forbids it, run as it is (see ``vipa doctor``)."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        print(f"no permission for real-time priority {priority}; running without (see: vipa doctor)", file=sys.stderr)


def be_nice(increment: int) -> None:
    """Change the priority of this process by ``increment`` (nice(2)); where the machine forbids more, leave it."""
    with contextlib.suppress(PermissionError):
        os.nice(increment)
