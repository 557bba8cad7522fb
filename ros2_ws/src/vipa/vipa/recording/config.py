"""What can be chosen about the recorder."""

import math
from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class RecorderConfig:
    """Times in s of the wall, sizes in bytes.

    Attributes:
        chunk_period: how long a chunk of the file may collect before it is closed and forced to the disk; what a
            killed process loses is this and the time of one write.
        chunk_size: a chunk is closed earlier when it holds as much, uncompressed.
        compression_level: of Zstandard, for whole chunks.
        jpeg_quality: of colour images, 1 to 100; 0 keeps them raw.
        queue_size: what may wait for the disk; an image that does not fit is dropped and counted.
        queue_margin: what messages other than images may use beyond ``queue_size``.
        minimum_free: with less free space on the disk, the running episode is ended.
        minimum_free_to_start: with less, no episode is started.
        write_rate: bytes per second that are written at most, on a disk that others need, too.
        reserve: space put by for the end of the file, which grows by about 2.4 kB for each second of an episode.
        longest_gap: s of ROS time without a frame of a camera after which it counts as lost.
        clock_jump: s by which ROS time may leap ahead of the wall, or step back, before it counts as a jump.
    """

    chunk_period: float = 0.1
    chunk_size: int = 16 * MEGABYTE
    compression_level: int = 1
    jpeg_quality: int = 95
    queue_size: int = 256 * MEGABYTE
    queue_margin: int = 32 * MEGABYTE
    minimum_free: int = 1000 * MEGABYTE
    minimum_free_to_start: int = 3000 * MEGABYTE
    write_rate: float = math.inf
    reserve: int = 16 * MEGABYTE
    longest_gap: float = 0.5
    clock_jump: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "chunk_period",
            "chunk_size",
            "queue_size",
            "queue_margin",
            "write_rate",
            "reserve",
            "longest_gap",
            "clock_jump",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        if self.chunk_period > 0.25:
            raise ValueError(f"chunk_period: {self.chunk_period} s is more than the 0.25 s that a crash may cost")
        if not 0 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality: {self.jpeg_quality} is not between 0 and 100")
        if not 1 <= self.compression_level <= 22:
            raise ValueError(f"compression_level: {self.compression_level} is not between 1 and 22")
        if not 0 <= self.minimum_free <= self.minimum_free_to_start:
            raise ValueError("minimum_free: must be positive, and at most minimum_free_to_start")
