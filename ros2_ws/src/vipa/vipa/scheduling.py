"""Who runs first on a busy machine: real-time scheduling and niceness, where the machine permits them.

From the highest priority down: franky's control thread (it asks for itself), the controller, the simulated world, the
supervisor, the simulated cameras' drawing, the chain from a frame to a motor command, recorder and monitor, and then
everything that can wait. What stands for hardware comes before the chain, for hardware has processors of its own.
"""

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

CONTROLLER_PRIORITY = 20
WORLD_PRIORITY = 10
SUPERVISOR_PRIORITY = 4
"""It has little to do, and whoever does not hear it for a moment stops."""
DRAWING_PRIORITY = 3
"""Behind the chain, drawings would be late on a full machine, and the simulated clock would wait for them."""
CHAIN_PRIORITY = 2
OPERATOR_PRIORITY = 1
LISTENER_PRIORITY = 1
"""Of recorder and monitor: behind the chain, so that they cost no latency."""

_AUTOGROUP = Path("/proc/self/autogroup")


def request_real_time(priority: int) -> None:
    """Ask for SCHED_FIFO for the calling thread and the threads that it starts from now on.

    Where the machine forbids it, they run as they are (see ``vipa doctor``).
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        print(f"no permission for real-time priority {priority}; running without (see: vipa doctor)", file=sys.stderr)


@contextlib.contextmanager
def ordinary_scheduling() -> Generator[None]:
    """Within, the calling thread has no real-time priority, nor have the threads that it starts."""
    with _scheduling(os.SCHED_OTHER, 0):
        yield


@contextlib.contextmanager
def put_first(priority: int) -> Generator[None]:
    """Within, the calling thread has SCHED_FIFO, and what it starts, where the machine permits it; else as it was."""
    with _scheduling(os.SCHED_FIFO, priority):
        yield


@contextlib.contextmanager
def _scheduling(policy: int, priority: int) -> Generator[None]:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, *before)


def be_nice(increment: int) -> None:
    """Change the priority of this process by ``increment`` (nice(2)); where the machine forbids more, leave it.

    Where the kernel schedules by sessions (sched(7), "The autogroup feature"), niceness counts only among the processes
    of one session. So the session gets the same niceness.
    """
    with contextlib.suppress(PermissionError):
        niceness = os.nice(increment)
        with contextlib.suppress(FileNotFoundError):
            _AUTOGROUP.write_text(str(niceness), encoding="ascii")


def let_others_first(increment: int) -> None:
    """Take the real-time priority from the calling thread, if it has one, and raise its niceness by ``increment``."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + increment)
