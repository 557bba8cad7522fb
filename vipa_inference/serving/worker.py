"""One thread for the policy, which is not made for several, with a bounded queue before it."""

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from vipa_inference.policy import PolicyError


class BusyError(PolicyError):
    """The queue is full."""


class InferenceWorker:
    """Runs functions one after the other in a thread of its own.

    Args:
        queue_size: how many may wait while one runs.
    """

    def __init__(self, queue_size: int) -> None:
        self._queue: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue(queue_size)
        self._stopping = False
        # A daemon: a policy that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        """Have ``work`` done; one that is cancelled before its turn is left out.

        Raises:
            BusyError: too many wait already, or the thread is to end.
        """
        if self._stopping:
            raise BusyError("stopping: no more requests are answered")
        future: Future[Any] = Future()
        try:
            self._queue.put_nowait((work, future))
        except queue.Full:
            raise BusyError(f"busy: {self._queue.maxsize} requests wait already. Try again") from None
        return future

    def stop(self, time_out: float) -> bool:
        """Cancel what waits and end the thread; False where what runs takes longer than ``time_out`` (s)."""
        self._stopping = True
        while True:
            self._cancel_waiting()
            try:
                self._queue.put_nowait(None)
                break
            except queue.Full:  # something was submitted in between
                continue
        self._thread.join(time_out)
        return not self._thread.is_alive()

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while (item := self._queue.get_nowait()) is not None:
                item[1].cancel()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, future = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except Exception as error:  # noqa: BLE001 - the one who waits for the future gets it
                    future.set_exception(error)
