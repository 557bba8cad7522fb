"""The supervisor's decisions, without ROS: which lifecycle transition comes next, and whether motion is allowed."""

from dataclasses import dataclass
from enum import IntEnum

MISSING = "missing"
UNCONFIGURED = "unconfigured"
INACTIVE = "inactive"
ACTIVE = "active"


class CellState(IntEnum):
    """State of the cell; the values are those of vipa_msgs/SupervisorState."""

    STARTING = 0
    READY = 1
    STOPPED = 2
    FAULT = 3
    SHUTDOWN = 4


@dataclass(frozen=True)
class NodeReport:
    """What a node's last heartbeat said."""

    lifecycle_state: str
    is_error: bool
    message: str
    seen: float  # s, wall time


@dataclass(frozen=True)
class Verdict:
    """The supervisor's view of the cell at one moment."""

    state: CellState
    motion_allowed: bool
    reason: str


class Supervision:
    """Watches the heartbeats of the managed nodes and decides.

    Nodes become configured, then active, in the order given (sensors and drivers, then policy, then controller): a node
    is configured when every node before it is at least configured, and activated when every node before it is active.
    A node that comes back after it was lost goes the same way. Faults clear by themselves when every node is active and
    without error again; a stop waits for ``resume``. An error of a node in ``waits_for_operator`` is a stop, once the
    cell was ready: a policy whose server comes back at some time must not move the robot then.

    Args:
        nodes: names of the managed nodes, in the order of activation.
        heartbeat_time_out: s (wall time) after which a silent node counts as missing.
        waits_for_operator: names of the nodes whose errors do not clear by themselves.
    """

    def __init__(
        self, nodes: tuple[str, ...], heartbeat_time_out: float, waits_for_operator: tuple[str, ...] = ()
    ) -> None:
        self.nodes = nodes
        self._waits_for_operator = waits_for_operator
        self._time_out = heartbeat_time_out
        self._reports: dict[str, NodeReport] = {}
        self._stop_reason = ""
        self._was_ready = False

    def heartbeat(self, node: str, report: NodeReport) -> str:
        """Take a node's heartbeat; the reason where it stops the cell. Nodes that are not managed are ignored."""
        if node not in self.nodes:
            return ""
        self._reports[node] = report
        if not report.is_error or node not in self._waits_for_operator or not self._was_ready or self._stop_reason:
            return ""
        self.stop(f"{report.message}. Once that is mended: vipa cell reset")
        return self._stop_reason

    def ended(self, node: str) -> None:
        """A node's process has ended: it is missing at once."""
        self._reports.pop(node, None)

    def stop(self, reason: str) -> None:
        """Stop the cell until ``resume``."""
        self._stop_reason = reason

    def resume(self, now: float) -> str:
        """Allow motion again; the answer is empty, or says why not."""
        self._stop_reason = ""
        return self._trouble(now)

    def lifecycle_states(self, now: float) -> tuple[str, ...]:
        """Per node: its lifecycle state, or "missing"."""
        return tuple(self._state(node, now) for node in self.nodes)

    def next_transition(self, now: float) -> tuple[str, str] | None:
        """The next lifecycle transition to ask for, as (node, "configure" | "activate"), or None."""
        for node in self.nodes:
            state = self._state(node, now)
            if state == UNCONFIGURED:
                return node, "configure"
            if state not in (INACTIVE, ACTIVE):
                break
        for node in self.nodes:
            state = self._state(node, now)
            if state == INACTIVE:
                return node, "activate"
            if state != ACTIVE:
                break
        return None

    def verdict(self, now: float) -> Verdict:
        """State of the cell; ``now`` in s of wall time."""
        trouble = self._trouble(now)
        if self._stop_reason:
            return Verdict(CellState.STOPPED, False, self._stop_reason)
        if trouble:
            return Verdict(
                CellState.FAULT if self._was_ready or self._has_error(now) else CellState.STARTING, False, trouble
            )
        self._was_ready = True
        return Verdict(CellState.READY, True, "")

    def _state(self, node: str, now: float) -> str:
        report = self._reports.get(node)
        return MISSING if report is None or now - report.seen > self._time_out else report.lifecycle_state

    def _has_error(self, now: float) -> bool:
        return any(self._state(n, now) != MISSING and self._reports[n].is_error for n in self.nodes)

    def _trouble(self, now: float) -> str:
        for node in self.nodes:
            if self._state(node, now) != MISSING and self._reports[node].is_error:
                return self._reports[node].message
        for node in self.nodes:
            state = self._state(node, now)
            if state == MISSING:
                return f"{node}: no heartbeat"
            if state != ACTIVE:
                return f"{node}: {state}"
        return ""
