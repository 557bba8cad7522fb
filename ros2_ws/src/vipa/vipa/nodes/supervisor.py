"""Supervisor node: brings the managed nodes up in order, watches them, and stops the cell when in doubt."""

import sys
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_srvs.srv import Trigger
from vipa_msgs.msg import Heartbeat, SupervisorState

from vipa.nodes.base import LATEST, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import to_time
from vipa.process_watch import ProcessWatch
from vipa.scheduling import SUPERVISOR_PRIORITY
from vipa.stop_memory import StopMemory
from vipa.supervision import CellState, NodeReport, Supervision, Verdict

TRANSITIONS = {"configure": Transition.TRANSITION_CONFIGURE, "activate": Transition.TRANSITION_ACTIVATE}
WAIT_FOR_OPERATOR = ("policy",)
RETRY_PERIOD_S = 2.0
SETTLE_S = 0.3
STOPPED = "stopped by the operator; call /supervisor/resume to go on"
DIAGNOSTICS_PERIOD_S = 1.0


class SupervisorNode(ManagedNode):
    """Publishes /supervisor/state at 20 Hz; serves /supervisor/stop and /supervisor/resume."""

    def __init__(self) -> None:
        super().__init__("supervisor", period_s=0.05)
        self.declare_parameter("nodes", ["front", "side", "arm", "hand", "policy", "controller"])
        self.declare_parameter("namespaces", ["/camera", "/camera", "", "", "", ""])
        names = tuple(str(n) for n in self.get_parameter("nodes").value or ())
        namespaces = [str(n) for n in self.get_parameter("namespaces").value or ()]
        self._supervision = Supervision(names, self.lab.supervisor.heartbeat_time_out, WAIT_FOR_OPERATOR)
        self._memory = StopMemory()
        self._recall_stop()
        self._processes: dict[str, str] = {}  # of the nodes
        self._watch = ProcessWatch()
        self._change_state = {
            name: self.create_client(ChangeState, f"{namespace}/{name}/change_state")
            for name, namespace in zip(names, namespaces, strict=True)
        }
        self._pending: tuple[Any, float, tuple[str, str]] | None = None
        self._not_before: dict[tuple[str, str], float] = {}  # of a transition of a node
        self._last: Verdict | None = None
        self._next_diagnostics = 0.0
        self._beats = self.polled(Heartbeat, "/supervisor/heartbeat", RELIABLE_DEEP)
        self._states = self.create_publisher(SupervisorState, "/supervisor/state", LATEST)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self.create_service(Trigger, "/supervisor/stop", self._on_stop)
        self.create_service(Trigger, "/supervisor/resume", self._on_resume)

    def step(self) -> None:
        """Read the heartbeats, decide, publish, ask for the next transition."""
        now = time.monotonic()
        for beat in self.take_all(self._beats):
            if self._watch.has_ended(beat.process):
                continue  # its last words
            self._processes[beat.node] = beat.process
            report = NodeReport(beat.lifecycle_state, beat.level == Heartbeat.ERROR, beat.message, now)
            if reason := self._supervision.heartbeat(beat.node, report):
                self._memory.remember(reason)
        for node, process in self._processes.items():
            if self._watch.has_ended(process):
                self._supervision.ended(node)
        self._publish(now)
        self._advance(now)

    def pause(self, seconds: float) -> None:
        """A stop is not kept waiting."""
        self.pause_until_asked(seconds)

    def close(self) -> None:
        """Say that the cell shuts down: motion is not allowed any more."""
        if rclpy.ok():
            self._send(Verdict(CellState.SHUTDOWN, False, "the supervisor ends"), time.monotonic())

    def _publish(self, now: float) -> None:
        verdict = self._supervision.verdict(now)
        if verdict != self._last:
            self.get_logger().info(f"cell {verdict.state.name}{': ' + verdict.reason if verdict.reason else ''}")
            self._last = verdict
        self._send(verdict, now)
        if now >= self._next_diagnostics:
            self._next_diagnostics = now + DIAGNOSTICS_PERIOD_S
            self._publish_diagnostics(verdict, now)

    def _send(self, verdict: Verdict, now: float) -> None:
        state = SupervisorState(state=int(verdict.state), motion_allowed=verdict.motion_allowed, reason=verdict.reason)
        state.header.stamp = to_time(self.clock.now_ns())
        state.nodes = list(self._supervision.nodes)
        state.node_states = list(self._supervision.lifecycle_states(now))
        self._states.publish(state)

    def _publish_diagnostics(self, verdict: Verdict, now: float) -> None:
        level = DiagnosticStatus.OK if verdict.motion_allowed else DiagnosticStatus.WARN
        text = f"{verdict.state.name} {verdict.reason}".strip()
        reports = [DiagnosticStatus(name="cell", level=level, message=text)]
        for node, state in zip(self._supervision.nodes, self._supervision.lifecycle_states(now), strict=True):
            level = DiagnosticStatus.OK if state == "active" else DiagnosticStatus.ERROR
            reports.append(DiagnosticStatus(name=f"node {node}", level=level, message=state))
        message = DiagnosticArray(status=reports)
        message.header.stamp = to_time(self.clock.now_ns())
        self._diagnostics.publish(message)

    def _advance(self, now: float) -> None:
        if self._pending is not None:
            future, deadline, asked = self._pending
            if not future.done() and now < deadline:
                return
            self._pending = None
            self._not_before[asked] = max(
                now + SETTLE_S, self._not_before[asked]
            )  # its heartbeat must tell the outcome
        transition = self._supervision.next_transition(now)
        if transition is None:
            return
        node, name = transition
        if now < self._not_before.get(transition, 0.0) or not self._change_state[node].service_is_ready():
            return
        self._not_before[transition] = now + (RETRY_PERIOD_S if name == "configure" else 0.2)
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        deadline = now + self.lab.supervisor.configure_time_out
        self._pending = self._change_state[node].call_async(request), deadline, transition

    def _recall_stop(self) -> None:
        """A supervisor that was killed while the cell was stopped, and is back, keeps it stopped."""
        reason = self._memory.recall()
        if reason:
            self._supervision.stop(reason)

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def stop() -> None:
            self._supervision.stop(STOPPED)
            self._publish(time.monotonic())
            self._memory.remember(STOPPED)

        self.in_main(stop)
        response.success, response.message = True, "stopped"
        return response

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def resume() -> str:
            self._memory.forget()
            return self._supervision.resume(time.monotonic())

        trouble = self.in_main(resume)
        response.success, response.message = not trouble, trouble or "motion allowed"
        return response


def main() -> int:
    """Run the node."""
    return run_node(SupervisorNode, SUPERVISOR_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
