"""A suite: its tasks, one after the other, with all trials of each."""

from collections.abc import Callable, Sequence

from vipa_inference.policy import Policy
from vipa_training.evaluation.libero.environment import LiberoTask
from vipa_training.evaluation.libero.episode import Episode, run_episode
from vipa_training.evaluation.libero.errors import LiberoError
from vipa_training.evaluation.libero.results import Results
from vipa_training.evaluation.libero.settings import LiberoConfig


def run_suite(
    config: LiberoConfig,
    names: Sequence[str],
    make_task: Callable[[int], LiberoTask],
    policy: Policy,
    results: Results,
    report: Callable[[Episode], None],
) -> None:
    """Do the trials that the results do not have yet.

    Args:
        config: which, and how.
        names: of the suite's tasks.
        make_task: starts the simulator of a task, by its number; it is closed after its trials.
        policy: that does them.
        results: gets each trial.
        report: gets each trial, too.

    Raises:
        LiberoError: the suite has no such task, or the results cannot be written.
        PolicyError: the policy gave no chunk; what was done is in the results.
    """
    numbers = config.tasks or tuple(range(len(names)))
    for number in numbers:
        if number >= len(names):
            raise LiberoError(f"tasks: {config.suite} has no task {number}, only 0 to {len(names) - 1}")
    for number in numbers:
        trials = [trial for trial in range(config.trials) if (number, trial) not in results]
        if not trials:
            continue
        task = make_task(number)
        try:
            for trial in trials:
                episode = run_episode(task, number, trial, policy, config.step_limit, config.execute_steps)
                results.add(episode)
                report(episode)
        finally:
            task.close()
