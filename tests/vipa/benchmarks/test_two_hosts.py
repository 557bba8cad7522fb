"""The parts of ``vipa bench two-hosts`` that need no second host."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vipa.benchmarks import hosts
from vipa.benchmarks.dds_link import stream_figures
from vipa.benchmarks.hosts import LinkConfig, end, two_hosts, why_not
from vipa.benchmarks.link import Direction
from vipa.benchmarks.motion_log import Motion
from vipa.errors import ConfigurationError
from vipa.leftovers import start_time

FRAMES = 2000


def carried(delay: float, loss: float, frames: int = FRAMES) -> list[int]:
    """The numbers of the frames that a direction carries, all of them under way for ``delay``."""
    near, source = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    target, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, source, target, far:
        source.setblocking(False)
        far.setblocking(False)
        direction = Direction(source.fileno(), target.fileno(), delay, loss, random.Random(0))
        arrived: list[int] = []
        for number in range(frames):
            near.send(number.to_bytes(4, "big"))
            direction.take()
            due = direction.due
            if due is not None:
                direction.deliver(due - 1e-6)
                with pytest.raises(BlockingIOError):
                    far.recv(4)
                direction.deliver(due)
                arrived.append(int.from_bytes(far.recv(4), "big"))
        return arrived


def test_a_link_delays_every_frame_and_keeps_their_order() -> None:
    assert carried(0.02, 0.0, 50) == list(range(50))


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.5])
def test_a_link_loses_the_share_that_it_is_told(loss: float) -> None:
    lost = 1.0 - len(carried(0.0, loss)) / FRAMES
    assert lost == pytest.approx(loss, abs=4.0 * (loss * (1.0 - loss) / FRAMES) ** 0.5)


@pytest.mark.parametrize(
    ("wrong", "name"), [({"delay": -0.1}, "delay"), ({"loss": 1.0}, "loss"), ({"loss": -1}, "loss")]
)
def test_a_link_that_cannot_be_is_named(wrong: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        LinkConfig(**wrong)


def test_who_may_not_make_hosts_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts.os, "geteuid", lambda: 1000)
    with (
        pytest.raises(ConfigurationError, match=r"need root, for network namespaces: run it with sudo"),
        two_hosts(LinkConfig()),
    ):
        pass


def motion(file: Path, positions: list[float], aborts: int = 0) -> Motion:
    """A log of a joint that is at ``positions``, every 0.1 s from 100 s on."""
    lines = [json.dumps([100.0 + 0.1 * i, [0.0] * 6 + [p], aborts]) for i, p in enumerate(positions)]
    file.write_text("\n".join(lines) + "\n[104.2, [0.")
    return Motion.read(file)


def test_when_an_arm_came_to_rest(tmp_path: Path) -> None:
    positions = [*np.linspace(0.0, 1.0, 11), *[1.0005] * 20, *np.linspace(1.0, 1.3, 4)]
    found = motion(tmp_path / "log", positions, aborts=2)
    assert found.aborts == 2
    assert found.is_moving()
    assert found.still_from(100.0, 103.0) == pytest.approx(1.0, abs=0.11)
    assert found.still_from(101.5, 103.0) == 0.0
    assert found.still_from(100.0, 100.5) is None
    assert found.moved(101.0, 103.0) < 1e-3
    assert found.moved(103.0, 104.0) == pytest.approx(0.3, abs=1e-3)


def test_a_log_that_is_not_there_yet_has_no_motion(tmp_path: Path) -> None:
    found = Motion.read(tmp_path / "none")
    assert not found.is_moving()
    assert (found.aborts, found.moved(0.0, 1.0)) == (0, 0.0)


def test_figures_of_streams() -> None:
    received = {
        "state": {"numbers": [0, 1, 1, 3], "latencies": [20.0, 21.0, 90.0, 22.0], "times": [1.0, 1.1, 1.2, 1.7]},
        "raw": {"numbers": [], "latencies": [], "times": []},
    }
    figures = stream_figures({"state": 4, "raw": 10}, received)
    assert figures["state_arrived_percent"] == 75.0
    assert figures["state_longest_silence_ms"] == 500.0
    assert figures["state_p50_ms"] == 21.5
    assert figures["raw_arrived_percent"] == 0.0
    assert "raw_p50_ms" not in figures


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "two hosts can be made here")
def test_hosts_go_with_the_process_that_made_them_also_where_it_is_killed() -> None:
    make = (
        "import sys\n"
        "from vipa.benchmarks.hosts import LinkConfig, two_hosts\n"
        "with two_hosts(LinkConfig()) as (robot, _, link):\n"
        "    started = robot.start(['sleep', '300'])\n"
        "    print(robot._holder, started.pid, link._process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", make], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 3
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10.0
    while any(start_time(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if start_time(pid)]


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "two hosts can be made here")
def test_two_hosts_see_each_other_late_and_nothing_else_and_leave_nothing_behind() -> None:
    """One asks the other by UDP; a cut link is silent, a mended one answers again."""
    echo = "import socket\ns = socket.socket(2, 2); s.bind(('10.77.0.2', 7000))\nwhile True: s.sendto(*s.recvfrom(9))\n"
    ask = (
        "import socket, time\n"
        "s = socket.socket(2, 2); s.settimeout(0.5)\n"
        "begin = time.monotonic(); s.sendto(b'x', ('10.77.0.2', 7000))\n"
        "try:\n    s.recv(9); print(time.monotonic() - begin)\n"
        "except OSError: print('silence')\n"
    )
    with two_hosts(LinkConfig(delay=0.02, loss=0.0)) as (robot, workstation, link):
        server = workstation.start([sys.executable, "-S", "-c", echo])
        probe = [sys.executable, "-S", "-c", ask]
        answers = [robot.run(probe).strip() for _ in range(2)]  # the first one finds the address, and the server up
        assert float(answers[1]) >= 0.04
        link.cut()
        assert robot.run(probe) == "silence\n"
        link.mend()
        assert float(robot.run(probe)) >= 0.04
        interfaces = robot.run(["ip", "-brief", "link"]).split("\n")
        assert len([line for line in interfaces if line]) == 2, "loopback and the link"
        assert robot.run(["ls", "/dev/shm"]) == ""
        inside = int(server.pid)
        with pytest.raises(ConfigurationError, match="false: failed"):
            robot.run(["false"])
        end(server, signal.SIGTERM)  # SIGINT may be ignored, as in a shell's background
        server.wait(10)
    assert not os.path.exists(f"/proc/{inside}")
