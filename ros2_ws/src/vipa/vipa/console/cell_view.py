"""What the console knows of the cell, put together from what its nodes publish."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vipa.console.gauges import GateGauge, LatencyGauge

EVENTS_KEPT = 30
SILENT_AFTER_S = 1.0
NEEDS_RECOVERY = ("REFLEX", "USER_STOP")  # modes of the arm


@dataclass(frozen=True)
class TrialState:
    """What the trial node does.

    Attributes:
        trial: identifier of the trial.
        kind: "idle"; "set_up" or "judge" while it asks the operator; "running" while it does not.
        sub_task: about which it asks.
        text: the question.
    """

    trial: str = ""
    kind: str = "idle"
    sub_task: str = ""
    text: str = ""

    @property
    def asks(self) -> bool:
        """Whether the operator is to answer."""
        return self.kind in ("set_up", "judge")

    @property
    def runs(self) -> bool:
        """Whether the trial has begun and has not ended."""
        return self.kind in ("running", "judge")


@dataclass
class Section:
    """The newest state of one part of the cell."""

    content: dict[str, Any] = field(default_factory=dict[str, Any])
    seen: float = -math.inf  # s, steady clock

    def snapshot(self, now: float) -> dict[str, Any]:
        """The content, and whether nothing newer came for a while."""
        return {**self.content, "silent": now - self.seen > SILENT_AFTER_S}


class CellView:
    """Collects; ``snapshot`` is what pages are shown. Times are those of the steady clock, in s."""

    def __init__(self) -> None:
        self.latency, self.gate = LatencyGauge(), GateGauge()
        self._sections = {name: Section() for name in ("cell", "arm", "hand", "policy", "recorder")}
        self._notes: dict[str, tuple[str, float]] = {}  # per node: what its heartbeat complains about, and when
        self._instruction = ""
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._event_count = 0
        self._done: list[str] = []
        self.trial = TrialState()

    def see(self, section: str, content: dict[str, Any], now: float) -> None:
        """Take in a new state of "cell", "arm", "hand", "policy" or "recorder"."""
        self._sections[section] = Section(content, now)

    def see_heartbeat(self, node: str, note: str, now: float) -> None:
        """Take in what a node complains about; empty where all is well."""
        self._notes[node] = note, now

    def see_instruction(self, text: str) -> None:
        """Take in what the policy is told to do."""
        self._instruction = text

    def see_event(self, source: str, subject: str, event: str, text: str, time_s: float) -> None:
        """Take in an event of "trial" or "recorder"; ``subject`` is the trial or the episode, ``time_s`` ROS time."""
        self._event_count += 1
        self._events.append({"number": self._event_count, "source": source, "subject": subject, "event": event,
                             "text": text, "time": round(time_s, 2)})  # fmt: skip
        if source == "trial" and event == "started":
            self._done = []
        elif source == "trial" and event == "sub_task_done":
            self._done.append(text)

    def latest(self, section: str) -> dict[str, Any]:
        """The newest state of a section; empty where none has come yet."""
        return self._sections[section].content

    @property
    def errors(self) -> tuple[bool, bool]:
        """Whether the arm needs to be recovered, and whether the hand has errors to be cleared."""
        return self.latest("arm").get("mode") in NEEDS_RECOVERY, bool(self.latest("hand").get("has_error"))

    @property
    def instruction(self) -> str:
        """What the policy was told last."""
        return self._instruction

    def snapshot(self, now: float) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        sections = {name: section.snapshot(now) for name, section in self._sections.items()}
        return {
            "now": now,
            **sections,
            "notes": {
                node: note for node, (note, seen) in self._notes.items() if note and now - seen <= SILENT_AFTER_S
            },
            "instruction": self._instruction,
            "latency": self.latency.figures(now),
            "gate": self.gate.figures(),
            "trial": {**vars(self.trial), "asks": self.trial.asks, "runs": self.trial.runs, "done": list(self._done)},
            "events": list(self._events),
        }


def rounded(values: Iterable[float], digits: int) -> list[float | None]:
    """Numbers as JSON can hold them; None for those that are not finite."""
    return [round(float(value), digits) if math.isfinite(value) else None for value in values]
