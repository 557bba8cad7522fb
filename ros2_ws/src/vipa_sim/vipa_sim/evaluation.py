"""Many rollouts on all cores: ``python -m vipa_sim.evaluation`` appends their results to a log of trials.

``vipa trial --n`` starts it. Rollouts whose results are in the log already are not run again.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vipa.errors import VipaError
from vipa.graph import EXPERT
from vipa.policy_options import read_policy_options
from vipa.trials.result import TrialLog, TrialResult
from vipa_inference.policy import Policy, PolicyError
from vipa_inference.registry import configure, make_policy
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.errors import SimulationError
from vipa_sim.experts import EXPERTS, ExpertConfig, WorldExpert, make_expert
from vipa_sim.rollout import rollout
from vipa_sim.scenes import make_scene


@dataclass(frozen=True)
class PolicyChoice:
    """Which policy acts, and how.

    Raises:
        ValueError: rows is not positive.
    """

    name: str
    options: Mapping[str, Any]
    rows: int = 2  # actions carried out of each chunk

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows: must be positive, is {self.rows}")


@dataclass(frozen=True)
class Episode:
    """What is tried once."""

    task: str
    variant: str
    seed: int


class Evaluator:
    """Runs rollouts of one policy; environments and policies are made when they are first needed, and kept."""

    def __init__(self, choice: PolicyChoice) -> None:
        self._choice = choice
        self._actors: dict[str, tuple[LaboratoryEnvironment, Policy]] = {}

    def run(self, episode: Episode) -> TrialResult:
        """The result of one rollout."""
        environment, policy = self._actor(episode.task)
        return rollout(environment, policy, episode.seed, episode.variant, self._choice.rows)

    def _actor(self, task: str) -> tuple[LaboratoryEnvironment, Policy]:
        if task not in self._actors:
            name, options = self._choice.name, self._choice.options
            environment = LaboratoryEnvironment(task, EnvironmentConfig(render=name != EXPERT))
            if name == EXPERT:
                config = configure(ExpertConfig, options, f"policy {name}")
                policy: Policy = WorldExpert(make_expert(task, config), environment.world)
            else:
                policy = make_policy(name, **options)
            self._actors[task] = environment, policy
        return self._actors[task]


def evaluate(choice: PolicyChoice, episodes: Sequence[Episode], workers: int = 1) -> Iterator[TrialResult]:
    """Results in the order of the episodes, which are spread over processes."""
    if workers <= 1 or len(episodes) <= 1:
        evaluator = Evaluator(choice)
        yield from map(evaluator.run, episodes)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(episodes)), _start_worker, (choice,)) as pool:
        yield from pool.imap(_run_in_worker, episodes)


def planned(tasks: Sequence[str], variants: Sequence[str], seeds: Sequence[int]) -> list[Episode]:
    """Every seed in every variant of every task; no variants: all that a task has.

    Raises:
        SimulationError: a task or variant does not exist, or nothing is judged in the task.
    """
    episodes: list[Episode] = []
    for task in tasks:
        scene = make_scene(task)
        scene.check_is_task()
        for variant in variants:
            scene.check_variant(variant)
        episodes += [Episode(task, variant, seed) for variant in variants or scene.variants for seed in seeds]
    return episodes


_evaluator: Evaluator | None = None  # of a worker process


def _start_worker(choice: PolicyChoice) -> None:
    global _evaluator
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core: threads in each would only wait for each other
    _evaluator = Evaluator(choice)


def _run_in_worker(episode: Episode) -> TrialResult:
    assert _evaluator is not None
    return _evaluator.run(episode)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rollouts that are missing in the log."""
    parser = argparse.ArgumentParser(prog="python -m vipa_sim.evaluation", description=__doc__)
    parser.add_argument("--policy", default=EXPERT)
    parser.add_argument("--policy-options", default="", metavar="JSON", help="or the name of a file")
    parser.add_argument("--rows", type=int, default=2, metavar="N", help="actions carried out of each chunk")
    parser.add_argument("--tasks", default="", metavar="A,B", help="default: those with an expert")
    parser.add_argument("--variants", default="", metavar="X,Y", help="default: all of a task")
    parser.add_argument("--trials", type=int, default=1, metavar="N", help="in each variant, with consecutive seeds")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: the cores)")
    parser.add_argument("--log", type=Path, required=True, metavar="FILE", help="of trials")
    options = parser.parse_args(arguments)
    log = TrialLog(options.log)
    try:
        choice = PolicyChoice(options.policy, read_policy_options(options.policy_options), options.rows)
        tasks = options.tasks.split(",") if options.tasks else list(EXPERTS)
        variants = options.variants.split(",") if options.variants else []
        episodes = planned(tasks, variants, range(options.seed, options.seed + options.trials))
        finished = {Episode(result.task, result.variant, result.seed) for result in log.read()}
        missing = [episode for episode in episodes if episode not in finished]
        for result in tqdm(evaluate(choice, missing, options.workers), total=len(missing), unit="trial"):
            log.append(result)
    except (PolicyError, SimulationError, VipaError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
