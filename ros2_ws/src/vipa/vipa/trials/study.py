"""What the trials of a plan, or of a log, say together: rates, comparisons, verdicts, and what must be known."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vipa.errors import VipaError
from vipa.result import Result
from vipa.trials.comparison import (
    PairedCounts,
    boschloo_test,
    fisher_exact_test,
    holm_adjusted,
    mcnemar_exact_test,
    newcombe_interval,
    paired_newcombe_interval,
)
from vipa.trials.paper_tables import paper_rates
from vipa.trials.plan import Design
from vipa.trials.report import Report, summarise
from vipa.trials.result import TrialLog, TrialResult
from vipa.trials.store import Progress, TrialStore
from vipa.trials.verdicts import Verdict, judge


@dataclass(frozen=True)
class Comparison:
    """Whole-task success of two policies in one variant of a task.

    Attributes:
        pairs: outcomes per layout, where both policies met the same layouts, each once; None: separate trials.
        difference: first rate minus second, with its 95 % Newcombe interval ``low`` to ``high``.
        p_values: two-sided, by the name of the test; the first one decides.
        adjusted: the first p-value, adjusted by Holm for the number of comparisons.
    """

    task: str
    variant: str
    first: str
    second: str
    successes: tuple[int, int]
    trials: tuple[int, int]
    pairs: PairedCounts | None
    difference: float
    low: float
    high: float
    p_values: dict[str, float]
    adjusted: float

    def __str__(self) -> str:
        counts = " and ".join(f"{s}/{n}" for s, n in zip(self.successes, self.trials, strict=True))
        tests = ", ".join(f"{name} p = {value:.3g}" for name, value in self.p_values.items())
        return (
            f"{self.task} ({self.variant}): {self.first} and {self.second}: {counts} whole tasks, difference "
            f"{100 * self.difference:+.0f} points ({100 * self.low:+.0f} to {100 * self.high:+.0f}), {tests}, "
            f"after Holm {self.adjusted:.3g}"
        )


@dataclass(frozen=True)
class Study:
    """Everything a report shows.

    Attributes:
        folder: where the trials lie.
        results: results that count, with the numbers of their trials.
        verdicts: sequential tests, with the names of policies; only where a plan declared them.
        notes: what a reader must know: what is missing, interrupted or damaged, and the rules of the design.
    """

    folder: Path
    results: tuple[tuple[int, TrialResult], ...]
    report: Report
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    design: Design | None
    notes: tuple[str, ...]

    def to_result(self) -> Result:
        """The machine-readable report."""
        figures = self.report.figures()
        for comparison in self.comparisons:
            name = f"{comparison.task}.{comparison.variant}.{comparison.first}-{comparison.second}"
            figures[f"{name}.difference"] = comparison.difference
            figures[f"{name}.p_value"] = next(iter(comparison.p_values.values()))
        variants = dict.fromkeys((task.task, task.variant) for task in self.report.tasks)
        details: dict[str, Any] = {
            **self.report.to_json_dict(),
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "paper": [asdict(rate) for task, variant in variants for rate in paper_rates(task, variant)],
            "design": asdict(self.design) if self.design else None,
            "notes": list(self.notes),
            "trials": [{"number": number, **asdict(result)} for number, result in self.results],
        }
        return Result("trial report", True, figures, details=details)


def read_study(path: Path, blinded: bool = False) -> Study:
    """The trials in a folder of ``vipa trial --out``, or in a log of ``vipa trial``.

    Args:
        path: the folder, or the log (a folder's log is its ``trials.jsonl``).
        blinded: keep the labels, for a look at the results while trials go on.

    Raises:
        VipaError: there are no trials, or they cannot be read.
    """
    if (path / "plan.json").exists():
        return _of_plan(TrialStore(path), blinded)
    log = path / "trials.jsonl" if path.is_dir() else path
    if not log.is_file():
        raise VipaError(f"{path}: no trials here. Name a folder of vipa trial --out, or a log of vipa trial")
    results = TrialLog(log).read()
    named = [replace(r, policy=f"{r.policy}@{r.policy_hash[:8]}" if r.policy_hash else r.policy) for r in results]
    notes = ("Trials without a plan: nothing was declared beforehand, so that no sequential test can be made.",)
    return Study(log.parent, tuple(enumerate(results, 1)), summarise(results), compare_all(named), (), None, notes)


def compare_all(results: Sequence[TrialResult]) -> tuple[Comparison, ...]:
    """Compare every two policies in every variant of every task, in the order of their first trials."""
    groups: dict[tuple[str, str], dict[str, list[TrialResult]]] = {}
    for result in results:
        groups.setdefault((result.task, result.variant), {}).setdefault(result.policy, []).append(result)
    found = [
        _compare(task, variant, first, second, policies)
        for (task, variant), policies in groups.items()
        for first, second in itertools.combinations(policies, 2)
    ]
    adjusted = holm_adjusted([next(iter(comparison.p_values.values())) for comparison in found])
    return tuple(replace(comparison, adjusted=p) for comparison, p in zip(found, adjusted, strict=True))


def _compare(task: str, variant: str, first: str, second: str, policies: Mapping[str, list[TrialResult]]) -> Comparison:
    a, b = policies[first], policies[second]
    wins = {result.seed: result.succeeded for result in a}, {result.seed: result.succeeded for result in b}
    common = [seed for seed in wins[0] if seed in wins[1]]
    if common and (len(wins[0]), len(wins[1])) == (len(a), len(b)):  # each layout once
        outcomes = [(wins[0][seed], wins[1][seed]) for seed in common]
        ways = ((True, True), (True, False), (False, True), (False, False))
        pairs = PairedCounts(*(outcomes.count(way) for way in ways))
        successes, trials = (pairs.both + pairs.only_first, pairs.both + pairs.only_second), (pairs.pairs, pairs.pairs)
        interval, p_values = paired_newcombe_interval(pairs), {"McNemar exact": mcnemar_exact_test(pairs)}
    else:
        pairs = None
        successes, trials = (sum(r.succeeded for r in a), sum(r.succeeded for r in b)), (len(a), len(b))
        interval = newcombe_interval(successes, trials)
        p_values = {"Boschloo": boschloo_test(successes, trials), "Fisher exact": fisher_exact_test(successes, trials)}
    difference = successes[0] / trials[0] - successes[1] / trials[1]
    decisive = next(iter(p_values.values()))
    return Comparison(task, variant, first, second, successes, trials, pairs, difference, *interval, p_values, decisive)


def _of_plan(store: TrialStore, blinded: bool) -> Study:
    plan, progress = store.plan, store.progress()
    titles = {label: label for label in plan.labels}
    if not blinded:
        titles = {label: choice.title for label, choice in store.key().policies.items()}
    verdicts = tuple(
        replace(verdict, first=titles[verdict.first], second=titles.get(verdict.second, ""))
        for verdict in judge(plan, progress.finished)
    )
    finished = _with_hashes(progress.finished)
    results = tuple((n, replace(r, policy=titles[r.policy])) for n, r in sorted(finished.items()))
    variants = plan.design.variants
    values = sorted((r for _, r in results), key=lambda r: (variants.index(r.variant), r.policy))
    notes = _notes(plan.design, len(plan.trials), progress, blinded)
    hashes = {label: {r.policy_hash for r in finished.values() if r.policy == label} for label in plan.labels}
    notes += [
        f"{titles[label]}: its hash changed between trials: not one policy, but {len(found)}."
        for label, found in hashes.items()
        if len(found) > 1
    ]
    return Study(store.folder, results, summarise(values), compare_all(values), verdicts, plan.design, tuple(notes))


def _with_hashes(finished: Mapping[int, TrialResult]) -> dict[int, TrialResult]:
    """A trial that ended before an action was executed does not know its policy's hash; its siblings do."""
    known: dict[str, set[str]] = {}
    for result in finished.values():
        known.setdefault(result.policy, set()).update({result.policy_hash} - {""})
    only = {policy: next(iter(hashes)) for policy, hashes in known.items() if len(hashes) == 1}
    return {n: replace(r, policy_hash=r.policy_hash or only.get(r.policy, "")) for n, r in finished.items()}


def _notes(design: Design, planned: int, progress: Progress, blinded: bool) -> list[str]:
    rule = "counts as a failure, with the sub-tasks done until then"
    if design.aborted == "repeat":
        rule = f"is run again; an abort of attempt {design.attempts} counts as a failure"
    notes = [
        f"{len(progress.finished)} of {planned} planned trials are finished.",
        f"Declared beforehand: an aborted trial {rule}.",
        f"Declared beforehand: all sequential tests together decide wrongly with a chance of at most "
        f"{100 * design.level:g} %, however often one looks.",
    ]
    if design.stop_early:
        notes.append(
            "The plan ends early once every sequential test has decided. Its p-values and intervals for a fixed number "
            "of trials then promise too much; the sequential verdicts hold."
        )
    if progress.set_aside:
        reasons = "; ".join(f"trial {number}: {result.detail}" for number, result in progress.set_aside)
        notes.append(f"{len(progress.set_aside)} aborted attempts were set aside and run again: {reasons}.")
    if progress.interrupted:
        trials = ", ".join(str(trial) for trial, _ in progress.interrupted)
        count = len(progress.interrupted)
        notes.append(f"{count} attempts have no result, by a crash or because they run: trials {trials}.")
    if progress.torn:
        notes.append(f"The last line of trials.jsonl was cut off by a crash and is not counted: {progress.torn[:60]}")
    if blinded:
        notes.append("Blinded: policies are shown by their labels.")
    return notes
