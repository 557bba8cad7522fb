"""Runs the graph's processes where ROS 2 launch is not installed: start, watch, start again, stop in order.

Each node is a process group of its own with a log file of its own, and dies with this process. A node that ends is
started again with a growing pause, a limited number of times.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vipa.environment import ros_environment
from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, NodeDescription, describe
from vipa.lab import load_lab
from vipa.leftovers import MARK, clean_shared_memory, end_stale_processes, graph_processes, mark
from vipa.scheduling import be_nice

POLL_S = 0.05
PR_SET_PDEATHSIG = 1  # prctl(2)
INTENDED = (0, -signal.SIGINT, 128 + signal.SIGINT)  # return codes of a process that was asked to end by SIGINT
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class StopTimes:
    """How long one node may take to end after each signal, s."""

    interrupt: float = 8.0
    terminate: float = 3.0
    kill: float = 2.0


@dataclass(frozen=True)
class RespawnPolicy:
    """How a node that ended is started again; the pause doubles each time."""

    attempts: int = 5
    longest_delay_s: float = 30.0
    healthy_after_s: float = 60.0  # a node that ran as long as this begins anew with its attempts


@dataclass(frozen=True)
class Outcome:
    """How a graph ended."""

    status: int  # exit status: 0 only where everything ended as intended
    restarts: Mapping[str, int]  # per node that had to be started again


@dataclass
class _Process:
    node: NodeDescription
    log: Path
    running: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0  # in succession
    restarts: int = 0
    due: float | None = None  # time at which it is started again


def run_graph(
    arguments: GraphArguments, folder: Path, domain: int | None = None, respawn: RespawnPolicy | None = None
) -> Outcome:
    """Start the graph, watch it, and stop it on SIGINT, SIGTERM, or when a node ends that ends the graph.

    Args:
        arguments: which graph.
        folder: for logs and parameter files; see ``new_log_folder``.
        domain: ROS domain; None: that of ``ROS_DOMAIN_ID``.
        respawn: how nodes that end are started again; None: as usual.

    Raises:
        ConfigurationError: the graph cannot be described or ROS 2 is not installed, or another bring-up runs in this
            ROS domain.
    """
    environment = ros_environment()
    if domain is not None:
        environment["ROS_DOMAIN_ID"] = str(domain)
    nodes = describe(arguments)
    if arguments.console:
        say(f"console: {load_lab(arguments.lab).console.address}")
    return Bringup(nodes, folder, environment, respawn=respawn or RespawnPolicy()).run()


def new_log_folder(root: Path) -> Path:
    """Make ``root``/<time of day>/ and point ``root``/latest to it."""
    root.mkdir(parents=True, exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S")
    folder, number = root / name, 1
    while True:
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
            folder = root / f"{name}-{number}"
    link = root / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(root / "latest")
    return folder


def say(line: str) -> None:
    """Progress, for a person."""
    print(line, file=sys.stderr, flush=True)


@dataclass
class Bringup:
    """Supervises the processes of one graph; call ``run`` once, from the only thread."""

    nodes: Sequence[NodeDescription]
    folder: Path
    environment: Mapping[str, str]
    stop_times: StopTimes = field(default_factory=StopTimes)
    respawn: RespawnPolicy = field(default_factory=RespawnPolicy)
    say: Callable[[str], None] = say

    def __post_init__(self) -> None:
        self._domain = self.environment.get("ROS_DOMAIN_ID") or "0"
        self._processes = [_Process(n, self.folder / f"{n.name}.log") for n in self.nodes]
        self._status: int | None = None  # set: the graph ends, with this exit status
        self._signals = 0
        self._begin = time.monotonic()

    def run(self) -> Outcome:
        """Run until the graph ends.

        Raises:
            ConfigurationError: another bring-up runs in this ROS domain.
        """
        self._make_room()
        with self._watch_signals():
            try:
                self._start_all()
                while self._status is None:
                    time.sleep(POLL_S)
                    self._look()
            finally:
                is_clean = self._stop_all()
        status = self._status or (0 if is_clean else 1)
        return Outcome(status, {p.node.name: p.restarts for p in self._processes if p.restarts})

    def _make_room(self) -> None:
        others = {p.bringup_pid for p in graph_processes() if not p.is_stale and p.domain == self._domain}
        if others:
            raise ConfigurationError(
                f"a graph already runs in ROS domain {self._domain} (process {min(others)}); stop it or use --domain"
            )
        ended, removed = end_stale_processes(), clean_shared_memory()
        if ended or removed:
            self._tell(f"left over from an earlier run: {ended} processes ended, {removed} shared memories removed")

    @contextmanager
    def _watch_signals(self) -> Generator[None, None, None]:
        def note(_number: int, _frame: Any) -> None:
            self._signals += 1
            self._status = self._status or 0

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- starting ----------------------------------------------------------------------------------------------------
    def _start_all(self) -> None:
        for process in self._processes:
            if self._status is not None:
                return
            self._start(process)

    def _start(self, process: _Process) -> None:
        node, parent = process.node, os.getpid()
        command = self._command(node)

        def prepare_child() -> None:
            # SIGTERM and not SIGKILL: a driver whose bring-up was killed still stops its device smoothly.
            _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)
            be_nice(node.nice)

        with process.log.open("ab") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(command)}\n".encode())
            log.flush()
            process.running = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, MARK: mark(self._domain)},
                start_new_session=True,
                preexec_fn=prepare_child,  # noqa: PLW1509 - the caller has one thread
            )
        process.started, process.due = time.monotonic(), None
        self._tell(f"{node.full_name}: started (process {process.running.pid})")

    def _command(self, node: NodeDescription) -> list[str]:
        parameters = self.folder / f"{node.name}.yaml"
        content = {"/**": {"ros__parameters": dict(node.parameters)}}
        parameters.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        remappings = (("__node", node.name), ("__ns", node.namespace or "/"), *node.remappings)
        arguments = [a for source, target in remappings for a in ("-r", f"{source}:={target}")]
        arguments += ["--params-file", str(parameters), *node.enclave]
        return [sys.executable, "-m", node.module, "--ros-args", *arguments]

    # -- watching ----------------------------------------------------------------------------------------------------
    def _look(self) -> None:
        for process in self._processes:
            if process.running is not None and process.running.poll() is not None:
                self._ended(process, process.running)
            elif process.due is not None and time.monotonic() >= process.due:
                process.restarts += 1
                self._start(process)
            if self._status is not None:
                return

    def _ended(self, process: _Process, running: subprocess.Popen[bytes]) -> None:
        node, code = process.node, running.returncode
        _signal_group(running.pid, signal.SIGKILL)  # children it may have left
        process.running = None
        why = f"{node.full_name}: ended ({_in_words(code)}): {_last_line(process.log)}"
        if node.ends_graph:
            self._status = code if code >= 0 else 128 - code
            self._tell(why if code else f"{node.full_name}: finished")
        elif node.respawn:
            is_healthy = time.monotonic() - process.started >= self.respawn.healthy_after_s
            process.failures = 1 if is_healthy else process.failures + 1
            if process.failures > self.respawn.attempts:
                self._status = None if node.can_be_missed else 1
                rest = "; the others go on" if node.can_be_missed else ""
                self._tell(f"{why}; given up after {self.respawn.attempts} attempts{rest}, see {process.log}")
            else:
                delay = min(node.respawn_delay_s * 2 ** (process.failures - 1), self.respawn.longest_delay_s)
                process.due = time.monotonic() + delay
                self._tell(f"{why}; starting again in {delay:g} s")
        elif code:
            self._status = 1
            self._tell(f"{why}; see {process.log}")

    # -- stopping ----------------------------------------------------------------------------------------------------
    def _stop_all(self) -> bool:
        """Stop everything, last started first; True where every node ended as intended."""
        is_clean = True
        for process in reversed(self._processes):
            if process.running is not None:
                is_clean = self._stop(process, process.running) and is_clean
                process.running = None
        return is_clean

    def _stop(self, process: _Process, running: subprocess.Popen[bytes]) -> bool:
        times, name = self.stop_times, process.node.full_name
        steps = (
            (signal.SIGINT, times.interrupt),
            (signal.SIGTERM, times.terminate),
            (signal.SIGKILL, times.kill),
        )
        for number, patience in steps:
            if self._signals > 1 and number != signal.SIGKILL:
                continue  # asked twice: at once
            if number != signal.SIGINT:
                self._tell(f"{name}: does not end; {number.name}")
            # The first two go to the node alone: it knows how to end its own children.
            if number == signal.SIGKILL:
                _signal_group(running.pid, number)
            else:
                running.send_signal(number)
            if self._wait(running, patience):
                break
        _signal_group(running.pid, signal.SIGKILL)
        code = running.poll()
        if code not in INTENDED:
            self._tell(f"{name}: did not stop properly ({_in_words(code)}): {_last_line(process.log)}")
        return code in INTENDED

    def _wait(self, running: subprocess.Popen[bytes], patience: float) -> bool:
        deadline, signals = time.monotonic() + patience, self._signals
        while running.poll() is None and time.monotonic() < deadline:
            if self._signals > max(signals, 1):
                return False
            time.sleep(POLL_S / 5)
        return running.poll() is not None

    def _tell(self, line: str) -> None:
        self.say(f"[{time.monotonic() - self._begin:6.1f} s] {line}")


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _in_words(code: int | None) -> str:
    if code is None:
        return "still there"
    return f"by {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("--- ")), "no message in its log")
