"""Faults node: injects faults into the simulated cell that it is part of, and measures what they lead to."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from std_srvs.srv import Trigger
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import ActionTrace, ArmState, CommittedPlan, GateEvent, HandState, SupervisorState

from vipa.benchmarks.processes import graph_pids, node_name
from vipa.errors import VipaError
from vipa.faults.cell import Plan, Seen, SeenState
from vipa.faults.judging import Sample
from vipa.faults.outcome import Outcome
from vipa.faults.policy_server import PolicyServerProcess
from vipa.faults.suite import Injection, InjectionOptions, select
from vipa.lab import split_address
from vipa.laboratory_client import LaboratoryClient
from vipa.leftovers import own_bringup
from vipa.nodes.base import FRAMES, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import from_chunk_message, to_chunk_message, to_ns
from vipa.scheduling import LISTENER_PRIORITY
from vipa_inference.policy import ActionChunk

SERVICES = ("/supervisor/stop", "/supervisor/resume", "/fr3/recover")
LOOK_S = 0.004  # between two looks; the laboratory answers every 10 ms of its time
PATIENCE = 10.0  # wall time over simulated time, beyond which the laboratory has stopped
ANSWER_S = 5.0  # of simulated time, for a service


class FaultsNode(ManagedNode):
    """Runs ``injections`` one after the other in its first step, and ends; see ``vipa.faults.cell.RunningCell``.

    Each outcome becomes a line of the file ``output``. An injection that cannot be run counts as never injected.
    """

    def __init__(self) -> None:
        super().__init__("faults", period_s=0.1)
        self.declare_parameter("injections", [""])
        self.declare_parameter("repeats", 1)
        self.declare_parameter("seed", 0)
        self.declare_parameter("server_port", 0)
        self.declare_parameter("output", "")
        self._output = Path(str(self.get_parameter("output").value))
        self.seen = Seen()
        self.server = PolicyServerProcess(int(self.get_parameter("server_port").value or 0))
        self._laboratory = LaboratoryClient(split_address(self.lab.referee, "referee"))
        self._calls = {name: self.create_client(Trigger, name) for name in SERVICES}
        self._publisher = self.create_publisher(ActionChunkMessage, "/policy/action_chunk", RELIABLE)
        self._taken: tuple[tuple[Any, Callable[[Any], None]], ...] = (
            (self.polled(ActionChunkMessage, "/policy/action_chunk", RELIABLE_DEEP), self._see_chunk),
            (self.polled(CommittedPlan, "/controller/plan", RELIABLE_DEEP), self._see_plan),
            (self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP), self._see_gate),
            (self.polled(ActionTrace, "/controller/trace", RELIABLE_DEEP), self._see_trace),
            (self.polled(SupervisorState, "/supervisor/state", FRAMES), self._see_cell),
            (self.polled(ArmState, "/fr3/state", FRAMES), self._see_arm),
            (self.polled(HandState, "/hand/state", FRAMES), self._see_hand),
        )

    def step(self) -> None:
        """Run everything."""
        options = InjectionOptions(
            repeats=int(self.get_parameter("repeats").value or 1),
            seed=int(self.get_parameter("seed").value or 0),
            folder=self._output.parent,
        )
        names = [str(name) for name in self.get_parameter("injections").value or ()]
        try:
            for injection in select(",".join(names)):
                self._run(injection, options)
        except VipaError as error:
            self.finish(1, str(error))
            return
        finally:
            self.server.kill()
        self.finish(0, "")

    def _run(self, injection: Injection, options: InjectionOptions) -> None:
        self.get_logger().info(f"{injection.name}: {injection.summary}")
        try:
            for outcome in injection.inject(self, options):
                self._write(outcome)
        except VipaError as error:
            if self.exit_status is not None:
                raise
            self.get_logger().error(f"{injection.name}: {error}")
            self._write(Outcome(f"{injection.name}_unfinished", 0, {}, details={"error": str(error)}))

    def _write(self, outcome: Outcome) -> None:
        self.get_logger().info(outcome.line())
        with self._output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome.as_mapping()) + "\n")

    # -- the running cell --------------------------------------------------------------------------------------------
    def now_ns(self) -> int:
        """Simulated time, ns."""
        return self.clock.now_ns()

    def wait(self, seconds: float) -> None:
        """Let simulated time pass, and see what happens."""
        until_ns = self._look() + round(seconds * 1e9)
        deadline = time.monotonic() + PATIENCE * (seconds + 1.0)
        while self.now_ns() < until_ns:
            if time.monotonic() > deadline:
                raise VipaError("faults: the laboratory's clock stands still; see the log of the laboratory")
            time.sleep(LOOK_S)
            self._look()

    def wait_until(self, is_met: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until something is seen."""
        deadline_ns = self._look() + round(seconds * 1e9)
        while not is_met():
            if self.now_ns() > deadline_ns:
                raise VipaError(f"faults: not seen within {seconds:g} s: {what}{self._why()}")
            self.wait(0.01)

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Ask the laboratory's control port."""
        return self._laboratory.request(command, **arguments)

    def call(self, service: str) -> tuple[bool, str]:
        """Call a trigger service; its answer."""
        client = self._calls[service]
        self.wait_until(client.service_is_ready, ANSWER_S, f"{service} is offered")
        future = client.call_async(Trigger.Request())
        self.wait_until(future.done, ANSWER_S, f"{service} answers")
        answer: Any = future.result()
        return bool(answer.success), str(answer.message)

    def publish(self, chunk: ActionChunk, **fields: Any) -> None:
        """Send a chunk to the controller, as a policy would, with fields of its message changed."""
        message = to_chunk_message(chunk, self.now_ns(), self.lab.base_frame)
        for name, value in fields.items():
            setattr(message, name, value)
        self._publisher.publish(message)

    def kill(self, node: str) -> int:
        """kill -9 of the process of a node; the moment, ns."""
        bringup, domain = own_bringup()
        for pid in graph_pids(domain, bringup):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if node_name(line) == node:
                now_ns = self.now_ns()
                os.kill(pid, signal.SIGKILL)
                return now_ns
        raise VipaError(f"faults: {node} has no process")

    # -- what is seen ------------------------------------------------------------------------------------------------
    def _look(self) -> int:
        """Take what has arrived, and a sample of the world; its time, ns."""
        if self.exit_status is not None or not rclpy.ok():
            raise VipaError("faults: ended before everything was injected")
        for subscription, see in self._taken:
            for message in self.take_all(subscription):
                see(message)
        status = self.request("status")
        sample = Sample(
            int(status["time_ns"]),
            np.array(status["joint_positions"]),
            np.array(status["joint_velocities"]),
            np.array(status["hand_positions"]),
        )
        self.seen.samples.append(sample)
        return sample.time_ns

    def _why(self) -> str:
        last = self.seen.cell[-1] if self.seen.cell else None
        return "" if last is None or last.is_ready else f" ({last.reason})"

    def _see_chunk(self, message: Any) -> None:
        try:
            chunk = from_chunk_message(message)
        except VipaError:
            return  # one of those that this node sends
        self.seen.chunks[chunk.chunk_id] = chunk

    def _see_plan(self, message: Any) -> None:
        chunk_id = int(message.chunk_id) if len(message.offsets) else None
        self.seen.plans.append(Plan(to_ns(message.header.stamp), chunk_id))

    def _see_gate(self, event: Any) -> None:
        if event.verdict == GateEvent.REFUSED:
            self.seen.refusals.append((int(event.chunk_id), str(event.rule)))

    def _see_trace(self, trace: Any) -> None:
        self.seen.executed.add(int(trace.chunk_id))

    def _see_cell(self, state: Any) -> None:
        seen = SeenState(to_ns(state.header.stamp), bool(state.motion_allowed), str(state.reason))
        self.seen.cell.append(seen)

    def _see_arm(self, state: Any) -> None:
        stamp_ns = to_ns(state.header.stamp)
        self.seen.arm_modes.append((stamp_ns, int(state.mode)))
        self.seen.driver_refusals = int(state.trajectories_refused)

    def _see_hand(self, state: Any) -> None:
        if state.connected:
            self.seen.hand_read_ns.append(to_ns(state.header.stamp))


def main() -> int:
    """Run the node."""
    return run_node(FaultsNode, LISTENER_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
