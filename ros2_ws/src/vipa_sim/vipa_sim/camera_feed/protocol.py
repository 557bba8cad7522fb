"""What camera feed and camera process say to each other over TCP.

A client connects and sends one JSON line, ``{"serial": "f0000001"}``. The server answers with one JSON line, either the
camera's description or ``{"error": "one line"}``, and from then on sends frames: a header (``HEADER``), the colour
image (height, width, 3) uint8 RGB, the depth image (height, width) uint16 little-endian. The client answers each frame
with one byte (``ARRIVED``) when librealsense has it.
"""

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.hardware.realsense import CameraIntrinsics
from vipa_sim.errors import SimulationError

# Magic, exposure (ns), frame number, bytes of colour, bytes of depth.
HEADER = struct.Struct("<4sqIII")
MAGIC = b"L515"
ARRIVED = b"\x06"
MAX_LINE = 65_536


@dataclass(frozen=True)
class CameraDescription:
    """What a client has to know to pass itself off as the camera.

    Attributes:
        name: the camera's name in the laboratory.
        serial: its serial number.
        color: intrinsics of the colour images.
        depth: intrinsics of the depth images.
        depth_to_color: transform (4, 4) from the depth to the colour camera's optical frame, rows joined, m.
        depth_scale: m per unit of the depth images.
        frame_rate: Hz.
    """

    name: str
    serial: str
    color: CameraIntrinsics
    depth: CameraIntrinsics
    depth_to_color: tuple[float, ...]
    depth_scale: float
    frame_rate: int

    def to_line(self) -> bytes:
        """The JSON line that describes the camera."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "CameraDescription":
        """Read the JSON line.

        Raises:
            SimulationError: the server refused, or the line is no description.
        """
        try:
            values: Any = json.loads(line)
            if isinstance(values, dict) and "error" in values:
                raise SimulationError(str(values["error"]))
            return from_mapping(cls, values, "camera")
        except (ValueError, ConfigurationError):
            raise SimulationError(f"what answers is no camera feed: {line[:40]!r}") from None


def read_line(connection: socket.socket) -> bytes:
    """One line of at most ``MAX_LINE`` bytes, and not a byte more, so that frames may follow it.

    Raises:
        SimulationError: the line has no end.
        OSError: the connection broke, or timed out.
    """
    line = bytearray()
    while len(line) < MAX_LINE:
        waiting = connection.recv(4096, socket.MSG_PEEK)
        if not waiting:
            raise SimulationError("the other side closed the connection")
        end = waiting.find(b"\n") + 1
        line += connection.recv(end or len(waiting))
        if end:
            return bytes(line)
    raise SimulationError(f"a line of more than {MAX_LINE} bytes")
