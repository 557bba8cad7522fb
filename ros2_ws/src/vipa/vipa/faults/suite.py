"""Runs the injections in order, those that need a running cell within a graph, and makes one result of them."""

import importlib
import json
import random
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from vipa.bringup import RespawnPolicy, run_graph, say
from vipa.errors import ConfigurationError
from vipa.faults.lab_variants import QUICK, SERIAL, SLOW, Changes, write_variant
from vipa.faults.outcome import Outcome
from vipa.faults.policy_server import CLOSED_WAVE, free_port
from vipa.graph import GraphArguments, faults_node
from vipa.lab import load_lab
from vipa.result import Result

Place = Literal["alone", "own graphs", "cell", "serial cell", "served cell", "slow cell", "quick cell"]
"""Where an injection runs: without a graph, in graphs that it brings up itself, in one with the policy ``wave``, in
such a one whose hand is on a serial line, in one whose policy is a server's, in such ones that stop later or sooner."""
CELLS = get_args(Place)[2:]
VARIANTS: dict[Place, Changes] = {"serial cell": SERIAL, "slow cell": SLOW, "quick cell": QUICK}
ANSWER_TIME_OUT_S = {"slow cell": 0.6}  # of a policy server, where not that of the policy ``remote``

_HEALTHY_AFTER_S = 10.0  # a node is killed again and again here: a lone crash is measured, not a series of them
_FOLLOW_S = 0.2


@dataclass(frozen=True)
class Injection:
    """A module of ``vipa.faults`` with a function ``inject``.

    ``inject(options)`` where it runs alone, ``inject(options, arguments, domain)`` where it brings up graphs itself,
    ``inject(cell, options)`` where it needs a running one; each yields ``Outcome``.
    """

    name: str  # of the module, and for --only
    place: Place
    summary: str

    @property
    def inject(self) -> Callable[..., Iterator[Outcome]]:
        """The function, imported only when it is wanted."""
        return importlib.import_module(f"vipa.faults.{self.name}").inject


INJECTIONS = (
    Injection("camera", "cell", "a camera drops out, freezes, repeats frames"),
    Injection("chunks", "cell", "chunks with NaN, Inf, a wrong shape, tenfold steps, old observations"),
    Injection("hand", "cell", "the hand does not answer, answers nonsense, hangs up"),
    Injection("serial_hand", "serial cell", "the same on a serial line, with wrong checksums"),
    Injection("arm", "cell", "lost packets, a reflex, a user stop, a lost connection"),
    Injection("stop", "cell", "the operator stops the cell"),
    Injection("kill", "cell", "kill -9 of each node in turn"),
    Injection("fuzz", "alone", "a million fuzzed chunks, and fuzzed trajectories"),
    Injection("clock", "alone", "the clock jumps forward and back while the arm moves"),
    Injection("requests", "alone", "requests without a token, malformed, too big, too many, to both servers"),
    Injection("disk", "alone", "a slow disk and a full one under the recorder"),
    Injection("loop_disk", "own graphs", "the running loop beside a recorder with a good disk, a slow one, a full one"),
    Injection("inference", "served cell", "the policy server stalls, or is killed"),
    Injection("seams", "slow cell", "the way to the policy server and back takes up to 300 ms"),
    Injection("quick_stop", "quick cell", "the same where the laboratory wants a chunk for every frame"),
)


@dataclass(frozen=True)
class InjectionOptions:
    """How one injection is run."""

    repeats: int = 5  # how often each fault is injected, where it does not say otherwise
    seed: int = 0
    folder: Path = Path()  # for what it has to write
    server_port: int = 0  # on which a served cell looks for its policy server

    def random(self, name: str) -> random.Random:
        """The random numbers of one injection: the same for the same seed, whatever else runs."""
        return random.Random(f"{self.seed} {name}")


