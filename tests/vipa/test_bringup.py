"""The process supervisor, with small programs in the place of nodes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from vipa.bringup import Bringup, Outcome, RespawnPolicy, StopTimes, new_log_folder
from vipa.errors import ConfigurationError
from vipa.graph import NodeDescription
from vipa.leftovers import MARK, graph_processes, start_time

PATIENCE_S = 20.0
QUICK = StopTimes(interrupt=5.0, terminate=0.3, kill=5.0)

NODE = textwrap.dedent(
    '''
    """Behaves as its parameters say."""
    import os, signal, subprocess, sys, time
    import yaml

    file = sys.argv[sys.argv.index("--params-file") + 1]
    p = yaml.safe_load(open(file))["/**"]["ros__parameters"]
    ending = []
    signal.signal(signal.SIGINT, lambda *_: ending.append(1))
    if p.get("stubborn"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if p.get("child"):
        child = subprocess.Popen(["sleep", "1000"])
        open(p["child"], "w").write(str(child.pid))
    print("first words of", p["name"], "nice", os.nice(0), flush=True)
    open(p["ready"], "a").write(str(os.getpid()) + "\\n")
    runs = len(open(p["ready"]).readlines())
    open(p["ready"].replace(".ready", f"{runs}.ready"), "w").close()
    while not ending:
        if "code" in p and runs <= p.get("failing_runs", 1000) and all(os.path.exists(f) for f in p["wait_for"]):
            print("last words of", p["name"], flush=True)
            sys.exit(p["code"])
        time.sleep(0.01)
    open(p["order"], "a").write(p["name"] + "\\n")
    '''
)

SUPERVISOR = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    from vipa.bringup import Bringup, StopTimes
    from vipa.graph import NodeDescription
    nodes = [NodeDescription(**n) for n in json.loads(sys.argv[1])]
    stop_times = StopTimes(*json.loads(sys.argv[3]))
    sys.exit(Bringup(nodes, Path(sys.argv[2]), os.environ, stop_times).run().status)
    """
)


@dataclass
class Cell:
    """Makes nodes and runs them."""

    folder: Path
    domain: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")
    lines: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        (self.folder / "fake_node.py").write_text(NODE, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        source = Path(__file__).resolve().parents[2] / "ros2_ws" / "src" / "vipa"
        path = os.pathsep.join([str(self.folder), str(source), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, "PYTHONPATH": path, "ROS_DOMAIN_ID": self.domain}

    def node(self, name: str, wait_for: tuple[str, ...] = (), **behaviour: Any) -> NodeDescription:
        """A node that waits for SIGINT, or ends with ``code`` as soon as the nodes ``wait_for`` are up."""
        fields = ("respawn", "respawn_delay_s", "nice", "ends_graph", "can_be_missed", "module", "namespace")
        own = {f for f in fields if f in behaviour}
        parameters = {k: v for k, v in behaviour.items() if k not in own}
        parameters |= {"name": name, "ready": str(self.ready(name)), "order": str(self.folder / "order")}
        parameters["wait_for"] = [str(self.ready(n)) for n in wait_for]
        description: dict[str, Any] = {"module": "fake_node", "respawn": False, **{k: behaviour[k] for k in own}}
        return NodeDescription(name, "vipa", name, parameters=parameters, **description)

    def ready(self, name: str) -> Path:
        return self.folder / f"{name}.ready"

    def pids(self, name: str) -> list[int]:
        return [int(p) for p in self.ready(name).read_text().split()] if self.ready(name).exists() else []

    def bringup(self, *nodes: NodeDescription, **options: Any) -> Bringup:
        options = {"stop_times": QUICK, "say": self.lines.append, **options}
        return Bringup(nodes, self.folder, self.environment, **options)

    def run(self, *nodes: NodeDescription, **options: Any) -> Outcome:
        return self.bringup(*nodes, **options).run()

    def start(
        self, *nodes: NodeDescription, stop_times: tuple[float, float, float] = (5, 0.3, 5)
    ) -> subprocess.Popen[str]:
        """Run them under a supervisor that is a process of its own; returns when all are up."""
        described = json.dumps([_as_arguments(n) for n in nodes])
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, described, str(self.folder), json.dumps(stop_times)],
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: all(self.pids(n.name) for n in nodes))
        return process

    def order(self) -> list[str]:
        return (self.folder / "order").read_text().split()

    def text(self) -> str:
        return "\n".join(self.lines)


