"""Shared memory that dead processes left behind."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vipa.leftovers import MARK, clean_shared_memory, graph_processes, start_time

SEGMENT = ("fastrtps_0123456789abcdef", "fastrtps_0123456789abcdef_el")
PORT = ("fastrtps_port7411", "fastrtps_port7411_sl", "sem.fastrtps_port7411_mutex")


def make(folder: Path, names: tuple[str, ...], age_s: float = 60.0) -> None:
    for name in names:
        (folder / name).write_bytes(b"content")
        os.utime(folder / name, (time.time() - age_s,) * 2)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("names", [SEGMENT, PORT])
def test_what_nobody_holds_is_removed_wholly(tmp_path: Path, names: tuple[str, ...]) -> None:
    make(tmp_path, names)
    assert clean_shared_memory(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [SEGMENT, PORT])
def test_what_a_living_process_holds_stays(tmp_path: Path, names: tuple[str, ...]) -> None:
    make(tmp_path, names)
    with locked(tmp_path / names[1]):
        assert clean_shared_memory(tmp_path) == 0
    assert {p.name for p in tmp_path.iterdir()} == set(names)


def test_one_held_lock_of_two_is_enough(tmp_path: Path) -> None:
    make(tmp_path, (*PORT, "fastrtps_port7411_el"))
    with locked(tmp_path / "fastrtps_port7411_sl"):
        assert clean_shared_memory(tmp_path) == 0
    assert (tmp_path / "fastrtps_port7411").exists()


def test_young_locks_stay_because_their_owner_may_be_about_to_hold_them(tmp_path: Path) -> None:
    make(tmp_path, SEGMENT, age_s=0.0)
    assert clean_shared_memory(tmp_path) == 0


def test_files_of_others_stay(tmp_path: Path) -> None:
    make(tmp_path, ("sem.other", "fastrtps_without_lock", "other_el"))
    assert clean_shared_memory(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_only_the_dead_ones_of_several_go(tmp_path: Path) -> None:
    make(tmp_path, SEGMENT)
    make(tmp_path, PORT)
    with locked(tmp_path / SEGMENT[1]):
        assert clean_shared_memory(tmp_path) == 1
    assert {p.name for p in tmp_path.iterdir()} == set(SEGMENT)


def test_start_time_tells_processes_apart_and_ends_with_them() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = start_time(process.pid)
    assert begun is not None
    assert begun == start_time(process.pid)
    process.communicate(b"\n")
    assert start_time(process.pid) is None


def marked(*prefix: str) -> subprocess.Popen[bytes]:
    """A process that carries the mark of a bring-up that is gone."""
    environment = {**os.environ, MARK: "1:0:64"}
    return subprocess.Popen([*prefix, "sleep", "20"], env=environment)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make process namespaces")
def test_processes_of_a_container_are_not_taken_for_leftovers() -> None:
    """There, the numbers of processes mean others than here."""
    here = marked()
    inside = marked("unshare", "--pid", "--fork", "--kill-child")
    try:
        deadline = time.monotonic() + 5.0
        children = Path(f"/proc/{inside.pid}/task/{inside.pid}/children")
        while not children.read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.01)
        found = {process.pid for process in graph_processes()}
        assert here.pid in found
        assert int(children.read_text()) not in found
    finally:
        for process in (here, inside):
            process.kill()
            process.wait()
