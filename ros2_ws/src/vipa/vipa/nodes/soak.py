"""Soak node: watches the running graph for a long time, with a memory of its own that does not grow."""

import sys
import time
from pathlib import Path
from typing import Any

from sensor_msgs.msg import Image

from vipa.benchmarks.loop import dropped_frames
from vipa.benchmarks.processes import ProcessUse, graph_pids, uses
from vipa.benchmarks.soak import MISSED, Sample
from vipa.errors import VipaError
from vipa.leftovers import own_bringup
from vipa.nodes.base import FRAMES, run_node, take_messages
from vipa.nodes.monitor import MonitorNode
from vipa.recording.cdr import CdrReader
from vipa.scheduling import LISTENER_PRIORITY


class SoakNode(MonitorNode):
    """Samples the graph every ``interval`` seconds for ``duration`` seconds of the wall clock, then ends.

    Each sample goes to the file ``output`` at once (see ``vipa.benchmarks.soak``). It begins when the loop runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.declare_parameter("interval", 10.0)
        self._interval = float(self.get_parameter("interval").value or 10.0)
        self._output = Path(str(self.get_parameter("output").value))
        self._bringup_pid, self._domain = own_bringup()
        self._colour: dict[str, Any] = {
            name: self.polled(Image, f"/camera/{name}/color/image_raw", FRAMES) for name in self.lab.cameras
        }
        self._counts = dict.fromkeys(("ticks", "missed", "ros_missed", "executed_steps", "dropped_frames"), 0)
        self._referee = self._laboratory()  # one connection for all samples
        self._due = 0.0
        self._pids: list[int] | None = None  # still to be looked at for the sample under way
        self._uses: list[ProcessUse] = []

    def step(self) -> None:
        """Collect; look at one process per step, so that no step takes long; write the sample when all were seen."""
        self._collect()
        wall = time.monotonic()
        if self._begun is None:
            self._begin_if_running(wall)
            self._due = wall
            return
        self._count()
        if self._pids is None and wall >= self._due:
            self._due += self._interval
            self._pids, self._uses = graph_pids(self._domain, self._bringup_pid), []
        elif self._pids:
            self._uses.extend(uses([self._pids.pop()]))
        elif self._pids is not None:
            self._pids = None
            self._write(wall)

    def _collect(self) -> None:
        super()._collect()
        for name, subscription in self._colour.items():
            stamps = [CdrReader(message).stamp_ns() for message in take_messages(subscription, raw=True)]
            self._statistics.frames.setdefault(name, []).extend(stamps)

    def _count(self) -> None:
        """Turn what was collected into counts, and forget it."""
        statistics, counts = self._statistics, self._counts
        longest = MISSED * statistics.control_period
        counts["ticks"] += len(statistics.periods)
        counts["missed"] += sum(period > longest for period in statistics.periods)
        counts["ros_missed"] += sum(period > longest for period in statistics.ros_periods)
        counts["executed_steps"] += len(statistics.steps)
        for name, stamps in statistics.frames.items():
            counts["dropped_frames"] += dropped_frames(stamps, statistics.frame_rate)
            statistics.frames[name] = stamps[-1:]
        statistics.periods, statistics.ros_periods, statistics.steps = [], [], []

    def _write(self, wall: float) -> None:
        assert self._begun is not None
        ros_ns, wall_start = self._begun
        statistics = self._statistics
        try:
            fci: dict[str, Any] = self._referee.request("statistics")["fci"] if self.lab.simulated else {}
        except VipaError as error:
            self.finish(1, f"soak: {error}")
            return
        sample = Sample(
            wall_s=round(wall - wall_start, 3),
            ros_s=round((self.clock.now_ns() - ros_ns) * 1e-9, 3),
            **self._counts,
            chunks_refused=sum(statistics.gate_refusals.values()),
            refused_by_driver=statistics.driver_refusals,
            packets_lost=int(fci.get("lost", 0)),
            aborts=int(sum(fci.get("aborts", {}).values())),
            processes=tuple(self._uses),
        )
        with self._output.open("a", encoding="utf-8") as file:
            file.write(sample.line())
        if wall - wall_start >= self._duration:
            self.finish(0, "")


def main() -> int:
    """Run the node."""
    return run_node(SoakNode, LISTENER_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