def _as_arguments(node: NodeDescription) -> dict[str, Any]:
    return {**vars(node), "parameters": dict(node.parameters)}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    return start_time(pid) is None


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    cell = Cell(tmp_path)
    yield cell
    for process in graph_processes():
        if process.domain == cell.domain:
            os.kill(process.pid, signal.SIGKILL)


def test_everything_is_stopped_in_reverse_order_when_the_graph_ends(cell: Cell) -> None:
    names = ("one", "two", "three")
    end = cell.node("end", wait_for=names, code=0, ends_graph=True)
    outcome = cell.run(*(cell.node(n) for n in names), end)
    assert outcome == Outcome(0, {})
    assert cell.order() == ["three", "two", "one"]
    assert all(is_gone(pid) for name in names for pid in cell.pids(name))
    assert "/end: finished" in cell.text()


def test_nodes_start_in_the_given_order_with_a_line_each(cell: Cell) -> None:
    cell.run(cell.node("one", namespace="/camera"), cell.node("end", wait_for=("one",), code=0, ends_graph=True))
    starts = [line.partition("] ")[2].partition(":")[0] for line in cell.lines if ": started" in line]
    assert starts == ["/camera/one", "/end"]


def test_each_node_has_a_log_and_a_parameter_file_of_its_own(cell: Cell) -> None:
    node = cell.node("one", ratio=0.5, text="", items=["a", "b"], namespace="/camera")
    cell.run(node, cell.node("end", wait_for=("one",), code=0, ends_graph=True))
    log = (cell.folder / "one.log").read_text()
    assert "-r __node:=one -r __ns:=/camera --params-file" in log
    assert "first words of one" in log
    assert "two" not in log
    assert "last words of end" in (cell.folder / "end.log").read_text()
    written = yaml.safe_load((cell.folder / "one.yaml").read_text())["/**"]["ros__parameters"]
    assert written == dict(node.parameters)


@pytest.mark.parametrize("code", [1, 3])
def test_the_status_is_that_of_the_node_that_ends_the_graph(cell: Cell, code: int) -> None:
    outcome = cell.run(cell.node("one"), cell.node("end", wait_for=("one",), code=code, ends_graph=True))
    assert outcome.status == code
    assert f"/end: ended (status {code}): last words of end" in cell.text()
    assert cell.order() == ["one"]


def test_a_node_that_ends_is_started_again(cell: Cell) -> None:
    weak = cell.node("weak", code=1, failing_runs=1, respawn=True, respawn_delay_s=0.01)
    assert cell.run(weak, cell.node("end", wait_for=("weak2",), code=0, ends_graph=True)) == Outcome(0, {"weak": 1})
    assert "/weak: ended (status 1): last words of weak; starting again in 0.01 s" in cell.text()


def test_a_node_that_ends_again_and_again_ends_the_graph(cell: Cell) -> None:
    weak = cell.node("weak", code=1, respawn=True, respawn_delay_s=0.02)
    outcome = cell.run(cell.node("one"), weak, respawn=RespawnPolicy(attempts=3, longest_delay_s=0.05))
    assert outcome == Outcome(1, {"weak": 3})
    assert len(cell.pids("weak")) == 4
    pauses = [line.rpartition(" in ")[2] for line in cell.lines if "starting again" in line]
    assert pauses == ["0.02 s", "0.04 s", "0.05 s"]
    assert "given up after 3 attempts" in cell.text()


def test_the_graph_goes_on_without_a_node_that_can_be_missed(cell: Cell) -> None:
    weak = cell.node("weak", code=1, respawn=True, respawn_delay_s=0.01, can_be_missed=True)
    end = cell.node("end", wait_for=("weak3",), code=0, ends_graph=True)
    assert cell.run(weak, end, respawn=RespawnPolicy(attempts=2, longest_delay_s=0.02)).status == 0
    assert len(cell.pids("weak")) == 3


def test_a_node_that_was_healthy_begins_anew_with_its_attempts(cell: Cell) -> None:
    weak = cell.node("weak", code=1, failing_runs=4, respawn=True, respawn_delay_s=0.01)
    end = cell.node("end", wait_for=("weak5",), code=0, ends_graph=True)
    healthy = RespawnPolicy(attempts=1, healthy_after_s=0.0)
    assert cell.run(weak, end, respawn=healthy) == Outcome(0, {"weak": 4})


