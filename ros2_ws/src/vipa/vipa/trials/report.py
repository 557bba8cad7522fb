"""What many trials say: sub-task and whole-task success with 95 % intervals, times, outcomes."""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vipa.trials.result import OUTCOMES, TrialResult
from vipa_inference.success_rates import wilson_interval

SUMMARY_HEAD = ("task", "variant", "policy", "trials", "sub-task", "whole task", "time to success, s", "outcomes")


@dataclass(frozen=True)
class Rate:
    """A success rate with its 95 % Wilson interval."""

    successes: float
    trials: int
    value: float  # 0-1
    low: float
    high: float

    @classmethod
    def of(cls, scores: Iterable[float]) -> "Rate":
        """The mean of scores between 0 and 1, one a trial."""
        values = list(scores)
        total = min(sum(values), float(len(values)))
        return cls(total, len(values), total / len(values), *wilson_interval(total, len(values)))

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.0f}-{100 * self.high:.0f})"


@dataclass(frozen=True)
class TaskSummary:
    """The trials of one task, variant and policy.

    ``sub_task`` is the share of sub-tasks done, averaged over trials. Sub-tasks of one trial depend on each other,
    hence its interval counts trials, not sub-tasks; that is conservative.
    """

    task: str
    variant: str
    policy: str
    policy_hash: str
    trials: int
    sub_tasks: dict[str, Rate]
    sub_task: Rate
    whole_task: Rate
    time_to_success: tuple[float, float, float] | None  # s: shortest, median, longest; None: no success
    outcomes: dict[str, int]
    ended_at: dict[str, int]  # how many trials without success had this as their first sub-task that was not done
    sub_task_times: dict[str, float | None]  # s from the start, median of the trials that did it; None: no trial did
    loop: dict[str, tuple[float, float]]  # figures of the loop: median and largest value over trials

    @property
    def name(self) -> str:
        """The policy with the beginning of its hash, where there is one."""
        return f"{self.policy}@{self.policy_hash[:8]}" if self.policy_hash else self.policy

    @property
    def cells(self) -> tuple[str, ...]:
        """One row under ``SUMMARY_HEAD``."""
        times = self.time_to_success
        shown = "-" if times is None else f"{times[1]:.1f} ({times[0]:.1f}-{times[2]:.1f})"
        outcomes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.outcomes.items())
        rates = (str(self.sub_task), str(self.whole_task))
        return (self.task, self.variant, self.name, str(self.trials), *rates, shown, outcomes)


@dataclass(frozen=True)
class Report:
    """Summaries, in the order in which their first trials were run."""

    tasks: tuple[TaskSummary, ...]

    def to_text(self) -> str:
        """A table for the console: sub-task % / whole-task %, then each sub-task."""
        rows = [SUMMARY_HEAD, *(task.cells for task in self.tasks)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(SUMMARY_HEAD))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        for task in self.tasks:
            lines += ["", f"{task.task} ({task.variant}, {task.name}):"]
            wide = max(map(len, task.sub_tasks))
            lines += [
                f"  {name.ljust(wide)}  {rate.successes:g}/{rate.trials}  {rate}"
                for name, rate in task.sub_tasks.items()
            ]
        return "\n".join(lines) + "\n"

    def to_json_dict(self) -> dict[str, Any]:
        """The same as numbers, ready for ``json.dumps``."""
        return {"tasks": [asdict(task) for task in self.tasks]}

    def figures(self) -> dict[str, float]:
        """Rates (0-1) and median times (s) by dotted name, such as ``reach.seen.scripted.whole_task``."""
        figures: dict[str, float] = {}
        for task in self.tasks:
            name = f"{task.task}.{task.variant}.{task.name}"
            figures[f"{name}.trials"] = float(task.trials)
            figures[f"{name}.sub_task"] = task.sub_task.value
            figures[f"{name}.whole_task"] = task.whole_task.value
            if task.time_to_success is not None:
                figures[f"{name}.median_time_to_success"] = task.time_to_success[1]
        return figures


def summarise(results: Iterable[TrialResult]) -> Report:
    """Group results by task, variant and policy. Every trial counts, aborted ones as what was done until then."""
    groups: dict[tuple[str, ...], list[TrialResult]] = {}
    for result in results:
        key = (result.task, result.variant, result.policy, result.policy_hash, *result.sub_tasks)
        groups.setdefault(key, []).append(result)
    return Report(tuple(_summarise(group) for group in groups.values()))


def _summarise(group: list[TrialResult]) -> TaskSummary:
    first = group[0]
    ended_at = Counter(result.sub_tasks[result.done.index(False)] for result in group if not result.succeeded)
    times = [result.duration for result in group if result.succeeded]
    outcomes = Counter(result.outcome for result in group)
    return TaskSummary(
        task=first.task,
        variant=first.variant,
        policy=first.policy,
        policy_hash=first.policy_hash,
        trials=len(group),
        sub_tasks={name: Rate.of(float(r.done[k]) for r in group) for k, name in enumerate(first.sub_tasks)},
        sub_task=Rate.of(sum(r.done) / len(r.done) for r in group),
        whole_task=Rate.of(float(r.succeeded) for r in group),
        time_to_success=(min(times), statistics.median(times), max(times)) if times else None,
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES if outcomes[outcome]},
        ended_at={name: ended_at[name] for name in first.sub_tasks},
        sub_task_times={name: _median(r.times[k] for r in group) for k, name in enumerate(first.sub_tasks)},
        loop=_loop(group),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _loop(group: list[TrialResult]) -> dict[str, tuple[float, float]]:
    values: dict[str, list[float]] = {}
    for result in group:
        for name, value in result.figures.items():
            values.setdefault(name, []).append(value)
    return {name: (statistics.median(known), max(known)) for name, known in values.items()}
