"""How ROS 2's own transport fares between two hosts: heartbeats, states and images over a link that loses packets."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vipa.benchmarks.hosts import Host, LinkConfig, end, two_hosts
from vipa.environment import ros_environment

END_TIME_OUT_S = 60.0
PROFILE = """<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>link</transport_id>
      <type>UDPv4</type>
      <sendBufferSize>4194304</sendBufferSize>
      <receiveBufferSize>4194304</receiveBufferSize>
      <maxMessageSize>{datagram}</maxMessageSize>
      <interfaceWhiteList><address>{address}</address></interfaceWhiteList>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="link_participant" is_default_profile="true">
    <rtps>
      <useBuiltinTransports>false</useBuiltinTransports>
      <userTransports><transport_id>link</transport_id></userTransports>
    </rtps>
  </participant>
</profiles>
"""
"""Fast DDS over the link: no shared memory, multicast discovery."""
LARGE, SMALL = 65500, 1400
"""Bytes of a datagram: Fast DDS's own choice, which the kernel sends as 45 packets; and one that fits into a packet."""


def measure_dds(link: LinkConfig, seconds: float, folder: Path, datagram: int = LARGE) -> dict[str, float]:
    """Send the streams of ``vipa.nodes.stream_probe`` from one host to the other; figures of each.

    Raises:
        ConfigurationError: two hosts cannot be made here, or a side fails.
    """
    folder.mkdir(parents=True)
    with two_hosts(link) as (robot, workstation, _):
        receiving, received = _probe(workstation, "receive", seconds, folder, datagram)
        sending, sent = _probe(robot, "send", seconds, folder, datagram)
        for process in (sending, receiving):
            try:
                process.wait(timeout=seconds + END_TIME_OUT_S)
            finally:
                end(process)
    return stream_figures(json.loads(sent.read_text()), json.loads(received.read_text()))


def stream_figures(sent: dict[str, int], received: dict[str, dict[str, list[Any]]]) -> dict[str, float]:
    """Per stream: how much arrived (%), latency (ms), and the longest silence (ms)."""
    figures: dict[str, float] = {}
    for name, number in sent.items():
        arrived = received[name]
        figures[f"{name}_arrived_percent"] = round(100.0 * len(set(arrived["numbers"])) / number, 1) if number else 0.0
        if arrived["latencies"]:
            figures[f"{name}_p50_ms"] = round(float(np.percentile(arrived["latencies"], 50)), 1)
            figures[f"{name}_p99_ms"] = round(float(np.percentile(arrived["latencies"], 99)), 1)
        if len(arrived["times"]) > 1:
            figures[f"{name}_longest_silence_ms"] = round(float(np.max(np.diff(arrived["times"]))) * 1e3, 1)
    return figures


def _probe(host: Host, role: str, seconds: float, folder: Path, datagram: int) -> tuple[subprocess.Popen[bytes], Path]:
    profile, output = folder / f"{role}.xml", folder / f"{role}.json"
    profile.write_text(PROFILE.format(address=host.address, datagram=datagram), encoding="utf-8")
    environment = {**ros_environment(), "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}
    command = [sys.executable, "-m", "vipa.nodes.stream_probe", role, str(seconds), str(output)]
    return host.start(command, environment), output
