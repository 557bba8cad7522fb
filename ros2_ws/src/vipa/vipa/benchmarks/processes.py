"""What the processes of a running graph take of the machine: memory, open handles, threads."""

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from vipa.leftovers import graph_processes

_NODE, _NAMESPACE = "__node:=", "__ns:="


@dataclass(frozen=True)
class ProcessUse:
    """One process at one moment."""

    name: str  # of its node, "/camera/front"; of a child of a node "/laboratory, child"
    pid: int
    resident: int  # bytes in memory, shared ones counted in full
    proportional: int  # bytes in memory, shared ones divided among those who share them
    handles: int  # open files, sockets and the like
    threads: int


def graph_pids(domain: str, bringup_pid: int) -> list[int]:
    """The processes of the bring-up ``bringup_pid`` in a ROS domain, itself first."""
    started = sorted(p.pid for p in graph_processes() if (p.domain, p.bringup_pid) == (domain, bringup_pid))
    return [bringup_pid, *started]


def uses(pids: list[int]) -> Iterator[ProcessUse]:
    """What each process takes now, one at a time, for each costs some milliseconds; one that has ended is left out."""
    for pid in pids:
        try:
            process = psutil.Process(pid)
            memory = process.memory_full_info()
            yield ProcessUse(
                _name(process), pid, int(memory.rss), int(memory.pss), process.num_fds(), process.num_threads()
            )
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def _name(process: psutil.Process) -> str:
    node, parent = node_name(process.cmdline()), process.parent()
    if node or parent is None:
        return node or process.name()
    above = node_name(parent.cmdline())
    return f"{above}, child" if above else process.name()


def node_name(command_line: list[str]) -> str:
    """The full name of the node that a command line starts; empty where it starts none."""
    found = {
        key: word.removeprefix(key) for word in command_line for key in (_NODE, _NAMESPACE) if word.startswith(key)
    }
    return f"{found.get(_NAMESPACE, '').rstrip('/')}/{found[_NODE]}" if _NODE in found else ""
