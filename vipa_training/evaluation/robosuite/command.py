"""The command of a benchmark: options that all have, and the way from a policy server to a file of results."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vipa_inference.policy import PolicyError
from vipa_inference.serving.client import RemoteConfig, RemotePolicy
from vipa_training.evaluation.robosuite.episode import Episode, Task
from vipa_training.evaluation.robosuite.errors import EvaluationError
from vipa_training.evaluation.robosuite.results import Results
from vipa_training.evaluation.robosuite.runner import Config, run_tasks

C = TypeVar("C", bound=Config)


class Benchmark(Protocol):
    """Tasks that can be started here."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tasks."""
        ...

    @property
    def groups(self) -> Mapping[str, Collection[str]]:
        """Names of tasks, by group."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the packages that simulate."""
        ...

    def make_task(self, number: int) -> Task:
        """Start the simulator of a task."""
        ...


def make_parser(name: str, description: str, default: Config) -> argparse.ArgumentParser:
    """The options that all benchmarks have; ``default`` is a benchmark's configuration."""
    parser = argparse.ArgumentParser(prog=f"python -m vipa_training.evaluation.{name}", description=description)
    parser.add_argument("--url", default=RemoteConfig.url, help="of the policy server (default: %(default)s)")
    parser.add_argument("--token-file", default="", metavar="FILE", help="the server's token, if it wants one")
    parser.add_argument(
        "--time-out", type=float, default=60.0, metavar="S", help="s for one chunk (default: %(default)g)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="results; goes on if it exists")
    shown = "(default: %(default)s)"
    parser.add_argument("--trials", type=int, default=default.trials, help=f"of each task {shown}")
    parser.add_argument("--seed", type=int, default=default.seed, help=f"of the simulator {shown}")
    parser.add_argument("--execute-steps", type=int, default=default.execute_steps, help=f"of a chunk, at most {shown}")
    parser.add_argument("--image-size", type=int, default=default.image_size, help=f"px {shown}")
    shown = "of a trial; 0: as many as the benchmark says (default: %(default)s)"
    parser.add_argument("--max-steps", type=int, default=default.max_steps, help=shown)
    return parser


def evaluate(
    name: str,
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    make_config: Callable[..., C],
    make_benchmark: Callable[[C], Benchmark],
) -> int:
    """Evaluate; exit status 1 if that is not possible or was interrupted, 2 if an option makes no sense.

    Args:
        name: of the benchmark, for messages.
        parser: of the options; those that ``make_parser`` did not declare are the configuration's.
        arguments: of the command line.
        make_config: of the benchmark's options.
        make_benchmark: of the configuration; raises EvaluationError where it cannot be had.
    """
    options = vars(parser.parse_args(arguments))
    url, token_file, time_out, output = (options.pop(one) for one in ("url", "token_file", "time_out", "output"))
    lists = {key: tuple(value) for key, value in options.items() if isinstance(value, list)}
    try:
        config = make_config(**{**options, **lists})
        remote = RemoteConfig(url=url, token_file=token_file, time_out=time_out)
    except ValueError as error:
        parser.error(str(error))
    try:
        benchmark = make_benchmark(config)
        with contextlib.closing(RemotePolicy(remote)) as policy:
            results = Results(output, config.settings, policy.policy_hash, benchmark.versions, benchmark.groups)
            run_tasks(config, benchmark.names, benchmark.make_task, policy, results, _print)
    except (EvaluationError, PolicyError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on with {output}", file=sys.stderr)
        return 1
    summary: dict[str, Any] = results.summary
    for group, rate in (*summary["groups"].items(), (config.settings.get("suite", name), summary["suite"])):
        print(
            f"{group}: {rate['successes']} of {rate['trials']} trials, {rate['rate']:.1%} "
            f"({rate['low']:.1%} to {rate['high']:.1%}); {output}"
        )
    return 0


def _print(episode: Episode) -> None:
    word = "done" if episode.success else "failed"
    print(
        f"{episode.name} (task {episode.task}) trial {episode.trial}: {word} after {episode.steps} steps, "
        f"{episode.wall_s:.1f} s, {episode.chunk_s * 1e3:.0f} ms a chunk",
        flush=True,
    )
