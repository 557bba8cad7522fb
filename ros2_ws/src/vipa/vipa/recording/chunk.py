"""One chunk of an MCAP file: compressed while it is collected, so that closing it takes no time."""

import struct
import zlib
from dataclasses import dataclass

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import ChunkIndex, MessageIndex

COMPRESSION = "zstd"
RECORD = struct.Struct("<BQ")  # opcode, length
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time: what stands before a message's data
_MESSAGE_RECORD = struct.Struct("<BQHIQQ")
_CHUNK = struct.Struct("<QQQII")  # start, end, uncompressed size and CRC-32, length of the compression's name
_LENGTH = struct.Struct("<Q")
Entries = dict[int, list[tuple[int, int]]]  # per channel: log time (ns) and offset in the chunk of each message


@dataclass(frozen=True)
class ClosedChunk:
    """A chunk as it goes into the file.

    Attributes:
        head: its record, in parts, so that nothing is copied; empty where it is in the file already.
        indices: what follows it: where each of its messages is.
        index: its entry in the file's summary.
        counts: messages of each channel.
    """

    head: tuple[bytes, ...]
    indices: bytes
    index: ChunkIndex
    counts: dict[int, int]


class ChunkBuilder:
    """Collects messages.

    Args:
        level: of Zstandard's compression.
    """

    def __init__(self, level: int) -> None:
        self._zstandard = zstandard.ZstdCompressor(level=level)
        self._begin()

    @property
    def size(self) -> int:
        """Bytes collected, uncompressed."""
        return self._size

    def add(self, channel_id: int, sequence: int, time_ns: int, data: bytes) -> None:
        """Add a message; its publish time is its log time."""
        self._entries.setdefault(channel_id, []).append((time_ns, self._size))
        length = MESSAGE.size + len(data)
        record = _MESSAGE_RECORD.pack(Opcode.MESSAGE, length, channel_id, sequence, time_ns, time_ns)
        for part in (record, data):
            self._crc = zlib.crc32(part, self._crc)
            self._size += len(part)
            self._parts.append(self._compressor.compress(part))

    def close(self, offset: int) -> ClosedChunk:
        """The chunk for a file that is ``offset`` bytes long, and an empty builder; call only if it has a message."""
        data = [part for part in (*self._parts, self._compressor.flush()) if part]
        compressed = sum(map(len, data))
        start, end = time_span(self._entries)
        name = COMPRESSION.encode()
        head = _CHUNK.pack(start, end, self._size, self._crc, len(name)) + name + _LENGTH.pack(compressed)
        record = RECORD.pack(Opcode.CHUNK, len(head) + compressed) + head
        closed = close_chunk((record, *data), compressed, self._size, COMPRESSION, self._entries, offset)
        self._begin()
        return closed

    def _begin(self) -> None:
        self._compressor = self._zstandard.compressobj()
        self._parts: list[bytes] = []
        self._entries: Entries = {}
        self._crc = self._size = 0


def close_chunk(
    head: tuple[bytes, ...], compressed: int, uncompressed: int, compression: str, entries: Entries, offset: int
) -> ClosedChunk:
    """What follows a chunk, and what the summary says of it.

    Args:
        head: the chunk's record; empty where it is in the file already.
        compressed, uncompressed: bytes of its messages.
        compression: how they are compressed.
        entries: its messages.
        offset: where in the file the chunk begins.
    """
    length = RECORD.size + _CHUNK.size + len(compression) + _LENGTH.size + compressed
    indices = RecordBuilder()
    offsets: dict[int, int] = {}
    for channel_id, places in entries.items():
        offsets[channel_id] = offset + length + indices.count
        MessageIndex(channel_id, places).write(indices)
    content = indices.end()
    start, end = time_span(entries)
    index = ChunkIndex(
        chunk_length=length,
        chunk_start_offset=offset,
        compression=compression,
        compressed_size=compressed,
        message_end_time=end,
        message_index_length=len(content),
        message_index_offsets=offsets,
        message_start_time=start,
        uncompressed_size=uncompressed,
    )
    return ClosedChunk(head, content, index, {channel_id: len(places) for channel_id, places in entries.items()})


def time_span(entries: Entries) -> tuple[int, int]:
    """Earliest and latest log time, ns; zeros where there is no message."""
    times = [time for places in entries.values() for time, _ in places]
    return min(times, default=0), max(times, default=0)