def test_a_node_that_must_not_end_makes_the_graph_fail(cell: Cell) -> None:
    outcome = cell.run(cell.node("one"), cell.node("weak", wait_for=("one",), code=7))
    assert outcome.status == 1
    assert "/weak: ended (status 7)" in cell.text()


def test_a_module_that_does_not_exist_is_said_in_one_line(cell: Cell) -> None:
    outcome = cell.run(cell.node("one", module="no_such_module"))
    assert outcome.status == 1
    assert "No module named no_such_module" in cell.text()


def test_a_node_that_does_not_end_is_killed_and_the_status_says_so(cell: Cell) -> None:
    end = cell.node("end", wait_for=("rock",), code=0, ends_graph=True)
    outcome = cell.run(cell.node("rock", stubborn=True), end, stop_times=StopTimes(0.2, 0.2, 5.0))
    assert outcome.status == 1
    assert "SIGTERM" in cell.text()
    assert "/rock: did not stop properly (by SIGKILL)" in cell.text()
    assert is_gone(cell.pids("rock")[0])


def test_the_children_of_a_node_end_with_it(cell: Cell) -> None:
    child = cell.folder / "child"
    cell.run(cell.node("one", child=str(child)), cell.node("end", wait_for=("one",), code=0, ends_graph=True))
    wait_until(lambda: is_gone(int(child.read_text())))


def test_nice(cell: Cell) -> None:
    cell.run(cell.node("one", nice=7), cell.node("end", wait_for=("one",), code=0, ends_graph=True))
    assert f"nice {os.nice(0) + 7}" in (cell.folder / "one.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_order(cell: Cell, number: signal.Signals) -> None:
    process = cell.start(cell.node("one"), cell.node("two"))
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert cell.order() == ["two", "one"]


def test_a_second_signal_stops_at_once(cell: Cell) -> None:
    process = cell.start(cell.node("one"), cell.node("rock", stubborn=True), stop_times=(1000, 1000, 5))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert all(is_gone(pid) for name in ("one", "rock") for pid in cell.pids(name))


def test_nodes_die_with_a_supervisor_that_is_killed(cell: Cell) -> None:
    process = cell.start(cell.node("one"), cell.node("two"))
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: all(is_gone(pid) for name in ("one", "two") for pid in cell.pids(name)))


def test_what_survived_a_killed_supervisor_is_ended_by_the_next_run(cell: Cell) -> None:
    child = cell.folder / "child"
    process = cell.start(cell.node("rock", stubborn=True, child=str(child)))
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    rock = cell.pids("rock")[0]
    assert not is_gone(rock)
    assert cell.run(cell.node("end", code=0, ends_graph=True)).status == 0
    assert is_gone(rock)
    assert is_gone(int(child.read_text()))
    assert "left over from an earlier run" in cell.text()


def test_two_graphs_in_one_domain_are_refused(cell: Cell) -> None:
    process = cell.start(cell.node("one"))
    with pytest.raises(
        ConfigurationError, match=f"a graph already runs in ROS domain {cell.domain} .process {process.pid}"
    ):
        cell.run(cell.node("two"))
    assert not cell.pids("two")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_processes_carry_the_mark(cell: Cell) -> None:
    process = cell.start(cell.node("one"))
    marked = {p.pid: p for p in graph_processes()}[cell.pids("one")[0]]
    assert (marked.bringup_pid, marked.domain, marked.is_stale) == (process.pid, cell.domain, False)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    assert marked.is_stale


def test_signal_handlers_are_put_back(cell: Cell) -> None:
    before = signal.getsignal(signal.SIGINT)
    cell.run(cell.node("end", code=0, ends_graph=True))
    assert signal.getsignal(signal.SIGINT) is before
    assert MARK not in os.environ


def test_log_folders_are_new_each_time_and_latest_points_to_the_last(tmp_path: Path) -> None:
    folders = [new_log_folder(tmp_path / "logs") for _ in range(3)]
    assert len(set(folders)) == 3
    assert (tmp_path / "logs" / "latest").resolve() == folders[-1].resolve()
