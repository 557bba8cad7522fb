"""``python -m vipa_training.evaluation.libero``: a served policy in a suite of LIBERO."""

import argparse
import contextlib
import sys
from pathlib import Path

from vipa_inference.policy import PolicyError
from vipa_inference.serving.client import RemoteConfig, RemotePolicy
from vipa_training.evaluation.libero.benchmark import Suite
from vipa_training.evaluation.libero.episode import Episode
from vipa_training.evaluation.libero.errors import LiberoError
from vipa_training.evaluation.libero.results import Results, summarise
from vipa_training.evaluation.libero.runner import run_suite
from vipa_training.evaluation.libero.settings import MAX_STEPS, LiberoConfig


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    default = LiberoConfig()
    parser = argparse.ArgumentParser(
        prog="python -m vipa_training.evaluation.libero", description="A served policy in LIBERO."
    )
    parser.add_argument("--url", default=RemoteConfig.url, help="of the policy server (default: %(default)s)")
    parser.add_argument("--token-file", default="", metavar="FILE", help="the server's token, if it wants one")
    parser.add_argument(
        "--time-out", type=float, default=60.0, metavar="S", help="s for one chunk (default: %(default)g)"
    )
    parser.add_argument("--suite", default=default.suite, choices=MAX_STEPS, help="(default: %(default)s)")
    parser.add_argument("--tasks", type=int, nargs="+", default=[], metavar="N", help="numbers from 0 (default: all)")
    parser.add_argument("--trials", type=int, default=default.trials, help="of each task (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the simulator (default: %(default)s)")
    parser.add_argument("--max-steps", type=int, default=default.max_steps, help="of a trial (default: the suite's)")
    parser.add_argument("--settle-steps", type=int, default=default.settle_steps, help="(default: %(default)s)")
    parser.add_argument(
        "--execute-steps", type=int, default=default.execute_steps, help="of each chunk, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=default.cameras,
        metavar="NAME",
        help="names of LIBERO's agentview and wrist for the policy (default: agentview wrist); one: a single view",
    )
    parser.add_argument("--image-size", type=int, default=default.image_size, help="px (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="results; goes on if it exists")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Evaluate; exit status 1 if that is not possible or was interrupted, 2 if an option makes no sense."""
    parser = make_parser()
    options = vars(parser.parse_args(arguments))
    url, token_file, time_out, output = (options.pop(name) for name in ("url", "token_file", "time_out", "output"))
    options.update(tasks=tuple(options["tasks"]), cameras=tuple(options["cameras"]))
    try:
        config = LiberoConfig(**options)
        remote = RemoteConfig(url=url, token_file=token_file, time_out=time_out)
    except ValueError as error:
        parser.error(str(error))
    try:
        suite = Suite(config)
        with contextlib.closing(RemotePolicy(remote)) as policy:
            results = Results(output, config, policy.policy_hash, suite.versions)
            run_suite(config, suite.names, suite.make_task, policy, results, _print)
    except (LiberoError, PolicyError) as error:
        print(f"libero: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"libero: interrupted; the same command goes on with {output}", file=sys.stderr)
        return 1
    rate = summarise(results.episodes)["suite"]
    print(
        f"{config.suite}: {rate['successes']} of {rate['trials']} trials, {rate['rate']:.1%} "
        f"({rate['low']:.1%} to {rate['high']:.1%}); {output}"
    )
    return 0


def _print(episode: Episode) -> None:
    word = "done" if episode.success else "failed"
    print(
        f"task {episode.task} trial {episode.trial}: {word} after {episode.steps} steps, {episode.wall_s:.1f} s, "
        f"{episode.chunk_s * 1e3:.0f} ms a chunk",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
