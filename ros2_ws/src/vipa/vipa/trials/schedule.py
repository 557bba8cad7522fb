"""Which trial comes next, and where its result goes: consecutive seeds into a log, or one run of a plan."""

from dataclasses import dataclass, replace
from typing import Protocol

from vipa.trials.plan import PlannedTrial
from vipa.trials.result import TrialLog, TrialResult
from vipa.trials.store import TrialStore
from vipa.trials.verdicts import is_decided, judge


@dataclass(frozen=True)
class Setup:
    """What distinguishes one trial from the next."""

    seed: int
    variant: str
    policy: str  # its name, or its label where it is blinded


class Schedule(Protocol):
    """Hands out trials one by one: look at ``upcoming``, ``begin`` it, ``keep`` its result."""

    keeps_interrupted: bool
    """Whether a trial that ends with its process has a result; otherwise it is run again."""

    @property
    def upcoming(self) -> Setup | None:
        """The next trial; None: there is none."""
        ...

    def begin(self) -> None:
        """The upcoming trial begins.

        Raises:
            VipaError: the store cannot be written.
        """
        ...

    def keep(self, result: TrialResult) -> None:
        """Keep the result of the trial that began, and go on to the next.

        Raises:
            VipaError: it cannot be written.
        """
        ...


class SeedSchedule:
    """Trials with consecutive seeds, their results in a log."""

    keeps_interrupted = True

    def __init__(self, log: TrialLog, first: Setup, trials: int) -> None:
        self._log, self._first, self._trials = log, first, trials
        self._kept = 0

    @property
    def upcoming(self) -> Setup | None:
        """The next seed."""
        if self._kept >= self._trials:
            return None
        return replace(self._first, seed=self._first.seed + self._kept)

    def begin(self) -> None:
        """Nothing is noted."""

    def keep(self, result: TrialResult) -> None:
        """Append to the log."""
        self._log.append(result)
        self._kept += 1


class PlanSchedule:
    """What is left of one run of a plan: consecutive trials of one policy.

    An aborted trial comes again where the plan says so. A design that stops early ends the run once every sequential
    test has decided.

    Raises:
        VipaError: the store cannot be read.
    """

    keeps_interrupted = False

    def __init__(self, store: TrialStore, run: int) -> None:
        self._store, self._run = store, run
        self._planned = self._first_left()
        self._attempt = 0

    @property
    def upcoming(self) -> Setup | None:
        """The first trial of the run that has no result yet."""
        planned = self._planned
        return None if planned is None else Setup(planned.seed, planned.variant, planned.label)

    def begin(self) -> None:
        """Note the attempt in the store."""
        assert self._planned is not None
        self._attempt = self._store.begin(self._planned.number)

    def keep(self, result: TrialResult) -> None:
        """Finish the trial in the store."""
        assert self._planned is not None
        self._store.finish(self._planned.number, self._attempt, result)
        self._planned = self._first_left()

    def _first_left(self) -> PlannedTrial | None:
        return next((trial for trial in remaining(self._store) if trial.run == self._run), None)


def remaining(store: TrialStore) -> tuple[PlannedTrial, ...]:
    """The trials that are still to be run; none where the design stops early and everything is decided.

    Raises:
        VipaError: the store cannot be read.
    """
    progress = store.progress()
    if store.plan.design.stop_early and is_decided(judge(store.plan, progress.finished)):
        return ()
    return progress.remaining
