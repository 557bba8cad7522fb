"""The sentences and tables that every form of a report shares."""

import math
from collections.abc import Sequence

from vipa.trials.paper_tables import PAPER_TRIALS, PaperRate
from vipa.trials.report import SUMMARY_HEAD, Rate, TaskSummary
from vipa.trials.study import Study
from vipa.trials.verdicts import Verdict

Table = Sequence[Sequence[str]]  # the first row is the head


def verdict_sentence(verdict: Verdict, threshold: float | None) -> str:
    """What a sequential test says, in words."""
    test = verdict.test
    other = verdict.second or f"the threshold of {100 * (threshold or 0.0):g} %"
    seen = f"after {test.decided_after or test.observations} of {test.config.planned} layouts"
    chance = f"(level {test.config.level:.3g}, p = {test.p_value:.3g} at any time)"
    said = {
        "greater": f"{verdict.first} is better than {other}",
        "less": f"{verdict.first} is worse than {other}",
        "undecidable": f"{verdict.first} and {other}: the rest of the plan cannot decide any more",
        "open": f"{verdict.first} and {other}: not decided",
    }[test.decision]
    return f"{verdict.variant}: {said} {seen} {chance}"


def rates_table(study: Study) -> Table:
    """Sub-task and whole-task success by task, variant and policy."""
    return [SUMMARY_HEAD, *(task.cells for task in study.report.tasks)]


def sub_tasks_table(study: Study) -> Table:
    """Each sub-task: how often done, when, and how many trials ended there."""
    rows = [("task", "variant", "policy", "sub-task", "done", "median time, s", "ended here")]
    for task in study.report.tasks:
        for name, rate in task.sub_tasks.items():
            moment = task.sub_task_times[name]
            when = "-" if moment is None else f"{moment:.1f}"
            rows.append((task.task, task.variant, task.name, name, str(rate), when, str(task.ended_at[name])))
    return rows


def loop_table(study: Study) -> Table:
    """Latency and gate, where the trials hold them."""
    rows = [("task", "variant", "policy", "figure", "median", "largest")]
    for task in study.report.tasks:
        for name, (median, largest) in task.loop.items():
            rows.append((task.task, task.variant, task.name, name, f"{median:.4g}", f"{largest:.4g}"))
    return rows


def paper_table(tasks: Sequence[TaskSummary], paper: Sequence[PaperRate]) -> Table:
    """This lab's rates above the paper's, of one task and variant."""
    rows = [("from", "policy", "trials", "sub-task", "whole task")]
    rows += [("here", t.name, str(t.trials), str(t.sub_task), str(t.whole_task)) for t in tasks]
    for rate in paper:
        cells = (str(paper_rate(rate.sub_task)), str(paper_rate(rate.whole_task)))
        rows.append((f"paper, Table {rate.table}", rate.model, str(PAPER_TRIALS), *cells))
    return rows


def paper_rate(value: float) -> Rate:
    """A rate of the paper with the interval that its 10 trials allow."""
    return Rate.of([value] * PAPER_TRIALS)


def trials_table(study: Study) -> Table:
    """Every trial with its recording."""
    rows = [
        ("trial", "task", "variant", "policy", "seed", "outcome", "sub-tasks", "duration, s", "detail", "recording")
    ]
    for number, result in study.results:
        done = f"{sum(result.done)}/{len(result.done)}"
        duration = f"{result.duration:.1f}" if math.isfinite(result.duration) else "-"
        names = (str(number), result.task, result.variant, result.policy, str(result.seed))
        rows.append((*names, result.outcome, done, duration, result.detail, result.recording or "-"))
    return rows
