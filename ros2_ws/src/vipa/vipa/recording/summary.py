"""What the end of an MCAP file says of the rest: schemas, channels, statistics, and where everything is.

Layouts of records are those of the MCAP specification 1.0, written by the package ``mcap``. Its own ``Writer`` can
flush a chunk, but it can neither finish a file that another process began, nor go back to the last whole record when a
write fails; so the file's index is kept here, for the recorder and for recovery alike.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    AttachmentIndex,
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"
_FOOTER_SIZE = 9 + 20  # bytes
END_SIZE = _FOOTER_SIZE + len(MAGIC)  # of a finished file, after its summary


@dataclass
class FileIndex:
    """What is in the data section of a file."""

    schemas: dict[int, Schema] = field(default_factory=dict[int, Schema])
    channels: dict[int, Channel] = field(default_factory=dict[int, Channel])
    chunks: list[ChunkIndex] = field(default_factory=list[ChunkIndex])
    attachments: list[AttachmentIndex] = field(default_factory=list[AttachmentIndex])
    metadata: list[MetadataIndex] = field(default_factory=list[MetadataIndex])
    counts: dict[int, int] = field(default_factory=dict[int, int])  # messages of each channel

    @property
    def message_count(self) -> int:
        """Messages of all channels."""
        return sum(self.counts.values())

    @property
    def start_ns(self) -> int:
        """Earliest time of a message, 0 where there is none."""
        return min((chunk.message_start_time for chunk in self.chunks), default=0)

    @property
    def end_ns(self) -> int:
        """Latest time of a message, 0 where there is none."""
        return max((chunk.message_end_time for chunk in self.chunks), default=0)

    def topic_count(self, topic: str) -> int:
        """Messages of one topic."""
        return sum(self.counts.get(channel.id, 0) for channel in self.channels.values() if channel.topic == topic)


def ending(index: FileIndex, offset: int) -> bytes:
    """The end of a file whose data section ends at ``offset``: DataEnd, summary, footer and magic."""
    builder = RecordBuilder()
    DataEnd(data_section_crc=0).write(builder)
    data_end = builder.end()
    start = offset + len(data_end)
    offsets: list[SummaryOffset] = []
    for opcode, records in _groups(index):
        group_start = start + builder.count
        for record in records:
            record.write(builder)
        if records:
            offsets.append(SummaryOffset(opcode, group_start, start + builder.count - group_start))
    offset_start = start + builder.count
    for record in offsets:
        record.write(builder)
    summary = builder.end()
    checked = summary + struct.pack("<BQQQ", Opcode.FOOTER, _FOOTER_SIZE - 9, start, offset_start)
    Footer(summary_start=start, summary_offset_start=offset_start, summary_crc=zlib.crc32(checked)).write(builder)
    return data_end + summary + builder.end() + MAGIC


def _groups(index: FileIndex) -> tuple[tuple[int, Sequence[McapRecord]], ...]:
    statistics = Statistics(
        attachment_count=len(index.attachments),
        channel_count=len(index.channels),
        channel_message_counts=index.counts,
        chunk_count=len(index.chunks),
        message_count=index.message_count,
        message_end_time=index.end_ns,
        message_start_time=index.start_ns,
        metadata_count=len(index.metadata),
        schema_count=len(index.schemas),
    )
    return (
        (Opcode.SCHEMA, list(index.schemas.values())),
        (Opcode.CHANNEL, list(index.channels.values())),
        (Opcode.STATISTICS, [statistics]),
        (Opcode.CHUNK_INDEX, index.chunks),
        (Opcode.ATTACHMENT_INDEX, index.attachments),
        (Opcode.METADATA_INDEX, index.metadata),
    )