def select(only: str) -> tuple[Injection, ...]:
    """The injections of a list of names, "camera,hand"; all where it is empty.

    Raises:
        ConfigurationError: no such injection.
    """
    wanted = [name for name in only.split(",") if name]
    known = [injection.name for injection in INJECTIONS]
    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"bench faults: no injection {name!r}; known: {', '.join(known)}")
    return tuple(injection for injection in INJECTIONS if not wanted or injection.name in wanted)


def run_suite(
    injections: Sequence[Injection],
    options: InjectionOptions,
    arguments: GraphArguments,
    domain: int | None = None,
) -> Result:
    """Run the injections: first those that need no running cell, then those that do, one graph for each kind of cell.

    Args:
        injections: which; see ``select``.
        options: of each of them; logs go to ``folder``.
        arguments: laboratory and scene of the graph; the policy is chosen here.
        domain: ROS domain; None: that of ``ROS_DOMAIN_ID``.

    Raises:
        ConfigurationError: the laboratory is not simulated, or a graph cannot be started.
    """
    if not load_lab(arguments.lab).simulated:
        raise ConfigurationError("bench faults: it injects faults, so only in a simulated laboratory")
    outcomes: list[Outcome] = []
    ends_well = True
    for injection in injections:
        if injection.place not in CELLS:
            say(f"{injection.name}: {injection.summary}")
            graph = () if injection.place == "alone" else (arguments, domain)
            for outcome in injection.inject(options, *graph):
                say(outcome.line())
                outcomes.append(outcome)
    for place in CELLS:
        names = [injection.name for injection in injections if injection.place == place]
        if names:
            found, is_clean = _run_in_cell(place, names, options, arguments, domain)
            outcomes += found
            ends_well &= is_clean
    return make_result(outcomes, ends_well)


def make_result(outcomes: Sequence[Outcome], ends_well: bool) -> Result:
    """One result of all outcomes; each figure has the name of its fault before its own."""
    figures = {f"{o.name}_{name}": value for o in outcomes for name, value in o.figures.items()}
    bounds = {f"{o.name}_{name}": bound for o in outcomes for name, bound in o.bounds.items()}
    details: dict[str, Any] = {o.name: {"injected": o.injected, **o.details} for o in outcomes}
    is_ok = ends_well and bool(outcomes) and all(o.injected > 0 for o in outcomes)
    return Result("bench faults", is_ok, figures, bounds, details)


def _run_in_cell(
    place: Place, names: Sequence[str], options: InjectionOptions, arguments: GraphArguments, domain: int | None
) -> tuple[list[Outcome], bool]:
    folder = options.folder / place.replace(" ", "_")
    folder.mkdir()
    output = folder / "outcomes.jsonl"
    output.touch()
    port = free_port()
    policy, policy_options = "wave", CLOSED_WAVE
    if place not in ("cell", "serial cell"):
        time_out = {"time_out": ANSWER_TIME_OUT_S[place]} if place in ANSWER_TIME_OUT_S else {}
        policy, policy_options = "remote", {"url": f"ws://127.0.0.1:{port}", **time_out}
    lab = arguments.lab
    if place in VARIANTS:
        lab = str(write_variant(lab, VARIANTS[place], folder))
    node = faults_node(
        {
            "injections": list(names),
            "repeats": options.repeats,
            "seed": options.seed,
            "server_port": port,
            "output": str(output),
        }
    )
    chosen = replace(arguments, lab=lab, policy=policy, policy_options=json.dumps(policy_options), extra=(node,))
    with _told(output):
        ended = run_graph(chosen, folder, domain, RespawnPolicy(healthy_after_s=_HEALTHY_AFTER_S))
    return read_outcomes(output), ended.status == 0


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes in a file with one JSON object per line; a line that is still being written is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Outcome.from_mapping(json.loads(line)) for line in lines]


@contextmanager
def _told(output: Path) -> Generator[None]:
    """Within, tell the person of each outcome as it comes."""
    ended = threading.Event()

    def follow() -> None:
        told = 0
        while True:
            is_last = ended.wait(_FOLLOW_S)
            outcomes = read_outcomes(output)
            for outcome in outcomes[told:]:
                say(outcome.line())
            told = len(outcomes)
            if is_last:
                return

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
