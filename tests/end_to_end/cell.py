"""A laboratory and a graph of their own for each test: loopback addresses, ROS domain, logs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vipa.lab import LAB_FOLDER
from vipa.laboratory_client import LaboratoryClient


class Cell:
    """One simulated cell, to be started by the ``vipa`` command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(10, 250)}"
        self.domain = random.randint(1, 100)
        self.yaml = folder / "lab.yaml"
        self.logs = folder / "logs"
        self.edit(lambda lab: None)

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Write the laboratory's YAML, at this cell's addresses, after ``change``."""
        lab = yaml.safe_load((LAB_FOLDER / "simulated.yaml").read_text())
        lab["referee"] = f"{self.host}:13370"
        lab["arm"]["address"] = self.host
        lab["hand"]["address"] = f"{self.host}:6000"
        lab["console"] = {"host": self.host}
        for camera in lab["cameras"].values():
            camera["feed"] = camera["feed"].replace("127.0.0.1", self.host)
        change(lab)
        self.yaml.write_text(yaml.safe_dump(lab))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run ``vipa`` in the background."""
        command, *rest = arguments
        (self.logs / "latest").unlink(missing_ok=True)
        line = [sys.executable, "-m", "vipa.cli", command, *rest]
        line += ["--lab", str(self.yaml), "--domain", str(self.domain), "--logs", str(self.logs)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str, seconds: float = 200.0) -> tuple[int, str, dict[str, Any]]:
        """Run ``vipa`` to its end: exit status, what it printed, and its JSON."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        process = self.start(*arguments, "--json", str(result))
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
            pytest.fail(f"vipa {' '.join(arguments)} did not end within {seconds:.0f} s:\n{output}")
        return process.returncode, output, json.loads(result.read_text()) if result.is_file() else {}

    def log(self, node: str) -> str:
        """The log of a node in the latest run."""
        path = self.logs / "latest" / f"{node}.log"
        return path.read_text() if path.is_file() else ""

    def wait_for_log(self, node: str, text: str, seconds: float = 60.0) -> str:
        """Wait until a node's log has ``text``; the log."""
        deadline = time.monotonic() + seconds
        while text not in self.log(node):
            if time.monotonic() > deadline:
                pytest.fail(f"{node} did not log {text!r} within {seconds:.0f} s:\n{self.log(node)}")
            time.sleep(0.1)
        return self.log(node)

    def ask(self, *arguments: str) -> str:
        """Run a ``vipa`` command that asks the running graph; what it printed."""
        command = [sys.executable, "-m", "vipa.cli", *arguments, "--domain", str(self.domain)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def laboratory(self) -> LaboratoryClient:
        """A client of the laboratory's control port."""
        return LaboratoryClient((self.host, 13370), time_out=10.0)


def stop(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ctrl-C; exit status and output."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def processes_of(cell: Cell) -> list[int]:
    """The processes that mention the cell's YAML or its logs."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(cell.folder) in line:
                found.append(int(entry.name))
    return found
