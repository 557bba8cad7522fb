"""Monitor node: watches the running loop for a while and writes its figures."""

import sys
import time
from typing import Any

from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray
from vipa_msgs.msg import ActionTrace, ArmState, GateEvent

from vipa.benchmarks.loop import LoopStatistics, Step
from vipa.errors import VipaError
from vipa.lab import split_address
from vipa.laboratory_client import LaboratoryClient
from vipa.nodes.base import FRAMES, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import to_ns
from vipa.result import Result
from vipa.scheduling import LISTENER_PRIORITY

SETTLE_S = 1.0
GIVE_UP_S = 90.0


class MonitorNode(ManagedNode):
    """Measures ``duration`` seconds of ROS time from the first executed step on, then ends.

    The figures go to the file ``output`` as a ``vipa.result.Result``.
    """

    def __init__(self) -> None:
        super().__init__("monitor", period_s=0.05)
        self.declare_parameter("duration", 60.0)
        self.declare_parameter("output", "-")
        self.declare_parameter("images", False)
        self._duration = float(self.get_parameter("duration").value or 0.0)
        frame_rate = next(iter(self.lab.cameras.values())).device.frame_rate
        self._statistics = LoopStatistics(1.0 / self.lab.control.rate, frame_rate)
        self._traces = self.polled(ActionTrace, "/controller/trace", RELIABLE_DEEP)
        self._events = self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP)
        self._periods = self.polled(Float32MultiArray, "/controller/periods", RELIABLE_DEEP)
        self._arm = self.polled(ArmState, "/fr3/state", FRAMES)
        self._images: dict[str, Any] = {}
        if self.get_parameter("images").value:
            for name in self.lab.cameras:
                for stream in ("color/image_raw", "depth/image_rect_raw"):
                    self._images[f"{name}/{stream}"] = self.polled(Image, f"/camera/{name}/{stream}", FRAMES)
        self._begun: tuple[int, float] | None = None
        self._first_seen: float | None = None
        self._started = time.monotonic()

    def step(self) -> None:
        """Collect; begin when the loop runs; end when the time is over."""
        self._collect()
        wall = time.monotonic()
        if self._begun is None:
            self._begin_if_running(wall)
            return
        ros_ns, wall_start = self._begun
        elapsed = (self.clock.now_ns() - ros_ns) * 1e-9
        if elapsed >= self._duration:
            self._statistics.ros_seconds, self._statistics.wall_seconds = elapsed, wall - wall_start
            self._finish()
        elif wall - wall_start > 3.0 * self._duration + GIVE_UP_S:
            self.finish(1, f"monitor: {elapsed:.1f} s of ROS time passed in {wall - wall_start:.1f} s; giving up")

    def _begin_if_running(self, wall: float) -> None:
        if self._statistics.steps and self._first_seen is None:
            self._first_seen = wall
        if self._first_seen is not None and wall - self._first_seen > SETTLE_S:
            self._statistics.clear()
            if self.lab.simulated:
                self._laboratory().request("reset_statistics")
            self._begun = self.clock.now_ns(), wall
        elif wall - self._started > GIVE_UP_S:
            self.finish(1, f"monitor: no action step was executed within {GIVE_UP_S:.0f} s")

    def _collect(self) -> None:
        statistics = self._statistics
        statistics.steps.extend(step_from_trace(m) for m in self.take_all(self._traces))
        for event in self.take_all(self._events):
            counts = statistics.gate_changes if event.verdict == GateEvent.CHANGED else statistics.gate_refusals
            counts[event.rule] = counts.get(event.rule, 0) + 1
        for message in self.take_all(self._periods):
            half = len(message.data) // 2
            statistics.periods.extend(message.data[:half])
            statistics.ros_periods.extend(message.data[half:])
        for state in self.take_all(self._arm):
            statistics.see_arm(str(state.mode), state.mode == ArmState.REFLEX, int(state.trajectories_refused))
        for name, subscription in self._images.items():
            statistics.frames.setdefault(name, []).extend(to_ns(m.header.stamp) for m in self.take_all(subscription))

    def _laboratory(self) -> LaboratoryClient:
        return LaboratoryClient(split_address(self.lab.referee, "referee"))

    def _finish(self) -> None:
        statistics = self._statistics
        if self.lab.simulated:
            try:
                statistics.fci = self._laboratory().request("statistics")["fci"]
            except VipaError as error:
                self.finish(1, f"monitor: {error}")
                return
        details = {
            "gate_refusals": statistics.gate_refusals,
            "gate_changes": statistics.gate_changes,
            "arm_modes": statistics.modes,
            "fci": statistics.fci,
        }
        result = Result("monitor", figures=statistics.figures(), details=details)
        result.write(str(self.get_parameter("output").value))
        self.finish(0, "")


def step_from_trace(message: Any) -> Step:
    """What an ``ActionTrace`` says of one executed action step."""
    return Step(
        chunk_id=message.chunk_id,
        exposure_ns=min((to_ns(t) for t in message.exposures), default=to_ns(message.received)),
        received_ns=to_ns(message.received),
        inference_start_ns=to_ns(message.inference_start),
        inference_end_ns=to_ns(message.inference_end),
        gate_ns=to_ns(message.gate),
        sent_ns=to_ns(message.sent),
        acknowledged_ns=to_ns(message.acknowledged),
        changed=len(message.changes) > 0,
    )


def main() -> int:
    """Run the node."""
    return run_node(MonitorNode, LISTENER_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
