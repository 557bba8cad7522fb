"""Priorities: what a thread asked for, and what a machine that forbids it gets."""

import os
import subprocess
import sys
import threading

import pytest

from vipa import scheduling
from vipa.scheduling import (
    CHAIN_PRIORITY,
    CONTROLLER_PRIORITY,
    DRAWING_PRIORITY,
    LISTENER_PRIORITY,
    OPERATOR_PRIORITY,
    SUPERVISOR_PRIORITY,
    WORLD_PRIORITY,
    let_others_first,
    ordinary_scheduling,
    put_first,
    request_real_time,
)


def _may_be_real_time() -> bool:
    found = subprocess.run(
        [sys.executable, "-c", "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"],
        capture_output=True,
        check=False,
    )
    return found.returncode == 0


needs_permission = pytest.mark.skipif(not _may_be_real_time(), reason="no permission for real-time priorities")


def in_thread(work: object) -> list[object]:
    """What ``work()`` gives in a thread of its own, whose scheduling ends with it."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(work()))  # type: ignore[operator]
    thread.start()
    thread.join()
    return found


def test_the_order_of_priorities() -> None:
    assert CONTROLLER_PRIORITY > WORLD_PRIORITY > SUPERVISOR_PRIORITY > DRAWING_PRIORITY > CHAIN_PRIORITY
    assert max(OPERATOR_PRIORITY, LISTENER_PRIORITY) < CHAIN_PRIORITY
    assert min(OPERATOR_PRIORITY, LISTENER_PRIORITY) > 0


@needs_permission
def test_threads_inherit_the_priority_save_within_ordinary_scheduling() -> None:
    def scheduler() -> int:
        return os.sched_getscheduler(0)

    def work() -> list[object]:
        request_real_time(CHAIN_PRIORITY)
        own = os.sched_getparam(0).sched_priority
        inherited = in_thread(scheduler)
        with ordinary_scheduling():
            ordinary = in_thread(scheduler)
        return [own, *inherited, *ordinary, scheduler(), os.sched_getparam(0).sched_priority]

    fifo, other = os.SCHED_FIFO, os.SCHED_OTHER
    assert in_thread(work) == [[CHAIN_PRIORITY, fifo, other, fifo, CHAIN_PRIORITY]]


@needs_permission
def test_an_exception_restores_the_priority() -> None:
    def work() -> int:
        request_real_time(CHAIN_PRIORITY)
        with pytest.raises(KeyError), ordinary_scheduling():
            raise KeyError
        return os.sched_getparam(0).sched_priority

    assert in_thread(work) == [CHAIN_PRIORITY]


@needs_permission
def test_what_is_started_meanwhile_comes_first_with_all_its_threads() -> None:
    look = "import os, threading; threading.Thread(target=lambda: print(os.sched_getscheduler(0))).start()"

    def work() -> list[object]:
        with put_first(OPERATOR_PRIORITY):
            own = os.sched_getparam(0).sched_priority
            started = subprocess.run([sys.executable, "-c", look], capture_output=True, check=True, text=True).stdout
        return [own, int(started), os.sched_getscheduler(0)]

    assert in_thread(work) == [[OPERATOR_PRIORITY, os.SCHED_FIFO, os.SCHED_OTHER]]


def test_without_permission_nothing_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(scheduling.os, "sched_setscheduler", refuse)
    with put_first(OPERATOR_PRIORITY):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_without_permission_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(scheduling.os, "sched_setscheduler", refuse)
    request_real_time(CHAIN_PRIORITY)
    assert "vipa doctor" in capsys.readouterr().err


def test_niceness_counts_between_sessions() -> None:
    """With autogroups, a session's own niceness is the one that counts."""
    if not os.path.exists("/proc/self/autogroup"):
        pytest.skip("this kernel has no autogroups")
    program = "from vipa.scheduling import be_nice; be_nice(3); print(open('/proc/self/autogroup').read())"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert found.stdout.split()[-1] == str(os.nice(0) + 3)


def test_one_thread_can_let_others_first() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    def work() -> tuple[int, int]:
        if _may_be_real_time():
            request_real_time(OPERATOR_PRIORITY)
        let_others_first(3)
        return niceness(), os.sched_getscheduler(0)

    before = niceness()
    assert in_thread(work) == [(min(before + 3, 19), os.SCHED_OTHER)]
    assert niceness() == before
