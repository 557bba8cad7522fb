"""One trial: from its start to its outcome, without a clock or a robot of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vipa.trials.referee import Assignment
from vipa.trials.result import Outcome, TrialResult

EventKind = Literal["started", "sub_task_done", "succeeded", "failed", "aborted", "time_limit"]


@dataclass(frozen=True)
class TrialEvent:
    """Something that happened in a trial."""

    kind: EventKind
    time_ns: int
    sub_task: str = ""
    detail: str = ""


class Trial:
    """The state of one trial; every method takes the time and returns the events that it caused.

    A sub-task that was judged done stays done: opening and closing a drawer cannot both be true at the end. The trial
    succeeds when every sub-task is done within the time limit. After its end nothing changes any more.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        seed: int,
        variant: str,
        policy: str,
        policy_hash: str = "",
        recording: str | None = None,
    ) -> None:
        self._assignment = assignment
        self._seed, self._variant = seed, variant
        self._policy, self._policy_hash = policy, policy_hash
        self._recording = recording
        self._start_ns = self._last_ns = 0
        self._running = False
        self._times: list[float | None] = [None] * len(assignment.sub_tasks)
        self._result: TrialResult | None = None

    @property
    def running(self) -> bool:
        """True between the start and the outcome."""
        return self._running

    @property
    def result(self) -> TrialResult | None:
        """What came out; None before the end."""
        return self._result

    def start(self, time_ns: int) -> list[TrialEvent]:
        """Start the clock of the trial.

        Raises:
            RuntimeError: the trial was started before.
        """
        if self._running or self._result is not None:
            raise RuntimeError("a trial runs once; make a new one")
        self._running, self._start_ns, self._last_ns = True, time_ns, time_ns
        return [TrialEvent("started", time_ns, detail=self._assignment.instruction)]

    def update(
        self,
        time_ns: int,
        done: Sequence[bool],
        *,
        supervisor_ok: bool = True,
        supervisor_reason: str = "",
        failure: str = "",
        abort: str = "",
    ) -> list[TrialEvent]:
        """Take in what the referee judged and what the supervisor says.

        What was done in time counts before anything else, then the referee's abort, then a stop of the cell, then the
        referee's failure, then the time limit.

        Args:
            time_ns: now, on the clock of ``start``.
            done: one flag per sub-task.
            supervisor_ok: False where the cell is stopped or in fault.
            supervisor_reason: why.
            failure: why the task cannot succeed any more; empty where it still can.
            abort: why the trial must end without regard to the task; empty where it goes on.
        """
        if not self._running:
            return []
        if time_ns < self._last_ns:
            return self._end("aborted", self._last_ns, "the clock went backwards: the laboratory was restarted")
        self._last_ns = time_ns
        names, limit = self._assignment.sub_tasks, self._assignment.time_limit
        if len(done) != len(names):
            return self._end("aborted", time_ns, f"the referee judged {len(done)} sub-tasks, the task has {len(names)}")
        elapsed = (time_ns - self._start_ns) / 1e9
        events: list[TrialEvent] = []
        for index, name in enumerate(names):
            if done[index] and self._times[index] is None and elapsed <= limit:
                self._times[index] = elapsed
                events.append(TrialEvent("sub_task_done", time_ns, sub_task=name))
        if all(moment is not None for moment in self._times):
            return events + self._end("succeeded", time_ns, "")
        if abort:
            return events + self._end("aborted", time_ns, abort)
        if not supervisor_ok:
            return events + self._end("aborted", time_ns, supervisor_reason or "the supervisor stopped the cell")
        if failure:
            return events + self._end("failed", time_ns, failure)
        if elapsed > limit:
            return events + self._end("time_limit", time_ns, f"not done within {limit:g} s")
        return events

    def abort(self, time_ns: int, reason: str) -> list[TrialEvent]:
        """End the trial from outside: the operator cancelled it, the referee went silent."""
        return self._end("aborted", max(time_ns, self._last_ns), reason) if self._running else []

    def _end(self, outcome: Outcome, time_ns: int, detail: str) -> list[TrialEvent]:
        self._running = False
        self._result = TrialResult(
            task=self._assignment.task,
            instruction=self._assignment.instruction,
            seed=self._seed,
            variant=self._variant,
            policy=self._policy,
            policy_hash=self._policy_hash,
            sub_tasks=self._assignment.sub_tasks,
            done=tuple(moment is not None for moment in self._times),
            times=tuple(self._times),
            start_ns=self._start_ns,
            duration=(time_ns - self._start_ns) / 1e9,
            outcome=outcome,
            detail=detail,
            recording=self._recording,
        )
        return [TrialEvent(outcome, time_ns, detail=detail)]
