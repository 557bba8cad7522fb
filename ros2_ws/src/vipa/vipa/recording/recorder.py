"""The recorder itself, without ROS: episodes begin and end, marks, warnings."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from vipa.errors import VipaError
from vipa.recording.bag import Episode, Outcome
from vipa.recording.config import MEGABYTE, RecorderConfig
from vipa.recording.definitions import load_definitions
from vipa.recording.episode_writer import Beginning, EpisodeWriter
from vipa.recording.events import MARKS, Event, EventKind
from vipa.recording.images import COMPRESSED_TYPE
from vipa.recording.store import RecordingStore
from vipa.recording.topics import EVENT_TYPE, Topic
from vipa.recording.watch import ClockWatch, StreamWatch


@dataclass(frozen=True)
class RecorderStatus:
    """What the recorder does now; figures are those of the running episode, or of the last one."""

    recording: bool
    folder: Path
    episode: str
    instruction: str
    outcome: Outcome
    duration: float  # s of ROS time
    messages: int
    frames: int
    dropped: int
    file_size: int  # bytes
    free_space: int  # bytes
    warnings: tuple[str, ...]


class Recorder:
    """Records the messages that it is given while an episode runs; all its methods belong to one thread.

    Args:
        store: where episodes go; what a crash left there was recovered.
        topics: what is recorded.
        config: see ``RecorderConfig``.
        attachments: calibration and configuration, by file name, for every episode.
        definitions: of the message types; None: as installed with ROS 2.

    Raises:
        ConfigurationError: a message type is not installed.
    """

    def __init__(
        self,
        store: RecordingStore,
        topics: Sequence[Topic],
        config: RecorderConfig,
        attachments: Mapping[str, bytes],
        definitions: Mapping[str, str] | None = None,
    ) -> None:
        self._store, self._config, self._attachments = store, config, attachments
        types = {COMPRESSED_TYPE, EVENT_TYPE, *(topic.type for topic in topics)}
        self._definitions = load_definitions(types) if definitions is None else definitions
        self._streams = StreamWatch([topic.name for topic in topics if topic.is_image], config.longest_gap)
        self._clock = ClockWatch(config.clock_jump)
        self._latched: dict[str, tuple[Topic, bytes]] = {}
        self._writer: EpisodeWriter | None = None
        self._last: Episode | None = None
        self._events: list[Event] = []  # to be published
        self._time_ns = 0
        self._dropped_seen = 0

    @property
    def recording(self) -> bool:
        """True while an episode runs."""
        return self._writer is not None

    def put(self, topic: Topic, payload: bytes, time_ns: int) -> bool:
        """Record a message as it came over the wire, received at ROS time ``time_ns``; False where it was dropped.

        Latched topics are to be given while no episode runs, too: the next one begins with their newest message.
        """
        if topic.latched:
            self._latched[topic.name] = topic, payload
        if self._writer is None:
            return False
        self._streams.seen(topic.name, time_ns)
        return self._writer.put(topic, payload, time_ns)

    def start(self, instruction: str, time_ns: int) -> str:
        """Begin an episode; its name.

        Raises:
            VipaError: one is running, ROS time has not begun, the disk is almost full or cannot be written.
        """
        if self._writer is not None:
            raise VipaError(f"recorder: {self._writer.name} is running; stop or discard it first")
        if time_ns <= 0:
            raise VipaError("recorder: ROS time has not begun; is the laboratory running?")
        self._check_space()
        beginning = Beginning(instruction, time_ns, time.time(), self._attachments)
        folder = self._store.next_folder()
        try:
            self._writer = EpisodeWriter(folder, beginning, self._config, self._definitions)
        except OSError as error:
            raise VipaError(f"recordings {self._store.folder}: cannot be written: {error.strerror}") from None
        self._time_ns, self._dropped_seen = time_ns, 0
        self._streams.begin(time_ns)
        self._clock.begin()
        self._emit("started", instruction, time_ns)
        for topic, payload in self._latched.values():
            self._writer.put(topic, payload, time_ns)
        return folder.name

    def mark(self, kind: str, text: str, time_ns: int) -> None:
        """Mark the running episode as a success or failure, or note a sub-task that is done, or anything else.

        Raises:
            VipaError: no episode runs, the kind is unknown, or a sub-task or note has no text.
        """
        self._require_running("mark")
        if kind not in MARKS:
            raise VipaError(f"recorder: mark {kind!r} is none of {', '.join(MARKS)}")
        if kind in ("sub_task", "note") and not text:
            raise VipaError(f"recorder: mark {kind} needs a text")
        self._emit(cast(EventKind, kind), text, time_ns)

    def stop(self, outcome: str, time_ns: int) -> Episode:
        """End the episode, as a success or failure where ``outcome`` says so.

        Raises:
            VipaError: no episode runs, or the outcome is unknown.
        """
        self._require_running("stop")
        if outcome not in get_args(Outcome):
            raise VipaError(f"recorder: outcome {outcome!r} is neither success nor failure")
        if outcome:
            self._emit(cast(EventKind, outcome), "", time_ns)
        return self._finish("stopped", "", time_ns)

    def discard(self, reason: str, time_ns: int) -> str:
        """End the running episode, or take the last one, and move it to the discarded ones; its name.

        Raises:
            VipaError: there is none, or it cannot be moved.
        """
        if self._writer is not None:
            self._finish("discarded", reason, time_ns)
        if self._last is None:
            raise VipaError("recorder: there is no episode to discard since the recorder was started")
        name, self._last = self._last.name, None
        self._store.discard(name)
        return name

    def step(self, time_ns: int, wall: float | None = None) -> None:
        """Watch over the running episode; call at least ten times a second.

        Args:
            time_ns: ROS time.
            wall: the steady clock when ROS time was read, s; None: this moment.
        """
        writer = self._writer
        if writer is None:
            return
        self._time_ns, before = time_ns, self._time_ns
        jump = self._clock.check(time_ns, time.monotonic() if wall is None else wall)
        if jump:
            self._emit("warning", f"ROS time jumped by {jump:+.1f} s, from {before} to {time_ns} ns", time_ns)
            self._streams.begin(time_ns)
        for line in self._streams.check(time_ns):
            self._emit("warning", line, time_ns)
        if writer.dropped and not self._dropped_seen:
            self._emit("warning", "the disk is too slow: messages are dropped", time_ns)
        self._dropped_seen = writer.dropped
        if writer.episode is not None:  # by itself
            self._last, self._writer = writer.episode, None
            self._events.append(Event("warning", writer.episode.ended, writer.name, time_ns))

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def status(self) -> RecorderStatus:
        """What the recorder does now."""
        folder, free = self._store.folder, shutil.disk_usage(self._store.folder).free
        writer, last = self._writer, self._last
        if writer is not None:
            duration = max(0, self._time_ns - writer.beginning.time_ns) * 1e-9
            return RecorderStatus(
                True, folder, writer.name, writer.beginning.instruction, writer.outcome, duration, writer.messages,
                writer.frames, writer.dropped, writer.file_size, free, writer.warnings
            )  # fmt: skip
        if last is None:
            return RecorderStatus(False, folder, "", "", "", 0.0, 0, 0, 0, 0, free, ())
        return RecorderStatus(
            False, folder, last.name, last.instruction, last.outcome, last.duration, last.messages,
            sum(last.frames.values()), sum(last.dropped.values()), last.file_size, free, last.warnings
        )  # fmt: skip

    def close(self, time_ns: int) -> None:
        """End a running episode, and let another recorder use the folder."""
        if self._writer is not None:
            self._finish("stopped", "the recorder was ended", time_ns)
        self._store.close()

    def _finish(self, kind: EventKind, text: str, time_ns: int) -> Episode:
        assert self._writer is not None
        self._emit(kind, text, time_ns)
        self._last, self._writer = self._writer.stop(), None
        return self._last

    def _emit(self, kind: EventKind, text: str, time_ns: int) -> None:
        assert self._writer is not None
        event = Event(kind, text, self._writer.name, time_ns)
        self._writer.put_event(event)
        self._events.append(event)

    def _require_running(self, what: str) -> None:
        if self._writer is None:
            raise VipaError(f"recorder: no episode is running; there is nothing to {what}")

    def _check_space(self) -> None:
        free, wanted = shutil.disk_usage(self._store.folder).free, self._config.minimum_free_to_start
        if free < wanted:
            raise VipaError(
                f"recordings {self._store.folder}: only {free / MEGABYTE:.0f} MB are free on the disk, "
                f"{wanted / MEGABYTE:.0f} MB are needed to start an episode. Make room, or name another folder"
            )
