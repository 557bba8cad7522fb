"""An MCAP file that grows by whole records and always ends at one."""

import os
from collections.abc import Mapping
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.records import Attachment, AttachmentIndex, Channel, Header, Metadata, MetadataIndex, Schema

from vipa.recording.chunk import ChunkBuilder
from vipa.recording.summary import MAGIC, FileIndex, ending

PROFILE, LIBRARY = "ros2", "vipa"


class McapFile:
    """Writes a file; not for several threads at once.

    A write that fails (no space left, for example) raises OSError and leaves the file as it was before.

    Args:
        path: of the new file.
        compression_level: of Zstandard, for the chunks.

    Raises:
        OSError: the file exists or cannot be written.
    """

    def __init__(self, path: Path, compression_level: int = 1) -> None:
        self.path = path
        self.index = FileIndex()
        self.size = 0  # bytes on the disk
        self._chunk = ChunkBuilder(compression_level)
        self._schemas: dict[str, int] = {}
        self._sequence: dict[int, int] = {}
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._append(header())

    @property
    def pending(self) -> int:
        """Bytes of the open chunk."""
        return self._chunk.size

    def add_attachment(self, name: str, media_type: str, data: bytes, time_ns: int) -> None:
        """Write an attachment."""
        builder = RecordBuilder()
        attachment = Attachment(time_ns, time_ns, name, media_type, data)
        attachment.write(builder)
        record = builder.end()
        offset = self.size
        self._append(record)
        self.index.attachments.append(attachment_index(attachment, offset, len(record)))

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a record of names and values."""
        builder = RecordBuilder()
        Metadata(metadata=dict(values), name=name).write(builder)
        record = builder.end()
        offset = self.size
        self._append(record)
        self.index.metadata.append(MetadataIndex(length=len(record), name=name, offset=offset))

    def add_channel(self, topic: str, message_type: str, definition: str, metadata: Mapping[str, str]) -> int:
        """Write the channel of a new topic, with its schema where that is new; the channel's number."""
        builder = RecordBuilder()
        is_new = message_type not in self._schemas
        schema_id = len(self._schemas) + 1 if is_new else self._schemas[message_type]
        schema = Schema(data=definition.encode(), encoding="ros2msg", id=schema_id, name=message_type)
        channel = Channel(len(self.index.channels) + 1, topic, "cdr", dict(metadata), schema_id)
        if is_new:
            schema.write(builder)
        channel.write(builder)
        self._append(builder.end())
        if is_new:
            self._schemas[message_type], self.index.schemas[schema_id] = schema_id, schema
        self.index.channels[channel.id] = channel
        return channel.id

    def add_message(self, channel_id: int, time_ns: int, data: bytes) -> None:
        """Add a message to the open chunk."""
        sequence = self._sequence.get(channel_id, 0)
        self._sequence[channel_id] = sequence + 1
        self._chunk.add(channel_id, sequence, time_ns, data)

    def close_chunk(self) -> None:
        """Write the open chunk, if it has a message, and force everything to the disk; on failure it is lost."""
        if not self._chunk.size:
            return
        chunk = self._chunk.close(self.size)
        self._append(*chunk.head, chunk.indices)
        self.index.chunks.append(chunk.index)
        for channel_id, count in chunk.counts.items():
            self.index.counts[channel_id] = self.index.counts.get(channel_id, 0) + count
        os.fdatasync(self._descriptor)

    def finish(self) -> None:
        """Write summary and footer, force them to the disk, and close the file."""
        self._append(ending(self.index, self.size))
        os.fsync(self._descriptor)
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, *parts: bytes) -> None:
        try:
            write_all(self._descriptor, *parts)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += sum(map(len, parts))


def header() -> bytes:
    """How a file begins."""
    builder = RecordBuilder()
    Header(profile=PROFILE, library=LIBRARY).write(builder)
    return MAGIC + builder.end()


def attachment_index(attachment: Attachment, offset: int, length: int) -> AttachmentIndex:
    """What the summary says of an attachment whose record has ``length`` bytes from ``offset`` on."""
    return AttachmentIndex(
        offset=offset,
        length=length,
        log_time=attachment.log_time,
        create_time=attachment.create_time,
        data_size=len(attachment.data),
        name=attachment.name,
        media_type=attachment.media_type,
    )


def write_all(descriptor: int, *parts: bytes) -> None:
    """Write every byte of every part.

    Raises:
        OSError: not all could be written; some may have been.
    """
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]
