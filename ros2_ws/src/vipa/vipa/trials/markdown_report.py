"""A study as Markdown."""

from vipa.trials.paper_tables import paper_rates
from vipa.trials.study import Study
from vipa.trials.wording import (
    Table,
    loop_table,
    paper_table,
    rates_table,
    sub_tasks_table,
    trials_table,
    verdict_sentence,
)


def markdown_report(study: Study) -> str:
    """The report as Markdown; text from trials cannot break out of its cell or line."""
    threshold = study.design.threshold if study.design else None
    parts = ["# Trials", _list(study.notes), "## Success", _table(rates_table(study))]
    parts.append("Rates with 95 % Wilson intervals over trials. Sub-task: share of sub-tasks done, averaged.")
    if study.comparisons:
        parts += ["## Comparison", _list([str(comparison) for comparison in study.comparisons])]
    if study.verdicts:
        parts += ["## Sequential verdicts", _list([verdict_sentence(verdict, threshold) for verdict in study.verdicts])]
    parts += ["## Sub-tasks", _table(sub_tasks_table(study))]
    for task, variant in dict.fromkeys((task.task, task.variant) for task in study.report.tasks):
        if paper := paper_rates(task, variant):
            own = [summary for summary in study.report.tasks if (summary.task, summary.variant) == (task, variant)]
            parts += [f"## Beside the paper: {_plain(task)} ({_plain(variant)})", _table(paper_table(own, paper))]
    if any(task.loop for task in study.report.tasks):
        parts += ["## Latency and gate", _table(loop_table(study))]
    parts += ["## Trials", _table(trials_table(study))]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _list(lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """One line without markup."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return line.replace("|", "\\|").replace("`", "\\`").replace("*", "\\*").replace("[", "\\[")
