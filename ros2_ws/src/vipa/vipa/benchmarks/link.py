"""A network link with delay and loss between two hosts of one machine: ``python -m vipa.benchmarks.link``.

Each end is a TAP device, to be moved into the network namespace of its host; this process carries the Ethernet frames
from one to the other. It does what ``tc netem`` does, also on kernels that were built without it. It says "ready" once
both devices are there, and ends when its standard input does. SIGUSR1 cuts the link, SIGUSR2 mends it.
"""

import argparse
import fcntl
import os
import random
import select
import signal
import struct
import sys
import time
from collections import deque

from vipa.scheduling import request_real_time

TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
IFF_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
FRAME_BYTES = 2048  # more than an Ethernet frame has
PRIORITY = 30  # before everything else: the link must not wait for the hosts
LONGEST_QUEUE = 20_000  # frames that are under way in one direction; more are dropped, as a switch would


def open_tap(name: str) -> int:
    """Create a TAP device; the file descriptor through which its frames come and go.

    Raises:
        OSError: the kernel has no TAP devices, or this process may not create one.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP_WITHOUT_HEADER))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Direction:
    """Frames that travel one way.

    Args:
        source, target: file descriptors.
        delay: s from one end to the other.
        loss: probability that a frame is lost.
        generator: of the losses.
    """

    def __init__(self, source: int, target: int, delay: float, loss: float, generator: random.Random) -> None:
        self.source = source
        self.is_cut = False
        self._target, self._delay, self._loss, self._random = target, delay, loss, generator
        self._under_way: deque[tuple[float, bytes]] = deque()

    @property
    def due(self) -> float | None:
        """When the next frame arrives, s of the steady clock; None: none is under way."""
        return self._under_way[0][0] if self._under_way else None

    def take(self) -> None:
        """Take every frame that waits at the source."""
        while True:
            try:
                frame = os.read(self.source, FRAME_BYTES)
            except BlockingIOError:
                return
            is_lost = self._random.random() < self._loss or self.is_cut or len(self._under_way) >= LONGEST_QUEUE
            if not is_lost:
                self._under_way.append((time.monotonic() + self._delay, frame))

    def deliver(self, now: float) -> None:
        """Hand over every frame that has arrived by ``now``."""
        while self._under_way and self._under_way[0][0] <= now:
            try:
                os.write(self._target, self._under_way.popleft()[1])
            except OSError:  # the far end is down or gone: what arrives there is lost
                return


def main() -> int:
    """Carry frames until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("devices", nargs=2, metavar="NAME")
    parser.add_argument("--delay", type=float, default=0.0, help="s, each way")
    parser.add_argument("--loss", type=float, default=0.0, help="probability, each way")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ends = [open_tap(name) for name in options.devices]
    request_real_time(PRIORITY)
    generator = random.Random(options.seed)
    directions = [Direction(a, b, options.delay, options.loss, generator) for a, b in (ends, ends[::-1])]

    def cut(number: int, _frame: object) -> None:
        for direction in directions:
            direction.is_cut = number == signal.SIGUSR1

    signal.signal(signal.SIGUSR1, cut)
    signal.signal(signal.SIGUSR2, cut)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the hosts first
    poller = select.poll()
    for descriptor in (*ends, sys.stdin.fileno()):
        poller.register(descriptor, select.POLLIN)
    print("ready", flush=True)
    while True:
        due = min((d.due for d in directions if d.due is not None), default=None)
        wait = -1 if due is None else max(0.0, due - time.monotonic()) * 1e3
        ready = {descriptor for descriptor, _ in poller.poll(wait)}
        if sys.stdin.fileno() in ready:
            return 0
        for direction in directions:
            if direction.source in ready:
                direction.take()
            direction.deliver(time.monotonic())


if __name__ == "__main__":
    sys.exit(main())
