"""Teleop monitor node: watches commands and joints, and writes how long the one takes to move the other."""

import sys

import numpy as np
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from vipa_msgs.msg import ActionTrace, ArmState, GateEvent
from vipa_msgs.msg import TeleopCommand as TeleopCommandMessage

from vipa.benchmarks.teleop import Command, TeleopStatistics
from vipa.nodes.base import RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import to_ns
from vipa.result import Result

STATES = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)


class TeleopMonitorNode(ManagedNode):
    """Collects until it is ended; then the figures go to the file ``output`` as a ``vipa.result.Result``."""

    def __init__(self) -> None:
        super().__init__("teleop_monitor", period_s=0.02)
        self.declare_parameter("output", "-")
        self._statistics = TeleopStatistics()
        self._refusals: dict[str, int] = {}
        self._refused_before: int | None = None
        self._seen_chunks: set[int] = set()
        self._commands = self.polled(TeleopCommandMessage, "/teleop/command", STATES)
        self._arm = self.polled(ArmState, "/fr3/state", STATES)
        self._traces = self.polled(ActionTrace, "/controller/trace", RELIABLE_DEEP)
        self._events = self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP)

    def step(self) -> None:
        """Take what has arrived."""
        statistics = self._statistics
        for message in self.take_all(self._commands):
            linear, angular = message.twist.linear, message.twist.angular
            wanted = any((linear.x, linear.y, linear.z, angular.x, angular.y, angular.z))
            statistics.commands.append(Command(to_ns(message.header.stamp), bool(message.clutch and wanted)))
        for state in self.take_all(self._arm):
            statistics.states.append((to_ns(state.header.stamp), np.array(state.joint_positions)))
            if self._refused_before is None:
                self._refused_before = int(state.trajectories_refused)
            statistics.driver_refusals = int(state.trajectories_refused) - self._refused_before
        for trace in self.take_all(self._traces):
            if trace.chunk_id not in self._seen_chunks:
                self._seen_chunks.add(trace.chunk_id)
                statistics.sent_ms.append((to_ns(trace.sent) - to_ns(trace.received)) * 1e-6)
        for event in self.take_all(self._events):
            if event.verdict == GateEvent.REFUSED:
                statistics.chunks_refused += 1
                self._refusals[event.rule] = self._refusals.get(event.rule, 0) + 1

    def close(self) -> None:
        """Write the figures."""
        self.step()
        details = {
            "gate_refusals": self._refusals,
            "commands": len(self._statistics.commands),
            "command_to_motion_ms": self._statistics.latencies_ms(),
        }
        result = Result("teleop monitor", figures=self._statistics.figures(), details=details)
        result.write(str(self.get_parameter("output").value))


def main() -> int:
    """Run the node."""
    return run_node(TeleopMonitorNode)


if __name__ == "__main__":
    sys.exit(main())
