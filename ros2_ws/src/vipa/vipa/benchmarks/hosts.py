"""Two hosts on one machine: network, processes and shared memory of their own, with a link between them.

Needs root (for the namespaces) and /dev/net/tun (for the link); no network of the machine itself is touched.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vipa.benchmarks.link import open_tap
from vipa.errors import ConfigurationError

START_TIME_OUT_S = 10.0
DEVICE = "vipa"  # how the names of the link's ends begin
_NAMESPACES = ("--net", "--mount", "--pid")


@dataclass(frozen=True)
class LinkConfig:
    """What the network between the two hosts does."""

    delay: float = 0.02  # s, each way
    loss: float = 0.01  # probability that an Ethernet frame is lost, each way
    seed: int = 0  # of the losses

    def __post_init__(self) -> None:
        if not 0.0 <= self.delay <= 1.0:
            raise ValueError(f"delay: {self.delay} s is not between 0 and 1")
        if not 0.0 <= self.loss < 1.0:
            raise ValueError(f"loss: {self.loss} is not a probability below 1")


class Host:
    """A host: processes that are started in it see only its network, its processes and its shared memory.

    Args:
        holder: the process that holds the namespaces.
        address: of its end of the link.
    """

    def __init__(self, holder: int, address: str) -> None:
        self.address = address
        self._holder = holder

    def received_bytes(self) -> int:
        """What has come over the link so far."""
        table = Path(f"/proc/{self._holder}/net/dev").read_text(encoding="ascii").splitlines()
        counts = [line.split(":")[1].split()[0] for line in table if line.strip().startswith(DEVICE)]
        return sum(map(int, counts))

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in this host; end it with ``end``."""
        enter = ["nsenter", f"--target={self._holder}", *_NAMESPACES, "--", *command]
        return subprocess.Popen(enter, stdout=output, stderr=subprocess.STDOUT, env=environment)

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None, time_out: float = 60.0) -> str:
        """Run a command in this host to its end; what it printed.

        Raises:
            ConfigurationError: it fails, or takes longer than ``time_out`` (s).
        """
        process = self.start(command, environment, subprocess.PIPE)
        try:
            output = process.communicate(timeout=time_out)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            end(process, signal.SIGKILL)
            raise ConfigurationError(f"{command[0]}: did not end within {time_out:g} s") from None
        if process.returncode:
            raise ConfigurationError(f"{' '.join(command)}: {(output.strip().splitlines() or ['failed'])[-1]}")
        return output


class Link:
    """The link between the two hosts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def cut(self) -> None:
        """From now on nothing passes."""
        self._process.send_signal(signal.SIGUSR1)

    def mend(self) -> None:
        """End a cut."""
        self._process.send_signal(signal.SIGUSR2)


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT) -> None:
    """Send a signal to a process of a host: not to nsenter, which waits for it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended already
        for child in children.read_text(encoding="ascii").split():
            os.kill(int(child), number)


def why_not() -> str:
    """Why two hosts cannot be made on this machine; nothing where they can."""
    if os.geteuid() != 0:
        return "two hosts on one machine need root, for network namespaces: run it with sudo"
    missing = [tool for tool in ("ip", "nsenter", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"two hosts on one machine need {', '.join(missing)}: apt-get install iproute2 util-linux"
    try:
        os.close(open_tap(f"{DEVICE}{os.getpid() % 100_000:05d}p"))
    except OSError as error:
        return f"two hosts on one machine need TAP devices ({error.strerror}): modprobe tun, or docker run --privileged"
    probe = ["unshare", *_NAMESPACES, "--fork", "--mount-proc", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces are not permitted here ({done.stderr.strip()}): docker run --privileged"
    return ""


@contextlib.contextmanager
def two_hosts(config: LinkConfig) -> Generator[tuple[Host, Host, Link]]:
    """Make two hosts and the link between them; at the end everything in them is killed.

    Raises:
        ConfigurationError: that is not permitted here; the message says what to do.
    """
    reason = why_not()
    if reason:
        raise ConfigurationError(reason)
    with contextlib.ExitStack() as stack:
        devices = [f"{DEVICE}{os.getpid() % 100_000:05d}{letter}" for letter in "ab"]
        command = [sys.executable, "-m", "vipa.benchmarks.link", *devices, "--delay", str(config.delay)]
        command += ["--loss", str(config.loss), "--seed", str(config.seed)]
        link = stack.enter_context(_process(command, "ready"))
        hosts: list[Host] = []
        for number, device in enumerate(devices, 1):
            address = f"10.77.0.{number}"
            script = "mount -t tmpfs tmpfs /dev/shm && echo up && exec cat"  # until this process ends, however it ends
            holding = ["unshare", *_NAMESPACES, "--fork", "--mount-proc", "--kill-child", "sh", "-c", script]
            holder = stack.enter_context(_process(holding, "up"))
            (inner,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text(encoding="ascii").split()
            host = Host(int(inner), address)
            _ip("link", "set", device, "netns", inner)
            for setting in (
                ("link", "set", "lo", "up", "multicast", "on"),
                ("addr", "add", f"{address}/24", "dev", device),
                ("link", "set", device, "up", "txqueuelen", "10000"),
                ("route", "add", "default", "dev", device),
            ):
                host.run(["ip", *setting])
            hosts.append(host)
        try:
            yield hosts[0], hosts[1], Link(link)
        finally:
            link.kill()  # before its devices go


@contextlib.contextmanager
def _process(command: Sequence[str], ready: str) -> Generator[subprocess.Popen[bytes]]:
    """A process that says ``ready`` once, and is killed at the end."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        begin = time.monotonic()
        while (line := process.stdout.readline().decode().strip()) != ready:
            if process.poll() is not None or time.monotonic() - begin > START_TIME_OUT_S:
                raise ConfigurationError(f"{command[0]}: did not start: {line or 'see above'}")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
