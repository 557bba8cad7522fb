"""``vipa replay``: what a recorded policy saw, into a policy; what a recorded robot was told, onto a robot."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vipa.bringup import new_log_folder, run_graph, say
from vipa.commands import Subparsers, add_command
from vipa.commands.client import add_domain, client_environment
from vipa.environment import repository_folder
from vipa.errors import ConfigurationError, VipaError
from vipa.graph import NO_POLICY, GraphArguments, NodeDescription, replay_beside, replay_node
from vipa.lab import load_lab
from vipa.policy_options import options_from_pairs
from vipa.result import Result
from vipa_inference.policy import Policy, PolicyError
from vipa_inference.registry import make_policy

if TYPE_CHECKING:
    from vipa.replay.observations import Comparison, Due, Tolerance

ACTION_BOUNDS = ("position_max_mm", "rotation_max_deg", "hand_max")


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Replay a recorded episode: its observations into a policy, or its actions onto a robot, and compare"
    parser = add_command(subparsers, "replay", summary, "vipa replay recordings/episode_000001 --observations")
    parser.add_argument("episode", type=Path, help="folder of the recording")
    what = parser.add_mutually_exclusive_group(required=True)
    shown = "what the policy saw, into a policy; its chunks are compared with the recorded ones bit by bit"
    what.add_argument("--observations", action="store_true", help=shown)
    shown = "what arm and hand were told, onto the robot, through the gate; the trajectories are compared"
    what.add_argument("--actions", action="store_true", help=shown)
    parser.add_argument(
        "--tolerance", type=_numbers, default=None, metavar="MM,DEG,STROKES",
        help="differences up to which the exit status is 0 (default: none of observations, any of actions)",
    )  # fmt: skip
    shown = "a shipped laboratory or a YAML file (default: for observations the recorded one, for actions simulated)"
    parser.add_argument("--lab", help=shown)
    observations = parser.add_argument_group("observations")
    observations.add_argument("--policy", help="which is asked (default: the one that was recorded)")
    observations.add_argument(
        "--policy-option", action="append", default=[], metavar="KEY=VALUE",
        help="of the policy's configuration, VALUE being JSON or text; may be given several times",
    )  # fmt: skip
    actions = parser.add_argument_group("actions")
    actions.add_argument("--join", action="store_true", help="use the graph that runs already (default: start one)")
    actions.add_argument("--task", help="scene of the simulated laboratory (default: the recorded trial's, else reach)")
    actions.add_argument("--seed", type=int, help="of the scene (default: the recorded trial's, else 0)")
    add_domain(parser)
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="where logs go (default: logs/ in the repository)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand; the exit status is 0 where everything was replayed, and within the tolerance."""
    try:
        result = _replay_observations(options) if options.observations else _replay_actions(options)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"replay: the package {error.name} is missing; pip install '.[data]'") from None
    print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1


def _replay_observations(options: argparse.Namespace) -> Result:
    from vipa.replay.episode import is_lossy, open_recorded, read_inputs
    from vipa.replay.observations import Tolerance, recorded_policy, replay_observations

    recorded = open_recorded(options.episode)
    inputs = read_inputs(recorded)
    name = options.policy or recorded_policy(inputs, recorded.folder.name)
    lab = load_lab(options.lab) if options.lab else recorded.lab
    if lab is None:
        raise VipaError(f"replay: {recorded.folder.name}: its laboratory is not attached. Name it with --lab")
    policy = _make_policy(name, options_from_pairs(options.policy_option))
    try:
        comparison = replay_observations(recorded, inputs, policy, lab, _progress)
    finally:
        close = getattr(policy, "close", None)
        if close is not None:
            close()
    tolerance = Tolerance(*(options.tolerance or (0.0, 0.0, 0.0)))
    lossy = is_lossy(recorded)
    notes = list(_notes(comparison, tolerance, policy, lossy))
    for line in notes:
        say(line)
    first = comparison.first_beyond(tolerance)
    details = {
        "episode": str(recorded.folder),
        "policy": name,
        "color": "jpeg" if lossy else "lossless",
        "not_compared": dict(comparison.not_compared),
        "first_difference": None if first is None else vars(first),
        "notes": notes,
    }
    return Result("replay", True, comparison.figures(tolerance), {"beyond_tolerance": ("==", 0.0)}, details)


