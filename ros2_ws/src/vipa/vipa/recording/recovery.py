"""Completes MCAP files that a crash cut off: keeps every whole chunk, and writes summary, footer and metadata anew."""

import os
import shutil
import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import zstandard
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Channel, Chunk, Header, McapRecord, Metadata, MetadataIndex, Schema

from vipa.recording.chunk import COMPRESSION, MESSAGE, RECORD, ClosedChunk, Entries, close_chunk, time_span
from vipa.recording.mcap_file import attachment_index, header, write_all
from vipa.recording.summary import END_SIZE, MAGIC, FileIndex, ending
from vipa.recording.topics import EVENTS_TOPIC

LARGEST_TORN = 64_000_000  # bytes; what is left of one chunk cannot be more


_KINDS: dict[int, Any] = {
    Opcode.HEADER: Header,
    Opcode.SCHEMA: Schema,
    Opcode.CHANNEL: Channel,
    Opcode.CHUNK: Chunk,
    Opcode.ATTACHMENT: Attachment,
    Opcode.METADATA: Metadata,
}


@dataclass
class Scan:
    """What a file holds up to the first record that is torn or damaged.

    Attributes:
        index: of all whole records.
        end: where they end; 0 where not even the file's header is whole.
        metadata: names and values of its metadata records, the last of each name.
        events: payloads of the recorder's events.
        finished: the file has its footer.
        damaged: the record after ``end`` is whole, but its content is wrong.
        unindexed: the last chunk, if its message indices are torn.
    """

    index: FileIndex = field(default_factory=FileIndex)
    end: int = 0
    metadata: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    events: list[bytes] = field(default_factory=list[bytes])
    finished: bool = False
    damaged: bool = False
    unindexed: ClosedChunk | None = None


@dataclass(frozen=True)
class Repair:
    """What was done to a file.

    Attributes:
        scan: what is in it.
        removed: bytes that were cut off at its end.
        kept_aside: where these bytes were kept, if they are more than a crash can leave.
    """

    scan: Scan
    removed: int = 0
    kept_aside: Path | None = None


