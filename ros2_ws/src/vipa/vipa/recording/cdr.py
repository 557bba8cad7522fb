"""The few ROS messages that the recorder reads or makes itself, in their wire format: CDR, little endian.

The format is that of DDS-XTypes 1.3, section 7.4 ("plain CDR"): four bytes that name the encoding, then the fields in
order, each aligned to its own size counted from the end of those four bytes.
"""

import struct
from dataclasses import dataclass

ENCAPSULATION = b"\x00\x01\x00\x00"
_START = len(ENCAPSULATION)
_NANOSECONDS = 1_000_000_000
Bytes = bytes | bytearray | memoryview


class CdrError(ValueError):
    """A payload that is not what it should be."""


@dataclass(frozen=True)
class ImageMessage:
    """A sensor_msgs/Image; ``data`` is a view of the payload."""

    stamp_ns: int
    frame_id: str
    height: int
    width: int
    encoding: str
    step: int  # bytes of one row
    data: memoryview


class CdrReader:
    """Reads fields in order.

    Raises:
        CdrError: the payload is not little-endian CDR, or it ends too early.
    """

    def __init__(self, payload: Bytes) -> None:
        self._view = memoryview(payload)
        self._offset = _START
        if len(self._view) < _START or self._view[1] != 1:
            raise CdrError("no plain little-endian CDR")

    def unsigned(self) -> int:
        """A uint32."""
        return self._number("<I", 4)

    def signed(self) -> int:
        """An int32."""
        return self._number("<i", 4)

    def byte(self) -> int:
        """A uint8."""
        return self._number("<B", 1)

    def string(self) -> str:
        """A string."""
        return bytes(self._take(self.unsigned())).rstrip(b"\0").decode(errors="replace")

    def octets(self) -> memoryview:
        """A sequence of uint8."""
        return self._take(self.unsigned())

    def stamp_ns(self) -> int:
        """A builtin_interfaces/Time, ns."""
        return self.signed() * _NANOSECONDS + self.unsigned()

    def _number(self, layout: str, size: int) -> int:
        self._offset += -(self._offset - _START) % size
        try:
            (value,) = struct.unpack_from(layout, self._view, self._offset)
        except struct.error:
            raise CdrError(f"ends before byte {self._offset + size}") from None
        self._offset += size
        return int(value)

    def _take(self, length: int) -> memoryview:
        taken = self._view[self._offset : self._offset + length]
        if len(taken) < length:
            raise CdrError(f"ends before byte {self._offset + length}")
        self._offset += length
        return taken


class CdrWriter:
    """Collects fields in order; ``payload`` is the message."""

    def __init__(self) -> None:
        self._buffer = bytearray(ENCAPSULATION)

    @property
    def payload(self) -> bytes:
        """The message so far."""
        return bytes(self._buffer)

    def unsigned(self, value: int) -> "CdrWriter":
        """Add a uint32."""
        return self._aligned(struct.pack("<I", value), 4)

    def byte(self, value: int) -> "CdrWriter":
        """Add a uint8."""
        return self._aligned(struct.pack("<B", value), 1)

    def string(self, text: str) -> "CdrWriter":
        """Add a string."""
        return self.octets(text.encode() + b"\0")

    def octets(self, content: Bytes) -> "CdrWriter":
        """Add a sequence of uint8."""
        view = memoryview(content).cast("B")
        self.unsigned(len(view))
        self._buffer += view
        return self

    def doubles(self, values: tuple[float, ...]) -> "CdrWriter":
        """Add a sequence of float64."""
        self.unsigned(len(values))
        if values:
            self._aligned(struct.pack(f"<{len(values)}d", *values), 8)
        return self

    def header(self, stamp_ns: int, frame_id: str = "") -> "CdrWriter":
        """Add a std_msgs/Header."""
        seconds, nanoseconds = divmod(stamp_ns, _NANOSECONDS)
        self._aligned(struct.pack("<iI", seconds, nanoseconds), 4)
        return self.string(frame_id)

    def _aligned(self, content: bytes, size: int) -> "CdrWriter":
        self._buffer += bytes(-(len(self._buffer) - _START) % size)
        self._buffer += content
        return self


def read_image(payload: Bytes) -> ImageMessage:
    """A sensor_msgs/Image, without a copy of its pixels.

    Raises:
        CdrError: it is none.
    """
    reader = CdrReader(payload)
    stamp_ns, frame_id = reader.stamp_ns(), reader.string()
    height, width, encoding = reader.unsigned(), reader.unsigned(), reader.string()
    reader.byte()  # is_bigendian
    step, data = reader.unsigned(), reader.octets()
    if len(data) != height * step:
        raise CdrError(f"{len(data)} bytes of pixels for {height} rows of {step} bytes")
    return ImageMessage(stamp_ns, frame_id, height, width, encoding, step, data)


def image_payload(stamp_ns: int, frame_id: str, shape: tuple[int, int], encoding: str, data: Bytes) -> bytes:
    """A sensor_msgs/Image of ``shape`` (height, width) whose rows have no padding."""
    pixels = memoryview(data).cast("B")
    writer = CdrWriter().header(stamp_ns, frame_id).unsigned(shape[0]).unsigned(shape[1]).string(encoding).byte(0)
    return writer.unsigned(len(pixels) // shape[0]).octets(pixels).payload


def compressed_image_payload(image: ImageMessage, image_format: str, data: Bytes) -> bytes:
    """A sensor_msgs/CompressedImage with the header of ``image``."""
    return CdrWriter().header(image.stamp_ns, image.frame_id).string(image_format).octets(data).payload


def event_payload(stamp_ns: int, trial: str, event: str, sub_task: str, detail: str) -> bytes:
    """A vipa_msgs/TrialEvent."""
    return CdrWriter().header(stamp_ns).string(trial).string(event).string(sub_task).string(detail).payload
