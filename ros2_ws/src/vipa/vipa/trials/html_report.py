"""A study as one HTML page that needs nothing else: plots as SVG, pictures inside, no script, every text escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from vipa.trials.paper_tables import PaperRate, paper_rates
from vipa.trials.plots import RateRow, bars_plot, evidence_plot, rates_plot, times_plot
from vipa.trials.report import TaskSummary
from vipa.trials.result import TrialResult
from vipa.trials.study import Study
from vipa.trials.thumbnails import data_uri, find_thumbnail
from vipa.trials.wording import (
    Table,
    loop_table,
    paper_rate,
    paper_table,
    rates_table,
    sub_tasks_table,
    trials_table,
    verdict_sentence,
)

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Trials</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.2rem; border-bottom: 1px solid #d9dee4 }
table { border-collapse: collapse; margin: .8rem 0; display: block; overflow-x: auto }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e8ecf0 }
svg { max-width: 100%; height: auto; font-size: 13px; display: block; margin: .6rem 0 }
figure { display: inline-block; margin: .4rem; width: 200px } figure img { width: 100%; display: block }
figcaption, .remark { color: #52606d; font-size: 13px }
</style>
</head>
<body>
"""  # noqa: E501 - one rule a line


def html_report(study: Study) -> str:
    """The page."""
    parts = [_HEAD, "<h1>Trials</h1>\n", _list(study.notes)]
    parts += _success(study)
    parts += _comparison(study)
    parts += _sub_tasks(study)
    parts += _paper(study)
    if any(task.loop for task in study.report.tasks):
        parts += [
            "<h2>Latency and gate</h2>\n",
            _remark("Over trials, of the figures measured in each."),
            _table(loop_table(study)),
        ]
    parts += _trials(study)
    return "".join([*parts, "</body>\n</html>\n"])


def _success(study: Study) -> list[str]:
    parts = ["<h2>Success</h2>\n", _table(rates_table(study))]
    parts.append(_remark("Rates with 95 % Wilson intervals over trials. Sub-task: share of sub-tasks done, averaged."))
    for task, variant, summaries in _groups(study):
        paper = paper_rates(task, variant)
        for title, rows in (
            ("sub-task", _rows(summaries, paper, False)),
            ("whole task", _rows(summaries, paper, True)),
        ):
            parts.append(f"<h3>{escape(task)} ({escape(variant)}): {title}</h3>\n{rates_plot(rows)}\n")
        times = {
            summary.name: [r.duration for _, r in study.results if r.succeeded and _belongs(r, summary)]
            for summary in summaries
        }
        if any(times.values()):
            parts.append(f"<h3>{escape(task)} ({escape(variant)}): time to success</h3>\n{times_plot(times)}\n")
    return parts


def _belongs(result: TrialResult, summary: TaskSummary) -> bool:
    one = (result.task, result.variant, result.policy, result.policy_hash)
    return one == (summary.task, summary.variant, summary.policy, summary.policy_hash)


def _rows(summaries: Sequence[TaskSummary], paper: Sequence[PaperRate], is_whole: bool) -> list[RateRow]:
    own = [RateRow(s.name, s.whole_task if is_whole else s.sub_task) for s in summaries]
    theirs = [
        RateRow(f"paper: {r.model}", paper_rate(r.whole_task if is_whole else r.sub_task), is_reference=True)
        for r in paper
    ]
    return own + theirs


def _comparison(study: Study) -> list[str]:
    parts: list[str] = []
    threshold = study.design.threshold if study.design else None
    if study.comparisons:
        parts += ["<h2>Comparison</h2>\n", _list(map(str, study.comparisons))]
        parts.append(_remark("Newcombe intervals of the difference; p-values for a number of trials fixed beforehand."))
    if study.verdicts:
        parts.append("<h2>Sequential verdicts</h2>\n")
    for verdict in study.verdicts:
        other = verdict.second or "the threshold"
        plot = evidence_plot(
            verdict.test, f"{verdict.first} better than {other}", f"{verdict.first} worse than {other}"
        )
        parts.append(f"<p>{escape(verdict_sentence(verdict, threshold))}</p>\n{plot}\n")
    return parts


def _sub_tasks(study: Study) -> list[str]:
    parts = ["<h2>Where trials end</h2>\n", _table(sub_tasks_table(study))]
    parts.append(_remark("A trial without success ends at its first sub-task that was not done."))
    for task in study.report.tasks:
        if sum(task.ended_at.values()):
            title = f"{task.task} ({task.variant}), {task.name}"
            plot = bars_plot(task.ended_at, f"trials that ended at a sub-task: {title}")
            parts.append(f"<h3>{escape(title)}</h3>\n{plot}\n")
    return parts


def _paper(study: Study) -> list[str]:
    parts: list[str] = []
    for task, variant, summaries in _groups(study):
        if paper := paper_rates(task, variant):
            parts.append(f"<h2>Beside the paper: {escape(task)} ({escape(variant)})</h2>\n")
            parts.append(_table(paper_table(summaries, paper)))
    if parts:
        parts.append(
            _remark("The paper's rates with the intervals that 10 trials allow. Its robot and scene are not these.")
        )
    return parts


def _trials(study: Study) -> list[str]:
    head, *rows = trials_table(study)
    parts = ["<h2>Trials</h2>\n", "<table>", _row(head, "th")]
    for row, (_, result) in zip(rows, study.results, strict=True):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[:-1])
        shown = escape(row[-1])
        link = f'<a href="{escape(quote(result.recording))}">{shown}</a>' if result.recording else shown
        parts.append(f"<tr>{cells}<td>{link}</td></tr>\n")
    parts.append("</table>\n")
    for number, result in study.results:
        path = find_thumbnail(study.folder, number, result)
        if path is not None and (uri := data_uri(path)):
            caption = escape(f"{number}: {result.policy}, {result.variant}, {result.outcome}")
            parts.append(f'<figure><img src="{uri}" alt="{caption}"><figcaption>{caption}</figcaption></figure>\n')
    return parts


def _groups(study: Study) -> list[tuple[str, str, list[TaskSummary]]]:
    groups: dict[tuple[str, str], list[TaskSummary]] = {}
    for task in study.report.tasks:
        groups.setdefault((task.task, task.variant), []).append(task)
    return [(task, variant, summaries) for (task, variant), summaries in groups.items()]


def _table(table: Table) -> str:
    head, *rows = table
    return f"<table>{_row(head, 'th')}{''.join(_row(row, 'td') for row in rows)}</table>\n"


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>\n"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>\n"


def _remark(text: str) -> str:
    return f'<p class="remark">{escape(text)}</p>\n'
