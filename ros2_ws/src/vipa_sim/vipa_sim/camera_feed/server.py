"""The laboratory's side of the camera feed: serves rendered frames, never waits for a client."""

import contextlib
import json
import logging
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa.hardware.realsense import CameraIntrinsics
from vipa_sim.camera_feed.protocol import ARRIVED, HEADER, MAGIC, CameraDescription, read_line
from vipa_sim.errors import SimulationError

_log = logging.getLogger(__name__)

_HELLO_TIME_OUT_S = 2.0
_SEND_TIME_OUT_S = 5.0
_L515_DEPTH_SCALE = 0.00025


@dataclass(frozen=True)
class FeedStatistics:
    """Counters of one camera since it was added.

    Attributes:
        published: frames published.
        dropped: frames that a slow client did not get, summed over clients.
        clients: clients connected now.
    """

    published: int
    dropped: int
    clients: int


@dataclass(frozen=True, eq=False)
class _Packet:
    header: bytes
    color: NDArray[np.uint8]
    depth: NDArray[np.uint16]


class _Client:
    """One connection; its own thread sends the newest packet that is waiting."""

    def __init__(self, connection: socket.socket) -> None:
        self.dropped = 0
        self._connection = connection
        self._condition = threading.Condition()
        self._waiting: tuple[_Packet, ...] = ()
        self._on_the_way = False
        self._closed = False

    def offer(self, packets: tuple[_Packet, ...]) -> None:
        """Replace what is waiting."""
        with self._condition:
            self.dropped += len(self._waiting)
            self._waiting = packets
            self._condition.notify()

    def send_until_closed(self) -> None:
        """Send packets as they come.

        Raises:
            OSError: the client is gone or takes nothing any more.
        """
        while True:
            with self._condition:
                while not self._waiting and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
                packets, self._waiting = self._waiting, ()
                self._on_the_way = True
            for packet in packets:
                _send_all(self._connection, packet)
                if self._connection.recv(len(ARRIVED)) != ARRIVED:
                    raise OSError("the client closed the connection")
            with self._condition:
                self._on_the_way = False
                self._condition.notify_all()

    def wait_until_arrived(self, seconds: float) -> None:
        """Wait until the client has all that was offered, is gone, or ``seconds`` are over."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or not (self._waiting or self._on_the_way), timeout=seconds)

    def close(self) -> None:
        """Cut the connection; the sending thread ends."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


@dataclass(eq=False)
class _Camera:
    description: CameraDescription
    lock: threading.Lock = field(default_factory=threading.Lock)
    clients: list[_Client] = field(default_factory=list[_Client])
    published: int = 0
    dropped: int = 0
    newest: _Packet | None = None
    newest_ns: int = 0
    unplugged: bool = False
    frozen: bool = False
    silent_until_ns: int | None = None
    copies: int = 1