def scan(path: Path) -> Scan:
    """Read a file from its begin, checking every chunk.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        has_magic = size >= END_SIZE and os.pread(file.fileno(), len(MAGIC), size - len(MAGIC)) == MAGIC
        found = _Scanner(size - len(MAGIC)).run(_records(file.fileno(), size))
        found.finished &= has_magic
        return found


def complete(path: Path) -> Repair:
    """Give a cut-off file its end; a finished one is left as it is.

    Every whole chunk stays where it is, byte for byte. What follows the last whole record is removed; where that is
    more than a crash can leave, it is kept beside the file as ``<name>.damaged``.

    Raises:
        OSError: the file cannot be read or written; nothing is lost, and it can be tried again.
    """
    found = scan(path)
    if found.finished:
        return Repair(found)
    size = path.stat().st_size
    removed = size - found.end
    aside = _keep_aside(path, found.end) if found.damaged or removed > LARGEST_TORN else None
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, found.end)
        os.lseek(descriptor, found.end, os.SEEK_SET)
        begin = b"" if found.end else header()
        indices = found.unindexed.indices if found.unindexed else b""
        write_all(descriptor, begin + indices + ending(found.index, found.end + len(begin) + len(indices)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Repair(found, removed, aside)


def _keep_aside(path: Path, start: int) -> Path:
    aside = path.with_name(f"{path.name}.damaged")
    with path.open("rb") as source, aside.open("wb") as target:
        source.seek(start)
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    return aside


@dataclass(frozen=True)
class _Record:
    opcode: int
    offset: int
    content: bytes

    @property
    def end(self) -> int:
        return self.offset + RECORD.size + len(self.content)


def _records(descriptor: int, size: int) -> Generator[_Record, None, None]:
    """Whole records, in order."""
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        return
    offset = len(MAGIC)
    while offset + RECORD.size <= size:
        opcode, length = RECORD.unpack(os.pread(descriptor, RECORD.size, offset))
        if opcode == 0 or offset + RECORD.size + length > size:
            return
        content = os.pread(descriptor, length, offset + RECORD.size)
        yield _Record(opcode, offset, content)
        offset += RECORD.size + length


class _Scanner:
    def __init__(self, footer_end: int) -> None:
        self._footer_end = footer_end
        self._scan = Scan()
        self._chunk: ClosedChunk | None = None  # the last one, until all its message indices were seen

    def run(self, records: Generator[_Record, None, None]) -> Scan:
        for record in records:
            if record.opcode == Opcode.DATA_END:
                self._scan.finished = any(r.opcode == Opcode.FOOTER and r.end == self._footer_end for r in records)
                break
            try:
                self._scan.damaged = not self._take(record)
            except (ValueError, OverflowError, MemoryError, struct.error, zstandard.ZstdError, McapError):
                self._scan.damaged = True
            if self._scan.damaged:
                break
        self._scan.unindexed = self._chunk
        return self._scan

    def _take(self, record: _Record) -> bool:
        """Note a record; False where it is damaged."""
        if record.opcode == Opcode.MESSAGE_INDEX:
            return self._take_message_index(record)
        kind = _KINDS.get(record.opcode)
        if kind is None or self._chunk is not None:
            return False
        content = kind.read(ReadDataStream(BytesIO(record.content)))
        if not _is_exactly(content, record) or not self._note(content, record):
            return False
        self._scan.end = record.end
        return True

    def _note(self, content: McapRecord, record: _Record) -> bool:
        index, length = self._scan.index, record.end - record.offset
        match content:
            case Chunk():
                return self._note_chunk(content, record)
            case Schema():
                index.schemas[content.id] = content
            case Channel():
                if content.schema_id not in index.schemas:
                    return False
                index.channels[content.id] = content
            case Attachment():  # its checksum was compared with its content
                index.attachments.append(attachment_index(content, record.offset, length))
            case Metadata():
                index.metadata.append(MetadataIndex(record.offset, length, content.name))
                self._scan.metadata[content.name] = content.metadata
            case _:  # the file's header
                return record.offset == len(MAGIC)
        return True

    def _note_chunk(self, chunk: Chunk, record: _Record) -> bool:
        content = zstandard.decompress(chunk.data, chunk.uncompressed_size)
        index, entries = self._scan.index, _entries(content)
        is_right = (
            chunk.compression == COMPRESSION
            and zlib.crc32(content) == chunk.uncompressed_crc
            and len(content) == chunk.uncompressed_size
            and time_span(entries) == (chunk.message_start_time, chunk.message_end_time)
            and entries.keys() <= index.channels.keys()
        )
        if not is_right:
            return False
        closed = close_chunk((), len(chunk.data), len(content), chunk.compression, entries, record.offset)
        index.chunks.append(closed.index)
        for channel_id, count in closed.counts.items():
            index.counts[channel_id] = index.counts.get(channel_id, 0) + count
        for channel_id, places in entries.items():
            if index.channels[channel_id].topic == EVENTS_TOPIC:
                self._scan.events += [_payload(content, offset) for _, offset in places]
        self._chunk = closed
        return True

    def _take_message_index(self, record: _Record) -> bool:
        """The indices that follow a chunk are known from the chunk itself: they must be the same bytes."""
        if self._chunk is None:
            return False
        index = self._chunk.index
        indices_start = index.chunk_start_offset + index.chunk_length
        end = record.end - indices_start
        if self._chunk.indices[record.offset - indices_start : end][RECORD.size :] != record.content:
            return False
        if end == len(self._chunk.indices):
            self._chunk, self._scan.end = None, record.end
        return True


def _is_exactly(content: McapRecord, record: _Record) -> bool:
    """True where ``content``, written anew, gives the record: every length and checksum in it is right."""
    builder = RecordBuilder()
    content.write(builder)
    return builder.end()[RECORD.size :] == record.content


def _entries(content: bytes) -> Entries:
    """The messages of an uncompressed chunk."""
    entries: Entries = {}
    offset = 0
    while offset < len(content):
        opcode, length = RECORD.unpack_from(content, offset)
        if opcode == Opcode.MESSAGE:
            channel_id, _, time_ns, _ = MESSAGE.unpack_from(content, offset + RECORD.size)
            entries.setdefault(channel_id, []).append((time_ns, offset))
        offset += RECORD.size + length
    return entries


def _payload(content: bytes, offset: int) -> bytes:
    """The data of the message whose record begins at ``offset``."""
    _, length = RECORD.unpack_from(content, offset)
    return content[offset + RECORD.size + MESSAGE.size : offset + RECORD.size + length]
