"""``vipa bench``: measurements of the running stack, as JSON."""

import argparse
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vipa.benchmarks.loop import LOOP_BOUNDS, SIMULATED_SMOKE_BOUNDS, SMOKE_BOUNDS
from vipa.benchmarks.soak import read_samples, soak_result
from vipa.benchmarks.teleop import BOUNDS as TELEOP_BOUNDS
from vipa.benchmarks.teleop import write_script
from vipa.bringup import run_graph, say
from vipa.commands import add_command, finish, say_beside
from vipa.commands.bringup import (
    add_graph_options,
    add_recorder_options,
    domain,
    graph_arguments,
    log_folder,
    recorder_options,
    seconds,
)
from vipa.errors import ConfigurationError
from vipa.graph import NO_POLICY, monitor_node, soak_node, teleop_monitor_node, teleop_node
from vipa.lab import load_lab
from vipa.result import Result

if TYPE_CHECKING:
    from vipa.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="Measure the running stack")
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    summary = "Measure the loop from exposure to command, its jitter, dropped frames and lost packets"
    loop = add_command(benchmarks, "loop", summary, "vipa bench loop --seconds 60 --json -")
    add_graph_options(loop)
    loop.add_argument("--seconds", type=seconds, default=60.0, help="of ROS time (default: 60)")
    loop.set_defaults(benchmark=run_loop)
    summary = "Measure the jumps where one action chunk follows another, with and without real-time chunking"
    chunks = add_command(benchmarks, "chunks", summary, "vipa bench chunks --json -")
    chunks.add_argument("--seconds", type=seconds, default=25.0, help="of simulated time for each kind (default: 25)")
    chunks.add_argument("--seed", type=int, default=0, help="of orbits, weights and noise (default: 0)")
    chunks.set_defaults(benchmark=run_chunks)
    summary = "Measure VIPA-VLA's latency in every runtime, beside eager torch and the machine's limits"
    policy = add_command(benchmarks, "policy", summary, "vipa bench policy --json -")
    policy.add_argument("--quick", action="store_true", help="a few rounds, without the preset 2b")
    policy.set_defaults(benchmark=run_policy)
    summary = "Measure how fast stage 3 trains nano, with and without kept features, and how long it waits for data"
    train = add_command(benchmarks, "train", summary, "vipa bench train --json -")
    train.add_argument("--steps", type=int, default=12, metavar="N", help="of each kind (default: 12)")
    train.add_argument("--seed", type=int, default=0, help="of weights, order and noise (default: 0)")
    train.add_argument(
        "--peer-python", type=Path, metavar="FILE", help="of an environment with LeRobot: its ACT is measured, too"
    )
    train.set_defaults(benchmark=run_train)
    summary = "Measure the recorder: drops, share of a core, what a kill costs; without ROS, from a synthetic source"
    record = add_command(benchmarks, "record", summary, "vipa bench record --json -")
    record.add_argument("--seconds", type=seconds, default=30.0, help="of sustained recording (default: 30)")
    record.add_argument("--kills", type=int, default=3, metavar="N", help="recordings that are killed (default: 3)")
    record.add_argument("--seed", type=int, default=0, help="of the moments of the kills (default: 0)")
    record.add_argument("--folder", type=Path, help="on the disk that is measured (default: the temporary folder)")
    record.set_defaults(benchmark=run_record)
    summary = "Measure what the recorder costs the running loop: with none, with one, on a slow disk, on a full one"
    record_loop = add_command(benchmarks, "record-loop", summary, "vipa bench record-loop --json -")
    add_graph_options(record_loop)
    record_loop.add_argument("--seconds", type=seconds, default=30.0, help="of ROS time, each (default: 30)")
    record_loop.set_defaults(benchmark=run_record_loop)
    summary = "Run the graph for long: growth of memory and handles, missed ticks, dropped frames, lost packets"
    soak = add_command(benchmarks, "soak", summary, "vipa bench soak --minutes 60 --json soak.json")
    add_graph_options(soak)
    add_recorder_options(soak)
    soak.add_argument("--minutes", type=seconds, default=60.0, help="of the wall clock (default: 60)")
    soak.add_argument("--interval", type=seconds, default=10.0, metavar="SECONDS", help="of samples (default: 10)")
    soak.add_argument("--samples", type=Path, metavar="FILE", help="judge these of a soak that was killed instead")
    soak.set_defaults(benchmark=run_soak)
    summary = "Inject faults into the running simulated cell, and judge what they lead to"
    faults = add_command(benchmarks, "faults", summary, "vipa bench faults --only camera,hand --json faults.json")
    add_graph_options(faults)
    faults.add_argument("--only", default="", metavar="NAMES", help="a list of injections, camera,hand (default: all)")
    faults.add_argument("--list", action="store_true", help="name the injections, and inject nothing")
    faults.add_argument("--repeats", type=int, default=5, metavar="N", help="of each fault (default: 5)")
    faults.set_defaults(benchmark=run_faults)
    summary = "Measure how fast demonstrations are written and read, from synthetic pictures"
    dataset = add_command(benchmarks, "dataset", summary, "vipa bench dataset --json -")
    dataset.add_argument("--rows", type=int, default=300, metavar="N", help="of each of 3 episodes (default: 300)")
    dataset.add_argument("--folder", type=Path, help="on the disk that is measured (default: the temporary folder)")
    dataset.set_defaults(benchmark=run_dataset)
    summary = "Measure how long an operator's command takes to move the joints, in the simulated laboratory"
    teleop = add_command(benchmarks, "teleop", summary, "vipa bench teleop --json -")
    add_graph_options(teleop)
    teleop.add_argument("--moves", type=int, default=30, metavar="N", help="that are commanded (default: 30)")
    teleop.set_defaults(benchmark=run_teleop, policy=NO_POLICY)
    _add_two_hosts(benchmarks)
    return parser


