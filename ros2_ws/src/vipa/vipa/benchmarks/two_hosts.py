"""``vipa bench two-hosts``: robot PC and workstation as two hosts of this machine, with a bad network between them.

On the robot PC the simulated laboratory and the whole graph run with the policy ``remote``; on the workstation the
expert of the task, behind the policy server. Only observations and chunks cross the link, and what the expert asks of
the world.
"""

import contextlib
import itertools
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from vipa.benchmarks.dds_link import LARGE, SMALL, measure_dds
from vipa.benchmarks.hosts import Host, Link, LinkConfig, end, two_hosts
from vipa.benchmarks.motion_log import Motion
from vipa.errors import ConfigurationError
from vipa.lab import LAB_FOLDER
from vipa.result import Bound, Result

REFEREE_PORT = 13370
START_TIME_OUT_S = 90.0
RESET_TIME_OUT_S = 20.0
END_TIME_OUT_S = 60.0
WATCHED_S = 4.0
MOVING_RAD = 0.02
STOPPED = "cell STOPPED"
DATAGRAMS = {"large": LARGE, "small": SMALL}
BOUNDS: dict[str, Bound] = {
    "trial_succeeded": ("==", 1.0),
    "trial_gate_violations_reaching_driver": ("==", 0.0),
    "trial_reflexes": ("==", 0.0),
    "loop_gate_violations_reaching_driver": ("==", 0.0),
    "loop_aborts": ("==", 0.0),
    "loop_fci_packets_lost": ("==", 0.0),
    "loop_dropped_frames": ("==", 0.0),
    "loop_exposure_to_command_p99_ms": ("<=", 300.0),
    "lost_aborts": ("==", 0.0),
    "lost_at_rest_s": ("<=", 3.0),
    "lost_moved_by_itself_mrad": ("<=", 5.0),
    "lost_reset_ok": ("==", 1.0),
    "lost_moving_after_reset_s": ("<=", 5.0),
}
"""A chunk may be 0.3 s old at the gate; a plan ends at rest within the horizon of its last chunk."""
KEPT = ("exposure_to_command_p50_ms", "exposure_to_command_p99_ms", "inference_p50_ms", "inference_p99_ms", "chunks",
        "chunks_refused", "executed_steps", "gate_violations_reaching_driver", "reflexes", "dropped_frames", "aborts",
        "fci_packets_lost", "real_time_factor", "ros_seconds")  # fmt: skip


@dataclass(frozen=True)
class TwoHostsConfig:
    """What is measured."""

    link: LinkConfig = field(default_factory=LinkConfig)
    seconds: float = 20.0  # of ROS time, of the loop
    task: str = "water_plant"
    seed: int = 1
    jpeg_quality: int = 90
    domain: int = 0
    dds_losses: tuple[float, ...] = (0.0, 0.01, 0.05)
    dds_seconds: float = 5.0


