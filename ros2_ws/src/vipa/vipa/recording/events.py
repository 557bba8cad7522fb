"""What the operator and the recorder itself say during an episode: messages on ``/recorder/events`` and in the file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from vipa.recording.bag import Outcome
from vipa.recording.cdr import CdrReader, event_payload

Mark = Literal["success", "failure", "sub_task", "note"]
EventKind = Literal["started", "stopped", "discarded", "success", "failure", "sub_task", "note", "warning"]
MARKS: tuple[str, ...] = get_args(Mark)


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        kind: what happened.
        text: the instruction of "started", the sub-task of "sub_task", else a line for a person.
        episode: name of the episode.
        time_ns: ROS time.
    """

    kind: EventKind
    text: str
    episode: str
    time_ns: int

    @property
    def payload(self) -> bytes:
        """As a vipa_msgs/TrialEvent."""
        sub_task, detail = (self.text, "") if self.kind == "sub_task" else ("", self.text)
        return event_payload(self.time_ns, self.episode, self.kind, sub_task, detail)

    @classmethod
    def read(cls, payload: bytes) -> "Event":
        """What ``payload`` gives.

        Raises:
            ValueError: it is no event of the recorder.
        """
        reader = CdrReader(payload)
        time_ns, _, episode, kind = reader.stamp_ns(), reader.string(), reader.string(), reader.string()
        sub_task, detail = reader.string(), reader.string()
        if kind not in get_args(EventKind):
            raise ValueError(f"event {kind!r}: none of {', '.join(get_args(EventKind))}")
        return cls(cast(EventKind, kind), sub_task or detail, episode, time_ns)


def outcome_of(events: Iterable[Event]) -> Outcome:
    """What the operator said last: success, failure, or nothing."""
    said = [event.kind for event in events if event.kind in ("success", "failure")]
    return cast(Outcome, said[-1]) if said else ""


def warnings_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The warnings, each once, in order."""
    return tuple(dict.fromkeys(event.text for event in events if event.kind == "warning"))
