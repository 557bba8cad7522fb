"""What is kept of a trial: one line of JSON in a log that survives a crash of the process or the machine."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from vipa.config import from_mapping
from vipa.errors import VipaError
from vipa.trials.journal import Journal

Outcome = Literal["succeeded", "failed", "aborted", "time_limit"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class TrialResult:
    """One finished trial."""

    task: str
    instruction: str
    seed: int
    variant: str  # "seen" or "unseen"
    policy: str
    policy_hash: str
    sub_tasks: tuple[str, ...]
    done: tuple[bool, ...]  # one per sub-task
    times: tuple[float | None, ...]  # s from the start to the completion of each sub-task; None: not done
    start_ns: int  # ROS time
    duration: float  # s
    outcome: Outcome
    detail: str = ""
    recording: str | None = None  # path
    figures: dict[str, float] = field(default_factory=dict[str, float])  # of the loop during the trial; finite

    def __post_init__(self) -> None:
        if not len(self.sub_tasks) == len(self.done) == len(self.times):
            raise ValueError(
                f"sub_tasks, done, times: {len(self.sub_tasks)}, {len(self.done)}, {len(self.times)} values"
            )
        if (self.outcome == "succeeded") != all(self.done):
            raise ValueError(f"outcome: {self.outcome} contradicts done: {list(self.done)}")
        if not all(math.isfinite(value) for value in self.figures.values()):
            raise ValueError(f"figures: {self.figures} has a value that is no finite number")

    @property
    def succeeded(self) -> bool:
        """True where every sub-task was done in time."""
        return self.outcome == "succeeded"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "TrialResult":
        """The result in one line of JSON.

        Raises:
            VipaError: the line is no JSON, or no trial result; the message names the key.
        """
        try:
            content: Any = json.loads(line)
        except ValueError as error:
            raise VipaError(f"no JSON: {error}") from None
        return from_mapping(cls, content)


class TrialLog:
    """Trial results, one a line; see ``Journal`` for what a crash leaves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = Journal(path, "trial log")

    def append(self, result: TrialResult) -> None:
        """Add a result; it is on the disk when this returns, and the file is as before where this raises.

        Raises:
            VipaError: the file cannot be written (no space, no permission).
        """
        self._journal.append(result.to_json())

    def read(self) -> list[TrialResult]:
        """All results, oldest first; none where there is no file yet.

        Raises:
            VipaError: the file cannot be read, or a line is no result (but for a cut-off last one); the message
                names the line.
        """
        results: list[TrialResult] = []
        for number, line in self._journal.read().whole:
            try:
                results.append(TrialResult.from_json(line))
            except VipaError as error:
                raise self._journal.damaged(number, error) from None
        return results