def _add_two_hosts(benchmarks: "Subparsers") -> None:
    summary = "Measure a cell of robot PC and workstation with a bad network between them; needs root"
    two_hosts = add_command(benchmarks, "two-hosts", summary, "sudo vipa bench two-hosts --delay 20 --loss 1 --json -")
    two_hosts.add_argument("--delay", type=float, default=20.0, metavar="MS", help="each way (default: 20)")
    two_hosts.add_argument("--loss", type=float, default=1.0, metavar="PERCENT", help="of packets (default: 1)")
    two_hosts.add_argument("--seconds", type=seconds, default=20.0, help="of ROS time, of the loop (default: 20)")
    two_hosts.add_argument("--task", default="water_plant", help="of the expert's trial (default: water_plant)")
    two_hosts.add_argument("--seed", type=int, default=1, help="of the scene and of the losses (default: 1)")
    two_hosts.add_argument(
        "--dds-loss", type=float, nargs="*", default=[0.0, 1.0, 5.0], metavar="PERCENT",
        help="at which ROS 2's own transport is measured, too (default: 0 1 5)",
    )  # fmt: skip
    two_hosts.add_argument("--domain", type=domain, default=0, metavar="ID", help="ROS domain (default: 0)")
    two_hosts.add_argument("--logs", type=Path, metavar="FOLDER", help="where logs go (default: logs/)")
    two_hosts.set_defaults(benchmark=run_two_hosts)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    return int(options.benchmark(options))


def run_loop(options: argparse.Namespace) -> int:
    """Run ``vipa bench loop``."""
    folder = log_folder(options)
    measured = folder / "monitor.json"
    monitor = monitor_node(options.seconds, str(measured), images=True)
    say(f"logs: {folder}")
    outcome = run_graph(replace(graph_arguments(options), extra=(monitor,)), folder, options.domain)
    figures = Result.read(measured)
    bounds = {**SMOKE_BOUNDS, **LOOP_BOUNDS, **(SIMULATED_SMOKE_BOUNDS if load_lab(options.lab).simulated else {})}
    result = Result("bench loop", outcome.status == 0 and figures.ok, figures.figures, bounds, figures.details)
    return _report(result, options)


def run_chunks(options: argparse.Namespace) -> int:
    """Run ``vipa bench chunks``."""
    with _explained("chunks", "train"):
        from vipa.benchmarks.chunks import ChunksConfig, run_benchmark

        config = ChunksConfig(seconds=options.seconds, seed=options.seed)
    return _report(run_benchmark(config), options)


def run_policy(options: argparse.Namespace) -> int:
    """Run ``vipa bench policy``."""
    with _explained("policy", "train"):
        from vipa.benchmarks.policy import PolicyBenchmarkConfig, run_policy_benchmark

        config = PolicyBenchmarkConfig(large=None, rounds=5) if options.quick else PolicyBenchmarkConfig()
    return _report(run_policy_benchmark(config, say), options)


def run_train(options: argparse.Namespace) -> int:
    """Run ``vipa bench train``."""
    with _explained("train", "train,data"):
        from vipa.benchmarks.train import TrainBenchmarkConfig, run_train_benchmark

        config = TrainBenchmarkConfig(steps=options.steps, seed=options.seed, peer_python=options.peer_python)
    return _report(run_train_benchmark(config, say), options)


def run_record(options: argparse.Namespace) -> int:
    """Run ``vipa bench record``."""
    with _explained("record", "record"):
        from vipa.benchmarks.record import RecordConfig, run_record_benchmark

        config = RecordConfig(seconds=options.seconds, kills=options.kills, seed=options.seed)
    return _report(run_record_benchmark(config, options.folder, say), options)


