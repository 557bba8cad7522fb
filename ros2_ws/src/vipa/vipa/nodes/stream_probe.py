"""Sends or receives streams of messages between two hosts, and writes how they arrived: for ``vipa bench two-hosts``.

``python -m vipa.nodes.stream_probe send|receive SECONDS FILE``; both use the steady clock of the one machine.
"""

import array
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from vipa.nodes.base import PolledGroup, take_messages
from vipa.scheduling import CHAIN_PRIORITY, request_real_time

MATCH_TIME_OUT_S = 15.0
SETTLE_S = 0.5
LINGER_S = 1.5  # for what is sent again
POLL_S = 0.002
RAW_BYTES = 640 * 480 * 3
JPEG_BYTES = 60_000


@dataclass(frozen=True)
class Stream:
    """One topic."""

    name: str
    size: int  # bytes
    rate: float  # Hz
    is_reliable: bool
    depth: int

    @property
    def topic(self) -> str:
        """Its name in ROS."""
        return f"/probe/{self.name}"

    @property
    def qos(self) -> QoSProfile:
        """How it is sent and received."""
        reliability = ReliabilityPolicy.RELIABLE if self.is_reliable else ReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=self.depth, reliability=reliability)


STREAMS = (
    Stream("heartbeat", 200, 10.0, is_reliable=True, depth=10),
    Stream("state", 400, 100.0, is_reliable=False, depth=1),
    Stream("jpeg_best_effort", JPEG_BYTES, 10.0, is_reliable=False, depth=1),
    Stream("jpeg_reliable", JPEG_BYTES, 10.0, is_reliable=True, depth=1),
    Stream("raw_best_effort", RAW_BYTES, 10.0, is_reliable=False, depth=1),
    Stream("raw_reliable", RAW_BYTES, 10.0, is_reliable=True, depth=1),
)


@dataclass
class Arrivals:
    """What was received of one stream: sequence numbers, latencies (ms) and times (s)."""

    numbers: list[int]
    latencies: list[float]
    times: list[float]


def send(node: Node, seconds: float) -> dict[str, Any]:
    """Publish every stream at its rate; how many messages of each."""
    publishers = [node.create_publisher(Image, s.topic, s.qos) for s in STREAMS]
    deadline = time.monotonic() + MATCH_TIME_OUT_S
    while not all(p.get_subscription_count() for p in publishers) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(SETTLE_S)
    messages = [Image(data=array.array("B", bytes(s.size))) for s in STREAMS]
    sent, begin = [0] * len(STREAMS), time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        for i, stream in enumerate(STREAMS):
            if now >= begin + sent[i] / stream.rate:
                message = messages[i]
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.monotonic_ns(), 1_000_000_000)
                message.header.frame_id = str(sent[i])
                publishers[i].publish(message)
                sent[i] += 1
        time.sleep(POLL_S)
    time.sleep(LINGER_S)
    return {stream.name: number for stream, number in zip(STREAMS, sent, strict=True)}


def receive(node: Node, seconds: float) -> dict[str, Any]:
    """Take every stream until it has been silent for a while; what arrived of each."""
    group = PolledGroup()
    subscriptions = [
        node.create_subscription(Image, s.topic, lambda _: None, s.qos, callback_group=group) for s in STREAMS
    ]
    arrivals = [Arrivals([], [], []) for _ in STREAMS]
    deadline = time.monotonic() + MATCH_TIME_OUT_S + SETTLE_S + seconds
    newest = float("inf")
    while time.monotonic() < min(deadline, newest + LINGER_S):
        for found, subscription in zip(arrivals, subscriptions, strict=True):
            for message in take_messages(subscription):
                stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
                newest = time.monotonic()
                found.numbers.append(int(message.header.frame_id))
                found.latencies.append(round((newest - stamp) * 1e3, 3))
                found.times.append(newest)
        time.sleep(POLL_S)
    return {stream.name: asdict(found) for stream, found in zip(STREAMS, arrivals, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one side to its end."""
    role, seconds, file = sys.argv[1:] if arguments is None else arguments
    request_real_time(CHAIN_PRIORITY)
    rclpy.init(args=[])
    node = rclpy.create_node(f"probe_{role}")
    result = (send if role == "send" else receive)(node, float(seconds))
    Path(file).write_text(json.dumps(result), encoding="utf-8")
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