def _make_policy(name: str, settings: dict[str, Any]) -> Policy:
    # In the graph, one thread computes: the order in which numbers are added up is part of the result.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        return make_policy(name, **settings)
    except PolicyError as error:
        raise VipaError(f"replay: {error}. Name one with --policy") from None


def _progress(due: Sequence["Due"]) -> Iterable["Due"]:
    from tqdm import tqdm

    return tqdm(due, unit="chunk", disable=None)


def _notes(comparison: "Comparison", tolerance: "Tolerance", policy: Policy, lossy: bool) -> Iterable[str]:
    """What a person should know of the figures."""
    for reason, count in comparison.not_compared.items():
        yield f"{count} chunks not compared: {reason}"
    if comparison.hashes != {policy.policy_hash}:
        recorded = ", ".join(sorted(digest[:12] for digest in comparison.hashes))
        yield f"another policy or configuration: {policy.policy_hash[:12]} now, {recorded} recorded"
    first = comparison.first_beyond(tolerance)
    if first is not None:
        if lossy:
            yield "not comparable bit by bit: colour was recorded lossily, as JPEG; record with --lossless"
        yield (
            f"first difference: chunk {first.chunk_id}, observed at {first.observation_ns * 1e-9:.3f} s: "
            f"{first.position_mm:.3g} mm, {first.rotation_deg:.3g} degrees, {first.hand:.3g} strokes of the hand"
        )


def _replay_actions(options: argparse.Namespace) -> Result:
    from vipa.replay.episode import open_recorded
    from vipa.replay.layout import check_layout
    from vipa.replay.trajectories import recorded_scene, recorded_targets

    name = options.lab or "simulated"
    lab, scene = load_lab(name), None
    if not options.join:  # else the node looks by itself
        recorded = open_recorded(options.episode)
        check_layout(recorded.lab, lab, recorded_targets(recorded, lab))
        scene = recorded_scene(recorded)
    folder = new_log_folder(options.logs if options.logs is not None else repository_folder() / "logs")
    parameters = {"episode": str(options.episode.expanduser().resolve()), "output": str(folder / "replay.json")}
    say(f"logs: {folder}")
    if options.join:
        status = _join(replay_beside(name, **parameters), folder, options.domain)
    else:
        task, seed = scene or ("reach", 0)
        seed = seed if options.seed is None else options.seed
        extra = (replay_node(parameters),)
        arguments = GraphArguments(lab=name, policy=NO_POLICY, task=options.task or task, seed=seed, extra=extra)
        status = run_graph(arguments, folder, options.domain).status
    output = Path(parameters["output"])
    found = Result.read(output) if output.is_file() else Result("replay", ok=False)
    for line in found.details.get("warnings", ()):
        say(f"replay: {line}")
    if found.details.get("problem") or not output.is_file():
        say(f"replay failed: {found.details.get('problem', 'it was ended, see its log')}")
    bounds = {name: ("<=", limit) for name, limit in zip(ACTION_BOUNDS, options.tolerance or (), strict=False)}
    return Result("replay", found.ok and status == 0, found.figures, bounds, {**found.details, "logs": str(folder)})


def _join(node: NodeDescription, folder: Path, domain: int | None) -> int:
    """Play beside a running graph; the exit status."""
    parameters = folder / "replay.yaml"
    parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(node.parameters)}}), encoding="utf-8")
    command = [sys.executable, "-m", node.module, "--ros-args", "-r", f"__node:={node.name}",
               "--params-file", str(parameters)]  # fmt: skip
    process = subprocess.Popen(command, env=client_environment(domain))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the node, too, which ends in order
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _numbers(text: str) -> tuple[float, float, float]:
    """A tolerance on the command line."""
    try:
        position, rotation, hand = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected three numbers: 0.5,0.2,0.01") from None
    if not all(value >= 0.0 for value in (position, rotation, hand)):
        raise argparse.ArgumentTypeError(f"{text}: must not be negative")
    return position, rotation, hand