class Cell:
    """The two hosts with their files.

    Args:
        robot, workstation: the hosts.
        config: what runs on them.
        folder: for files and logs.
    """

    def __init__(self, robot: Host, workstation: Host, config: TwoHostsConfig, folder: Path) -> None:
        self.robot, self.workstation, self._config, self.folder = robot, workstation, config, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lab = folder / "lab.yaml"
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(16), encoding="ascii")
        lab = yaml.safe_load((LAB_FOLDER / "simulated.yaml").read_text(encoding="utf-8"))
        lab["referee"] = f"{robot.address}:{REFEREE_PORT}"
        lab["workstation"] = {
            "address": workstation.address,
            "token_file": str(token),
            "jpeg_quality": config.jpeg_quality,
        }
        self.lab.write_text(yaml.safe_dump(lab), encoding="utf-8")

    @contextlib.contextmanager
    def serving(self) -> Generator[subprocess.Popen[bytes]]:
        """The expert's policy server on the workstation."""
        command = [sys.executable, "-m", "vipa_sim.expert_server", "--lab", str(self.lab), "--task", self._config.task]
        with (self.folder / "policy_server.log").open("ab") as log:
            process = self.workstation.start(command, None, log)
        with ended(process):
            yield process

    def vipa(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a ``vipa`` command on the robot PC, in the cell's ROS domain; its output goes to a log."""
        command = [sys.executable, "-m", "vipa.cli", *arguments, "--domain", str(self._config.domain)]
        with (self.folder / "vipa.log").open("ab") as log:
            return self.robot.start(command, None, log)

    def graph(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a ``vipa`` command that starts the graph with the policy ``remote``."""
        options = ["--lab", str(self.lab), "--policy", "remote", "--task", self._config.task]
        options += ["--seed", str(self._config.seed), "--logs", str(self.folder / "logs")]
        return self.vipa(*arguments, *options)

    def measured(self, *arguments: str, time_out: float) -> Result:
        """The result of a ``vipa`` command that starts the graph and ends by itself."""
        output = self.folder / f"{arguments[0]}.json"
        process = self.graph(*arguments, "--json", str(output))
        with ended(process), contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(time_out)
        return Result.read(output) if output.is_file() else Result(arguments[0], ok=False)

    def supervisor_log(self) -> str:
        """What the supervisor of the latest graph said."""
        file = self.folder / "logs" / "latest" / "supervisor.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    @contextlib.contextmanager
    def watched(self) -> Generator[Callable[[], Motion]]:
        """A log of the arm's motion; what is given reads it."""
        file = self.folder / "motion.jsonl"
        file.unlink(missing_ok=True)
        referee = f"{self.robot.address}:{REFEREE_PORT}"
        with ended(self.robot.start([sys.executable, "-m", "vipa.benchmarks.motion_log", referee, str(file)])):
            yield lambda: Motion.read(file)


def run_two_hosts_benchmark(config: TwoHostsConfig, folder: Path, say: Callable[[str], None]) -> Result:
    """A trial, the loop, a lost workstation, and ROS 2's own transport over the same link.

    Raises:
        ConfigurationError: two hosts cannot be made on this machine; the message says why.
    """
    figures: dict[str, float] = {}
    details: dict[str, Any] = {"delay_s": config.link.delay, "loss": config.link.loss, "task": config.task}
    with two_hosts(config.link) as (robot, workstation, link):
        cell = Cell(robot, workstation, config, folder)
        with cell.serving():
            say(f"a trial of {config.task} by its expert, from the other host")
            trial = cell.measured("trial", time_out=300.0)
            figures |= _trial_figures(trial)
            details["trial"] = trial.details
            say(f"the loop, {config.seconds:g} s")
            instruction = ("--instruction", config.task)
            before = workstation.received_bytes()
            loop = cell.measured("bench", "loop", "--seconds", str(config.seconds), *instruction, time_out=300.0)
            figures |= {f"loop_{name}": loop.figures[name] for name in KEPT if name in loop.figures}
            figures["link_megabytes_received"] = round((workstation.received_bytes() - before) * 1e-6, 2)
            details["loop"] = loop.details
            say("the workstation is lost and comes back")
            with ended(cell.graph("bringup", "--instruction", config.task)), cell.watched() as motion:
                try:
                    figures |= lose_workstation(cell, link, motion)
                except ConfigurationError as error:  # the other figures are kept; those of the loss break their bounds
                    details["lost"] = str(error)
                    say(str(error))
    for loss, (size, datagram) in itertools.product(config.dds_losses, DATAGRAMS.items()):
        say(f"DDS over the same link, {loss:.0%} loss, {size} datagrams")
        name = f"dds_{loss * 100:g}pct_{size}"
        found = measure_dds(replace(config.link, loss=loss), config.dds_seconds, folder / name, datagram)
        figures |= {f"{name}_{key}": value for key, value in found.items()}
    return Result("bench two-hosts", trial.ok and bool(loop.figures), figures, BOUNDS, details)


def lose_workstation(
    cell: Cell, link: Link, motion: Callable[[], Motion], seconds: float = WATCHED_S
) -> dict[str, float]:
    """Cut the link of a running graph while the arm moves, mend it, watch for ``seconds``, reset; what the arm did.

    Raises:
        ConfigurationError: the graph does not come up, or the arm does not move.
    """
    _wait("the arm does not move", lambda: motion().is_moving())
    before, cut = cell.supervisor_log().count(STOPPED), time.monotonic()
    link.cut()
    _wait("the supervisor did not notice the loss", lambda: cell.supervisor_log().count(STOPPED) > before)
    noticed = time.monotonic()
    time.sleep(max(0.0, cut + seconds - noticed))
    rest = motion().still_from(cut, time.monotonic())
    link.mend()
    mended = time.monotonic()
    time.sleep(seconds)
    by_itself = motion().moved(mended, time.monotonic())
    begin = time.monotonic()
    reset = cell.vipa("cell", "reset")
    reset.wait(END_TIME_OUT_S)
    answered = time.monotonic()
    moved_again = _happens(lambda: motion().moved(begin, time.monotonic()) > MOVING_RAD, RESET_TIME_OUT_S)
    after_reset = time.monotonic() - answered if moved_again else float("inf")
    return {
        "lost_noticed_s": round(noticed - cut, 2),
        "lost_at_rest_s": round(rest, 2) if rest is not None else float("inf"),
        "lost_moved_by_itself_mrad": round(by_itself * 1e3, 2),
        "lost_reset_ok": float(reset.returncode == 0),
        "lost_moving_after_reset_s": round(after_reset, 2),
        "lost_aborts": float(motion().aborts),
    }


def _trial_figures(trial: Result) -> dict[str, float]:
    figures = {"trial_succeeded": trial.figures.get("succeeded", 0.0)}
    for task in trial.details.get("report", {}).get("tasks", []):
        figures |= {f"trial_{name}": float(values[-1]) for name, values in task["loop"].items() if name in KEPT}
    return figures


def _wait(complaint: str, is_so: Callable[[], bool]) -> None:
    if not _happens(is_so, START_TIME_OUT_S):
        raise ConfigurationError(f"bench two-hosts: {complaint} within {START_TIME_OUT_S:g} s; see the logs")


def _happens(is_so: Callable[[], bool], time_out: float) -> bool:
    """Whether something becomes true within ``time_out`` (s)."""
    deadline = time.monotonic() + time_out
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Generator[subprocess.Popen[bytes]]:
    """At the end, the process of a host is told to end, and waited for."""
    try:
        yield process
    finally:
        end(process)
        try:
            process.wait(END_TIME_OUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
