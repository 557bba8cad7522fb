"""The thread of the policy."""

import threading

import pytest

from vipa_inference.serving.worker import BusyError, InferenceWorker


def test_results_and_errors_reach_the_one_who_waits() -> None:
    worker = InferenceWorker(2)
    assert worker.submit(lambda: 7).result(5.0) == 7
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 // 0).result(5.0)
    assert worker.submit(lambda: 8).result(5.0) == 8
    assert worker.stop(5.0)


def test_the_queue_is_bounded_and_what_is_cancelled_is_left_out() -> None:
    worker, begun, release = InferenceWorker(2), threading.Event(), threading.Event()
    done: list[int] = []
    first = worker.submit(lambda: (begun.set(), release.wait(10.0)))
    assert begun.wait(5.0)
    second, third = (worker.submit(lambda i=i: done.append(i)) for i in (2, 3))
    with pytest.raises(BusyError, match="busy: 2 requests wait already"):
        worker.submit(lambda: done.append(4))
    assert second.cancel()
    release.set()
    first.result(5.0)
    third.result(5.0)
    assert done == [3]
    assert worker.stop(5.0)


def test_it_ends_in_time_although_work_hangs_and_more_waits() -> None:
    worker, begun, release = InferenceWorker(1), threading.Event(), threading.Event()
    hanging = worker.submit(lambda: (begun.set(), release.wait(10.0)))
    assert begun.wait(5.0)
    waiting = worker.submit(lambda: None)
    assert not worker.stop(0.1)
    assert waiting.cancelled()
    with pytest.raises(BusyError, match="stopping"):
        worker.submit(lambda: None)
    release.set()
    hanging.result(5.0)
    assert worker.stop(5.0)
