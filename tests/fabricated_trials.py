"""Results of planned trials, made up."""

from vipa.trials.plan import Design, PlannedTrial, PolicyChoice, make_plan
from vipa.trials.result import Outcome, TrialResult
from vipa.trials.store import TrialStore

SUB_TASKS = ("pick up cloth", "wipe pen marks", "clean entire whiteboard")


def result_of(trial: PlannedTrial, done: int = 3, outcome: Outcome | None = None, **changes) -> TrialResult:
    """A result with the first ``done`` sub-tasks done, one every 5 s."""
    ended = outcome or ("succeeded" if done == len(SUB_TASKS) else "time_limit")
    fields = {
        "task": "wipe_board",
        "instruction": "wipe the board",
        "seed": trial.seed,
        "variant": trial.variant,
        "policy": trial.label,
        "policy_hash": "",
        "sub_tasks": SUB_TASKS,
        "done": tuple(k < done for k in range(len(SUB_TASKS))),
        "times": tuple(5.0 * (k + 1) if k < done else None for k in range(len(SUB_TASKS))),
        "start_ns": 10**18,
        "duration": 15.0 if ended == "succeeded" else 60.0,
        "outcome": ended,
    }
    return TrialResult(**(fields | changes))


def new_store(folder, policies=("good", "bad"), **design) -> TrialStore:
    """A store with a plan and no trials."""
    chosen = Design(**({"task": "wipe_board", "layouts": 4} | design))
    plan, key = make_plan(chosen, [PolicyChoice(name, "vipa") for name in policies])
    return TrialStore.create(folder, plan, key)


def label_of(store: TrialStore, title: str) -> str:
    """The label behind which a policy hides."""
    return next(label for label, choice in store.key().policies.items() if choice.title == title)


def run_all(store: TrialStore, done, **changes) -> None:
    """Finish every remaining trial; ``done(trial)`` is the number of sub-tasks done."""
    for trial in store.progress().remaining:
        store.finish(trial.number, store.begin(trial.number), result_of(trial, done(trial), **changes))