def run_record_loop(options: argparse.Namespace) -> int:
    """Run ``vipa bench record-loop``."""
    with _explained("record-loop", "record"):
        from vipa.benchmarks.record_loop import run_record_loop_benchmark
    folder, arguments = log_folder(options), graph_arguments(options)
    say(f"logs: {folder}")
    return _report(run_record_loop_benchmark(arguments, options.seconds, folder, options.domain), options)


def run_soak(options: argparse.Namespace) -> int:
    """Run ``vipa bench soak``; also where it is interrupted, what was measured until then is judged."""
    simulated = load_lab(options.lab).simulated
    if options.samples is not None:
        return _report(soak_result(read_samples(options.samples), options.minutes, simulated, 0, True), options)
    folder = log_folder(options)
    measured = folder / "samples.jsonl"
    say(f"logs: {folder}")
    arguments = replace(
        graph_arguments(options),
        record=options.record,
        recordings=options.recordings,
        recorder_options=recorder_options(options),
        extra=(soak_node(60.0 * options.minutes, options.interval, str(measured)),),
    )
    outcome = run_graph(arguments, folder, options.domain)
    restarts = sum(outcome.restarts.values())
    result = soak_result(read_samples(measured), options.minutes, simulated, restarts, outcome.status == 0)
    return _report(result, options)


def run_faults(options: argparse.Namespace) -> int:
    """Run ``vipa bench faults``."""
    from vipa.faults.suite import InjectionOptions, run_suite, select

    injections = select(options.only)
    if options.list:
        print("\n".join(f"{injection.name:<10} {injection.summary}" for injection in injections))
        return 0
    if options.repeats < 1:
        raise ConfigurationError(f"bench faults: --repeats {options.repeats} is less than 1")
    folder = log_folder(options)
    say(f"logs: {folder}")
    chosen = InjectionOptions(options.repeats, options.seed, folder)
    return _report(run_suite(injections, chosen, graph_arguments(options), options.domain), options)


def run_dataset(options: argparse.Namespace) -> int:
    """Run ``vipa bench dataset``."""
    with _explained("dataset", "data"):
        from vipa.benchmarks.dataset import DatasetBenchmarkConfig, run_dataset_benchmark

        config = DatasetBenchmarkConfig(rows=options.rows)
    return _report(run_dataset_benchmark(config, options.folder, say), options)


def run_teleop(options: argparse.Namespace) -> int:
    """Run ``vipa bench teleop``."""
    if not load_lab(options.lab).simulated:
        raise ConfigurationError("bench teleop: it moves the arm by itself, so only in a simulated laboratory")
    folder = log_folder(options)
    script, measured = folder / "script.json", folder / "teleop_monitor.json"
    write_script(script, options.moves)
    operator = teleop_node({"source": "scripted", "source_options": json.dumps({"file": str(script)})}, ends_graph=True)
    say(f"logs: {folder}")
    arguments = replace(graph_arguments(options), extra=(teleop_monitor_node(str(measured)), operator))
    outcome = run_graph(arguments, folder, options.domain)
    figures = Result.read(measured)
    result = Result("bench teleop", outcome.status == 0, figures.figures, TELEOP_BOUNDS, figures.details)
    return _report(result, options)


def run_two_hosts(options: argparse.Namespace) -> int:
    """Run ``vipa bench two-hosts``."""
    with _explained("two-hosts", "serve,sim"):
        from vipa.benchmarks.hosts import LinkConfig
        from vipa.benchmarks.two_hosts import TwoHostsConfig, run_two_hosts_benchmark

        config = TwoHostsConfig(
            link=LinkConfig(options.delay * 1e-3, options.loss * 1e-2, options.seed),
            seconds=options.seconds,
            task=options.task,
            seed=options.seed,
            domain=options.domain,
            dds_losses=tuple(loss * 1e-2 for loss in options.dds_loss),
        )
    folder = log_folder(options)
    say(f"logs: {folder}")
    return _report(run_two_hosts_benchmark(config, folder, say), options)


@contextmanager
def _explained(benchmark: str, extra: str) -> Generator[None]:
    """Around the import and the configuration of a benchmark: a missing package and a bad value as one line each.

    Raises:
        ConfigurationError: instead of ModuleNotFoundError and ValueError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"bench {benchmark}: the package {error.name} is missing; pip install '.[{extra}]'"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"bench {benchmark}: {error}") from None


def _report(result: Result, options: argparse.Namespace) -> int:
    """Print a result, write it where it is wanted, and give the exit status."""
    say_beside(options)(result.report())
    return finish(result, options)