class FeedServer:
    """Serves the frames of every simulated camera over TCP.

    Args:
        host: address to listen on.
        port: TCP port; 0 picks a free one.

    Raises:
        SimulationError: the address is in use.
    """

    def __init__(self, host: str, port: int) -> None:
        self._cameras: dict[str, _Camera] = {}
        self._stopping = False
        self._threads: list[threading.Thread] = []
        try:
            self._listener = socket.create_server((host, port), reuse_port=False)
        except OSError as error:
            raise SimulationError(f"camera feed {host}:{port}: {error.strerror}. Stop what listens there") from None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that clients connect to."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Accept clients from now on."""
        thread = threading.Thread(target=self._accept, name="camera feed", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Disconnect every client and close the port."""
        self._stopping = True
        with contextlib.suppress(OSError):  # wakes the accepting thread
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for camera in self._cameras.values():
            self._cut(camera)
        for thread in self._threads:
            thread.join(timeout=_HELLO_TIME_OUT_S + 1.0)

    def add_camera(
        self,
        name: str,
        serial: str,
        color: CameraIntrinsics,
        depth: CameraIntrinsics | None = None,
        depth_to_color: ArrayLike | None = None,
        frame_rate: int = 30,
        depth_scale: float = _L515_DEPTH_SCALE,
    ) -> None:
        """Offer a camera to clients.

        Args:
            name: its name in the laboratory.
            serial: the serial number that clients ask for.
            color: intrinsics of the colour images.
            depth: intrinsics of the depth images; None: those of colour.
            depth_to_color: transform (4, 4) between the optical frames, m; None: identity.
            frame_rate: Hz.
            depth_scale: m per unit of the depth images.

        Raises:
            ValueError: the name or the serial number is taken, or the transform is not (4, 4).
        """
        if any(serial == c.description.serial or name == c.description.name for c in self._cameras.values()):
            raise ValueError(f"camera {name} ({serial}): its name or serial number is taken")
        transform = np.eye(4) if depth_to_color is None else np.asarray(depth_to_color, dtype=np.float64)
        if transform.shape != (4, 4):
            raise ValueError(f"camera {name}: depth_to_color has shape {transform.shape}, not (4, 4)")
        rows = tuple(float(v) for v in transform.ravel())
        description = CameraDescription(name, serial, color, depth or color, rows, depth_scale, frame_rate)
        self._cameras[name] = _Camera(description)

    def publish(self, name: str, exposure_ns: int, color: NDArray[np.uint8], depth: NDArray[np.uint16]) -> None:
        """Hand a frame to every client of the camera; returns at once.

        The arrays are sent later, from other threads: they become read-only, and belong to the feed.

        Args:
            name: the camera.
            exposure_ns: ROS time of the exposure.
            color: (H, W, 3) RGB.
            depth: (h, w), in units of the camera's depth scale.

        Raises:
            ValueError: a wrong shape or type.
            SimulationError: no such camera.
        """
        camera = self._camera(name)
        wanted = camera.description
        _check(name, "color", color, (wanted.color.height, wanted.color.width, 3), np.uint8)
        _check(name, "depth", depth, (wanted.depth.height, wanted.depth.width), np.uint16)
        with camera.lock:
            camera.published += 1
            if not camera.frozen or camera.newest is None:
                color, depth = np.ascontiguousarray(color), np.ascontiguousarray(depth)
                color.flags.writeable = depth.flags.writeable = False
                header = HEADER.pack(MAGIC, exposure_ns, camera.published, color.nbytes, depth.nbytes)
                camera.newest, camera.newest_ns = _Packet(header, color, depth), exposure_ns
            if camera.silent_until_ns is not None and exposure_ns <= camera.silent_until_ns:
                return
            packets, camera.copies = (camera.newest,) * camera.copies, 1
            for client in camera.clients:
                client.offer(packets)

    def wait_until_arrived(self, name: str, seconds: float) -> None:
        """Wait until every client has what was published, at most ``seconds``.

        Raises:
            SimulationError: no such camera.
        """
        camera = self._camera(name)
        with camera.lock:
            clients = list(camera.clients)
        for client in clients:
            client.wait_until_arrived(seconds)

    def statistics(self, name: str) -> FeedStatistics:
        """Counters of one camera.

        Raises:
            SimulationError: no such camera.
        """
        camera = self._camera(name)
        with camera.lock:
            dropped = camera.dropped + sum(c.dropped for c in camera.clients)
            return FeedStatistics(camera.published, dropped, len(camera.clients))

    def freeze(self, name: str) -> None:
        """Fault: from now on every publish repeats the newest frame, stamp and number included.

        Raises:
            SimulationError: no such camera.
        """
        self._camera(name).frozen = True

    def drop(self, name: str, seconds: float) -> None:
        """Fault: no frame for so many seconds of exposure time after the newest; frame numbers go on.

        Raises:
            SimulationError: no such camera.
        """
        camera = self._camera(name)
        with camera.lock:
            camera.silent_until_ns = camera.newest_ns + round(seconds * 1e9)

    def duplicate(self, name: str) -> None:
        """Fault: the next frame is sent twice.

        Raises:
            SimulationError: no such camera.
        """
        self._camera(name).copies = 2

    def disconnect(self, name: str) -> None:
        """Fault: the cable is out; clients are cut off and refused.

        Raises:
            SimulationError: no such camera.
        """
        camera = self._camera(name)
        camera.unplugged = True
        self._cut(camera)

    def restore(self, name: str) -> None:
        """End every fault of the camera.

        Raises:
            SimulationError: no such camera.
        """
        camera = self._camera(name)
        with camera.lock:
            camera.unplugged = camera.frozen = False
            camera.silent_until_ns = None
            camera.copies = 1

    def _camera(self, name: str) -> _Camera:
        if name not in self._cameras:
            raise SimulationError(f"no camera {name}; the laboratory has: {', '.join(self._cameras) or 'none'}")
        return self._cameras[name]

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # stop() closes the listener
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="camera feed client", daemon=True)
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                camera = self._greet(connection)
                client = _Client(connection)
                with camera.lock:
                    if self._stopping or camera.unplugged:
                        return
                    camera.clients.append(client)
                try:
                    client.send_until_closed()
                finally:
                    client.close()
                    with camera.lock:
                        camera.clients.remove(client)
                        camera.dropped += client.dropped
            except SimulationError as error:
                _log.warning("camera feed: refused a client: %s", error)
                with contextlib.suppress(OSError):
                    connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            except OSError as error:
                _log.info("camera feed: a client has gone: %s", error)

    def _greet(self, connection: socket.socket) -> _Camera:
        connection.settimeout(_HELLO_TIME_OUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        camera = self._requested(read_line(connection))
        connection.sendall(camera.description.to_line())
        # From here the kernel keeps the time: a socket with a Python time-out would be woken for every buffer's worth.
        connection.settimeout(None)
        patience = struct.pack("@ll", int(_SEND_TIME_OUT_S), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        return camera

    def _requested(self, hello: bytes) -> _Camera:
        try:
            serial = json.loads(hello)["serial"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise SimulationError('expected one JSON line {"serial": "..."}') from None
        for camera in self._cameras.values():
            if camera.description.serial == serial:
                if camera.unplugged:
                    raise SimulationError(f"camera {camera.description.name} is unplugged")
                return camera
        known = ", ".join(c.description.serial for c in self._cameras.values()) or "none"
        raise SimulationError(f"no camera with serial {str(serial)[:40]}; here: {known}")

    def _cut(self, camera: _Camera) -> None:
        with camera.lock:
            for client in camera.clients:
                client.close()


def _send_all(connection: socket.socket, packet: _Packet) -> None:
    views = [memoryview(packet.header), packet.color.data.cast("B"), packet.depth.data.cast("B")]
    while views:
        sent = connection.sendmsg(views)
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if views:
            views[0] = views[0][sent:]


def _check(name: str, stream: str, image: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    if image.shape != shape or image.dtype != dtype:
        raise ValueError(f"camera {name}: {stream} is {image.dtype}{image.shape}, expected {np.dtype(dtype)}{shape}")
