"""The trials of a plan on the disk: what was started, what came out, what is left; nothing is lost or run twice."""

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vipa.config import from_mapping
from vipa.errors import ConfigurationError, VipaError
from vipa.trials.journal import Journal
from vipa.trials.plan import Key, Plan, PlannedTrial, read_key, read_plan, write_plan
from vipa.trials.result import TrialResult


@dataclass(frozen=True)
class Record:
    """One line of the store: an attempt began, or it ended with a result."""

    event: Literal["started", "finished"]
    trial: int
    attempt: int
    unix_time: float  # s
    result: TrialResult | None = None

    def __post_init__(self) -> None:
        if (self.event == "finished") != (self.result is not None):
            raise ValueError(f"event: {self.event} {'without' if self.result is None else 'with'} a result")


@dataclass(frozen=True)
class Progress:
    """How far a plan is.

    Attributes:
        finished: results that count, by the number of the trial.
        set_aside: results of aborted attempts that the plan's rule repeats, with the number of the trial.
        interrupted: attempts (trial, attempt) that a crash ended without a result; they are run again.
        remaining: trials that have no result that counts, in the order of the plan.
        torn: what a crash left of a last line; empty where the file ends properly.
    """

    finished: dict[int, TrialResult]
    set_aside: tuple[tuple[int, TrialResult], ...]
    interrupted: tuple[tuple[int, int], ...]
    remaining: tuple[PlannedTrial, ...]
    torn: str


class TrialStore:
    """A folder with ``plan.json``, ``key.json`` and the journal ``trials.jsonl``.

    Args:
        folder: made by ``create``.

    Raises:
        ConfigurationError: the folder has no plan that can be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = read_plan(folder)
        self._journal = Journal(folder / "trials.jsonl", "trials")
        self._planned = {trial.number: trial for trial in self.plan.trials}

    @classmethod
    def create(cls, folder: Path, plan: Plan, key: Key) -> "TrialStore":
        """Make the folder.

        Raises:
            ConfigurationError: it has trials already.
            VipaError: it cannot be written.
        """
        for name in ("plan.json", "trials.jsonl"):
            if (folder / name).exists():
                raise ConfigurationError(
                    f"{folder}: has {name} already. Continue it with --resume, or name a new folder"
                )
        write_plan(folder, plan, key)
        return cls(folder)

    def key(self) -> Key:
        """Which policy hides behind which label.

        Raises:
            ConfigurationError: the key is missing or is another plan's.
        """
        return read_key(self.folder, self.plan)

    @contextlib.contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """Keep every other runner away from this folder; the lock ends with the process, however that ends.

        Raises:
            VipaError: another runner has the folder.
        """
        with (self.folder / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise VipaError(f"{self.folder}: its trials are being run already. Wait for them or end them") from None
            yield

    def begin(self, number: int) -> int:
        """Note that a trial begins, before anything moves: an attempt that a crash ends is then known.

        Returns:
            The attempt, from 1.

        Raises:
            VipaError: the trial is finished, or the file cannot be written.
        """
        records = self.records()
        if number in self._progress(records, "").finished:
            raise VipaError(f"{self._journal.name}: trial {number} is finished and must not be run again")
        attempt = 1 + max((r.attempt for r in records if r.trial == number), default=0)
        self._append(Record("started", number, attempt, time.time()))
        return attempt

    def finish(self, number: int, attempt: int, result: TrialResult) -> None:
        """Keep a result; it is on the disk when this returns.

        Raises:
            VipaError: the file cannot be written.
            ValueError: it is the result of another trial.
        """
        planned = self._planned[number]
        if (result.policy, result.variant, result.seed) != (planned.label, planned.variant, planned.seed):
            raise ValueError(f"trial {number}: {result} is not the result of {planned}")
        self._append(Record("finished", number, attempt, time.time(), result))

    def records(self) -> list[Record]:
        """All records, oldest first.

        Raises:
            VipaError: a line (but for a cut-off last one) is no record of this plan; the message names it.
        """
        return self._read()[0]

    def progress(self) -> Progress:
        """How far the plan is.

        Raises:
            VipaError: see ``records``.
        """
        return self._progress(*self._read())

    def counts(self, result: TrialResult, attempt: int) -> bool:
        """Whether the plan's rule takes an attempt as the trial's result."""
        design = self.plan.design
        return result.outcome != "aborted" or design.aborted == "failure" or attempt >= design.attempts

    def _read(self) -> tuple[list[Record], str]:
        lines = self._journal.read()
        records: list[Record] = []
        finished: set[int] = set()
        for number, line in lines.whole:
            try:
                record = from_mapping(Record, json.loads(line))
            except (VipaError, ValueError) as error:
                raise self._journal.damaged(number, error) from None
            if record.trial not in self._planned:
                raise self._journal.damaged(number, f"trial {record.trial}: the plan has no such trial")
            if record.result is not None:
                if record.trial in finished:
                    raise self._journal.damaged(number, f"trial {record.trial} is finished twice")
                if self.counts(record.result, record.attempt):
                    finished.add(record.trial)
            records.append(record)
        return records, lines.torn

    def _progress(self, records: list[Record], torn: str) -> Progress:
        finished: dict[int, TrialResult] = {}
        set_aside: list[tuple[int, TrialResult]] = []
        open_attempts: dict[tuple[int, int], None] = {}
        for record in records:
            if record.result is None:
                open_attempts[record.trial, record.attempt] = None
                continue
            open_attempts.pop((record.trial, record.attempt), None)
            if self.counts(record.result, record.attempt):
                finished[record.trial] = record.result
            else:
                set_aside.append((record.trial, record.result))
        remaining = tuple(trial for trial in self.plan.trials if trial.number not in finished)
        return Progress(finished, tuple(set_aside), tuple(open_attempts), remaining, torn)

    def _append(self, record: Record) -> None:
        self._journal.append(json.dumps(dataclasses.asdict(record), ensure_ascii=False))
