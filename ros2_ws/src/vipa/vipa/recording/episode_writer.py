"""Writes one episode in a thread of its own: a bounded queue in, whole chunks out, and a clean end whatever happens."""

import errno
import os
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vipa.errors import VipaError
from vipa.recording import reserve
from vipa.recording.bag import QOS_KEY, Episode, Outcome, frames_of, mcap_name, qos_text, write_bag
from vipa.recording.cdr import CdrError
from vipa.recording.config import MEGABYTE, RecorderConfig
from vipa.recording.events import Event, outcome_of, warnings_of
from vipa.recording.images import COMPRESSED_TYPE, compress_color
from vipa.recording.mcap_file import McapFile
from vipa.recording.topics import EVENTS, Topic
from vipa.trials.journal import sync_folder

POLL_S = 0.01
METADATA_NAME = "vipa"


@dataclass(frozen=True)
class Beginning:
    """What stands at the begin of an episode's file.

    Attributes:
        instruction: what the robot is told to do.
        time_ns: ROS time of the start.
        unix_time: wall time of the start, s.
        attachments: calibration and configuration, by file name.
    """

    instruction: str
    time_ns: int
    unix_time: float
    attachments: Mapping[str, bytes]


@dataclass(frozen=True)
class _Item:
    topic: Topic
    payload: bytes
    time_ns: int


