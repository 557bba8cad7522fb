"""Listens to what the nodes of the cell publish, and tells it to a ``CellView``."""

import math
import time
from collections.abc import Callable
from typing import Any

from std_msgs.msg import String
from vipa_msgs.msg import (
    ActionChunk,
    ActionTrace,
    ArmState,
    GateEvent,
    HandState,
    Heartbeat,
    RecorderState,
    SupervisorState,
    TrialEvent,
)

from vipa.console.cell_view import CellView, TrialState, rounded
from vipa.nodes.base import LATCHED, LATEST, RELIABLE, RELIABLE_DEEP, PolledGroup, take_messages
from vipa.nodes.messages import to_ns
from vipa.nodes.monitor import step_from_trace
from vipa.supervision import CellState

ARM_MODES = ("IDLE", "STREAMING", "REFLEX", "USER_STOP", "DISCONNECTED")
GRAPH_PERIOD_S = 1.0


class CellWatch:
    """The subscriptions; ``collect`` takes what has arrived.

    Args:
        node: which subscribes.
        view: what is told.
        names_policy: False where nobody may know which policy runs, as in a blinded trial.
    """

    def __init__(self, node: Any, view: CellView, names_policy: bool = True) -> None:
        self._node, self.view, self._names_policy = node, view, names_policy
        self._next_graph = 0.0
        self._has_trial_state = False
        group = PolledGroup()
        topics: tuple[tuple[Any, str, Any, Callable[[Any], None]], ...] = (
            (SupervisorState, "/supervisor/state", LATEST, self._see_cell),
            (Heartbeat, "/supervisor/heartbeat", RELIABLE_DEEP, self._see_heartbeat),
            (ArmState, "/fr3/state", LATEST, self._see_arm),
            (HandState, "/hand/state", LATEST, self._see_hand),
            (ActionChunk, "/policy/action_chunk", RELIABLE, self._see_chunk),
            (String, "/policy/instruction", LATCHED, self._see_instruction),
            (ActionTrace, "/controller/trace", RELIABLE_DEEP, self._see_trace),
            (GateEvent, "/controller/gate", RELIABLE_DEEP, self._see_gate),
            (RecorderState, "/recorder/state", LATCHED, self._see_recorder),
            (TrialEvent, "/recorder/events", RELIABLE_DEEP, lambda m: self._see_event("recorder", m)),
            (TrialEvent, "/trial/events", RELIABLE_DEEP, lambda m: self._see_event("trial", m)),
            (TrialEvent, "/trial/state", LATCHED, self._see_trial),
        )
        self._taken = [
            (node.create_subscription(kind, topic, _ignore, qos, callback_group=group), see)
            for kind, topic, qos, see in topics
        ]

    def collect(self) -> None:
        """Tell the view what has arrived."""
        for subscription, see in self._taken:
            for message in take_messages(subscription):
                see(message)
        if time.monotonic() >= self._next_graph:
            self._next_graph = time.monotonic() + GRAPH_PERIOD_S
            if not self._node.count_publishers("/trial/state"):
                self.view.trial = TrialState()

    @property
    def knows_trial(self) -> bool:
        """Whether it is known what the trial node does; True where there is none."""
        return self._has_trial_state or not self._node.count_publishers("/trial/state")

    def _see_cell(self, state: Any) -> None:
        content = {
            "state": CellState(state.state).name,
            "motion_allowed": bool(state.motion_allowed),
            "reason": str(state.reason),
            "nodes": dict(zip(state.nodes, state.node_states, strict=False)),
            "time": round(to_ns(state.header.stamp) * 1e-9, 2),
        }
        self.view.see("cell", content, time.monotonic())

    def _see_heartbeat(self, beat: Any) -> None:
        self.view.see_heartbeat(str(beat.node), "" if beat.level == Heartbeat.OK else str(beat.message),
                                time.monotonic())  # fmt: skip

    def _see_arm(self, state: Any) -> None:
        position = state.end_effector_pose.position
        content = {
            "mode": ARM_MODES[state.mode] if state.mode < len(ARM_MODES) else str(state.mode),
            "joints": rounded((math.degrees(angle) for angle in state.joint_positions), 1),
            "speed": rounded([math.degrees(max(map(abs, state.joint_velocities)))], 1)[0],
            "position": rounded((position.x, position.y, position.z), 3),
            "success_rate": rounded([state.control_command_success_rate], 3)[0],
            "refused": int(state.trajectories_refused),
            "detail": str(state.detail),
        }
        self.view.see("arm", content, time.monotonic())

    def _see_hand(self, state: Any) -> None:
        content = {
            "connected": bool(state.connected),
            "positions": rounded(state.positions, 2),
            "forces": rounded(state.forces, 1),
            "temperature": rounded([max(state.temperatures)], 0)[0],
            "has_error": any(state.errors),
            "detail": str(state.detail),
        }
        self.view.see("hand", content, time.monotonic())

    def _see_chunk(self, chunk: Any) -> None:
        content = {
            "name": str(chunk.policy) if self._names_policy else "hidden",
            "hash": str(chunk.policy_hash)[:12] if self._names_policy else "",
            "instruction": str(chunk.instruction),
            "chunk": int(chunk.chunk_id),
            "inference_ms": round((to_ns(chunk.inference_end) - to_ns(chunk.inference_start)) * 1e-6, 1),
        }
        self.view.see("policy", content, time.monotonic())

    def _see_instruction(self, message: Any) -> None:
        self.view.see_instruction(str(message.data))

    def _see_trace(self, trace: Any) -> None:
        if len(trace.exposures):
            self.view.latency.see(step_from_trace(trace), time.monotonic())

    def _see_gate(self, event: Any) -> None:
        self.view.gate.see(str(event.rule), str(event.detail), event.verdict == GateEvent.REFUSED)

    def _see_recorder(self, state: Any) -> None:
        content = {
            "recording": bool(state.recording),
            "folder": str(state.folder),
            "episode": str(state.episode),
            "instruction": str(state.instruction),
            "duration": rounded([state.duration], 1)[0],
            "frames": int(state.frames),
            "dropped": int(state.dropped),
            "free_gb": round(state.free_space / 1e9, 1),
            "warnings": list(state.warnings),
        }
        self.view.see("recorder", content, time.monotonic())

    def _see_event(self, source: str, message: Any) -> None:
        text = " ".join(word for word in (message.sub_task, message.detail) if word)
        stamp = to_ns(message.header.stamp) * 1e-9
        self.view.see_event(source, str(message.trial), str(message.event), text, stamp)

    def _see_trial(self, state: Any) -> None:
        self._has_trial_state = True
        texts = (state.trial, state.event, state.sub_task, state.detail)
        self.view.trial = TrialState(*(str(text) for text in texts))


def _ignore(message: Any) -> None:
    """Callback of a polled subscription; never called by an executor."""
