"""The end of another process is seen at once; a stop outlives the supervisor that was told of it."""

import os
import subprocess
import sys
from pathlib import Path

from vipa.process_watch import ProcessWatch, own_process
from vipa.stop_memory import StopMemory


def test_a_killed_process_is_seen_at_once_and_for_ever() -> None:
    watch = ProcessWatch()
    where = own_process().rpartition(" ")[0]
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{where} {process.pid}"
    assert not watch.has_ended(name)
    process.kill()
    process.wait()
    assert watch.has_ended(name)
    assert watch.has_ended(name)
    assert ProcessWatch().has_ended(name), "also by who asks for the first time"


def test_what_cannot_be_seen_has_not_ended() -> None:
    watch = ProcessWatch()
    assert not watch.has_ended(own_process())
    assert not watch.has_ended("")
    assert not watch.has_ended("another-boot pid:[1] 999999")
    assert not watch.has_ended(f"{own_process()}x")


def test_a_stop_is_recalled_by_the_next_process_of_the_same_parent(tmp_path: Path) -> None:
    path = tmp_path / "stop"
    memory = StopMemory(path)
    assert memory.recall() == ""
    memory.remember("stopped by the operator")
    assert StopMemory(path).recall() == "stopped by the operator"
    memory.forget()
    memory.forget()
    assert StopMemory(path).recall() == ""


def test_a_stop_ends_with_the_graph_in_which_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "stop"
    lines = f"from pathlib import Path; from vipa.stop_memory import StopMemory; StopMemory(Path({str(path)!r}))"
    command = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {lines + '.remember(1)'!r}], check=True)"
    subprocess.run([sys.executable, "-c", command], check=True, env=dict(os.environ))
    assert path.read_text().endswith("\n1")
    assert StopMemory(path).recall() == ""