class EpisodeWriter:
    """Begins an episode's folder and writes what it is given until ``stop``, or until the disk is full.

    The folder appears under its name once the file has its header, calibration and configuration.

    Args:
        folder: of the new episode; its name is the episode's.
        beginning: what stands at the begin of the file.
        config: see ``RecorderConfig``.
        definitions: of the message types.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, beginning: Beginning, config: RecorderConfig, definitions: Mapping[str, str]
    ) -> None:
        self.folder, self.beginning = folder, beginning
        self._config, self._definitions = config, definitions
        self._file = self._begin()
        self._queue: deque[_Item] = deque()
        self._queued = 0  # bytes
        self._channels: dict[str, int] = {}
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._dropped: Counter[str] = Counter()
        self._frames = self._messages = 0
        self._closes_at = float("inf")  # time at which the open chunk is closed
        self._stopping = threading.Event()
        self._episode: Episode | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer of {self.name}", daemon=True)
        self._thread.start()

    # -- for the recorder's thread -----------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """The episode's name."""
        return self.folder.name

    @property
    def episode(self) -> Episode | None:
        """The episode, once it has ended: after ``stop``, or by itself where the disk is full or fails."""
        return self._episode

    @property
    def messages(self) -> int:
        """Messages written."""
        return self._messages

    @property
    def frames(self) -> int:
        """Images written."""
        return self._frames

    @property
    def dropped(self) -> int:
        """Messages that did not fit into the queue."""
        return self._dropped.total()

    @property
    def file_size(self) -> int:
        """Bytes on the disk."""
        return self._file.size

    @property
    def outcome(self) -> Outcome:
        """What the operator said so far."""
        return outcome_of(self._events)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings so far."""
        return warnings_of(self._events)

    def put(self, topic: Topic, payload: bytes, time_ns: int) -> bool:
        """Hand a message over; False where it was dropped because the queue is full, or the episode has ended."""
        limit = self._config.queue_size + (0 if topic.is_image else self._config.queue_margin)
        with self._lock:
            if self._episode is not None:
                return False
            if self._queued + len(payload) > limit:
                self._dropped[topic.name] += 1
                return False
            self._queue.append(_Item(topic, payload, time_ns))
            self._queued += len(payload)
        return True

    def put_event(self, event: Event) -> None:
        """Note an event, and hand it over as a message."""
        self._events.append(event)
        self.put(EVENTS, event.payload, event.time_ns)

    def stop(self) -> Episode:
        """Write what is waiting, end the file, and wait for that."""
        self._stopping.set()
        self._thread.join()
        assert self._episode is not None
        return self._episode

    # -- in the thread -----------------------------------------------------------------------------------------------
    def _begin(self) -> McapFile:
        partial = self.folder.with_name(f".{self.folder.name}.new")
        if partial.exists():
            shutil.rmtree(partial)
        if self.folder.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.folder))
        try:
            partial.mkdir()
            reserve.put_by(partial, self._config.reserve)
            file = McapFile(partial / mcap_name(self.folder.name), self._config.compression_level)
            self._write_beginning(file)
            partial.rename(self.folder)
            sync_folder(self.folder.parent)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return file

    def _write_beginning(self, file: McapFile) -> None:
        begin = self.beginning
        values = {"instruction": begin.instruction, "started_unix": f"{begin.unix_time:.3f}"}
        file.add_metadata(METADATA_NAME, values)
        for name, content in begin.attachments.items():
            media_type = "application/json" if name.endswith(".json") else "application/yaml"
            file.add_attachment(name, media_type, content, begin.time_ns)

    def _run(self) -> None:
        ended = "stopped"
        try:
            is_last = False
            while not is_last:
                is_last = self._stopping.wait(POLL_S)
                self._write_waiting()
            self._close_chunk()
        except _DiskFullError as error:
            ended = str(error)
        except OSError as error:
            ended = f"the disk failed: {error.strerror or error}"
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the file is to be ended
            ended = f"internal error: {error!r}"
        self._end(ended)

    def _write_waiting(self) -> None:
        while self._queue:
            item = self._queue[0]
            self._write(item)
            with self._lock:
                self._queue.popleft()
                self._queued -= len(item.payload)
            if time.monotonic() >= self._closes_at or self._file.pending >= self._config.chunk_size:
                self._close_chunk()
        if time.monotonic() >= self._closes_at:
            self._close_chunk()

    def _write(self, item: _Item) -> None:
        topic, kind, payload = item.topic, item.topic.type, item.payload
        name = topic.name
        if topic.is_image and self._config.jpeg_quality:
            compressed = self._compress(payload)
            if compressed is not None:
                name, kind, payload = f"{name}/compressed", COMPRESSED_TYPE, compressed
        channel = self._channels.get(name)
        if channel is None:
            metadata = {QOS_KEY: qos_text(topic)}
            channel = self._channels[name] = self._file.add_channel(name, kind, self._definitions[kind], metadata)
        if not self._file.pending:
            self._closes_at = time.monotonic() + self._config.chunk_period
        self._file.add_message(channel, item.time_ns, payload)
        self._messages += 1
        self._frames += topic.is_image

    def _compress(self, payload: bytes) -> bytes | None:
        try:
            return compress_color(payload, self._config.jpeg_quality)
        except CdrError:  # not for this program to judge: it is written as it came
            return None

    def _close_chunk(self) -> None:
        self._closes_at = float("inf")
        began, before = time.monotonic(), self._file.size
        self._file.close_chunk()
        due = began + (self._file.size - before) / self._config.write_rate
        time.sleep(max(due - time.monotonic(), 0.0))
        free, wanted = shutil.disk_usage(self.folder).free, self._config.minimum_free
        if free < wanted:
            raise _DiskFullError(
                f"the disk is almost full ({free / MEGABYTE:.0f} MB are left, {wanted / MEGABYTE:.0f} MB must stay "
                "free): make room, then start the next episode"
            )

    def _end(self, ended: str) -> None:
        try:
            reserve.release(self.folder)
            self._file.finish()
            episode = self._summary(ended)
            write_bag(self.folder, self._file.index, episode)
        except (OSError, VipaError) as error:
            self._file.close()
            why = f"{ended}; {error}; complete the file with: vipa record recover {self.folder.parent}"
            episode = self._summary(why)
        with self._lock:
            self._episode = episode
            self._queue.clear()

    def _summary(self, ended: str) -> Episode:
        index = self._file.index
        frames = frames_of(index)
        warnings = list(warnings_of(self._events))
        if ended != "stopped":
            warnings.append(ended)
        if not sum(frames.values()):
            warnings.append("no frame of any camera was recorded: are the cameras running?")
        if self._dropped:
            lost = ", ".join(f"{count} of {name}" for name, count in self._dropped.items())
            warnings.append(f"the disk was too slow; dropped: {lost}")
        return Episode(
            name=self.name,
            instruction=self.beginning.instruction,
            outcome=outcome_of(self._events),
            ended=ended,
            duration=(index.end_ns - index.start_ns) * 1e-9,
            messages=index.message_count,
            frames=frames,
            dropped=dict(self._dropped),
            file_size=self._file.size,
            warnings=tuple(warnings),
        )


class _DiskFullError(Exception):
    """Less free space than the configuration asks for."""
