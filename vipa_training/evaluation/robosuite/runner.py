"""Tasks, one after the other, with all trials of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from vipa_inference.policy import Policy
from vipa_training.evaluation.robosuite.episode import Episode, Task, run_episode
from vipa_training.evaluation.robosuite.errors import EvaluationError
from vipa_training.evaluation.robosuite.results import Results


class Config(Protocol):
    """What decides how tasks are run."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the tasks, from 0; none: all."""
        ...

    @property
    def trials(self) -> int:
        """Of each task."""
        ...

    @property
    def seed(self) -> int:
        """Of the simulator."""
        ...

    @property
    def max_steps(self) -> int:
        """Of a trial; 0: as many as the benchmark says."""
        ...

    @property
    def image_size(self) -> int:
        """Of the square pictures, px."""
        ...

    @property
    def execute_steps(self) -> int:
        """Of a chunk, at most, before the next one is asked for."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the results hold of it."""
        ...


def run_tasks(
    config: Config,
    names: Sequence[str],
    make_task: Callable[[int], Task],
    policy: Policy,
    results: Results,
    report: Callable[[Episode], None],
) -> None:
    """Do the trials that the results do not have yet.

    Args:
        config: which, and how.
        names: of all tasks.
        make_task: starts the simulator of a task, by its number; it is closed after its trials.
        policy: that does them.
        results: gets each trial.
        report: gets each trial, too.

    Raises:
        EvaluationError: there is no such task, or the results cannot be written.
        PolicyError: the policy gave no chunk; what was done is in the results.
    """
    numbers = config.numbers or tuple(range(len(names)))
    for number in numbers:
        if number >= len(names):
            raise EvaluationError(f"tasks: there is no task {number}, only 0 to {len(names) - 1}")
    for number in numbers:
        trials = [trial for trial in range(config.trials) if (number, trial) not in results]
        if not trials:
            continue
        task = make_task(number)
        try:
            for trial in trials:
                episode = run_episode(task, number, trial, policy, config.execute_steps)
                results.add(episode)
                report(episode)
        finally:
            task.close()
