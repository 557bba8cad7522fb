"""The hands of a person in a web XR headset, through vuer: the page that the headset opens streams their joints.

The server listens on this computer only. A headset on a USB cable reaches it with ``adb reverse tcp:8012 tcp:8012`` as
http://localhost:8012, which WebXR takes for secure without a certificate.
"""

import asyncio
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from vuer import Vuer
from vuer.schemas import Hands

from vipa.errors import HardwareError
from vipa.teleop.command import TeleopCommand
from vipa.teleop.hand_skeleton import JOINTS, Side, SkeletonConfig, hand_values, is_hand, pinch_distance
from vipa.teleop.retargeting import DexRetargeting

Array = NDArray[np.float64]
HOST = "127.0.0.1"
_START_S, _UPLINK_S = 5.0, 0.02
_XR_TO_BASE = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""WebXR has x right, y up, z backwards; the base frame x forward, y left, z up."""


@dataclass(frozen=True)
class XrConfig:
    """Which hand drives, and how the other one, by pinching thumb and index finger, is the clutch.

    Attributes:
        port: of the page.
        hand: the one that the robot follows.
        heading: rad, about the vertical: where the operator looks, seen from the robot's x axis.
        pinch_closed, pinch_open: m between the tips of the other hand at which the clutch closes and opens.
        skeleton: open and closed angles of the operator's hand.
        retargeting, urdf_folder: a configuration of dex-retargeting to use instead, and where its URDF is.
    """

    port: int = 8012
    hand: Side = "right"
    heading: float = 0.0
    pinch_closed: float = 0.02
    pinch_open: float = 0.035
    skeleton: SkeletonConfig = field(default_factory=SkeletonConfig)
    retargeting: Path | None = None
    urdf_folder: Path = Path()

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port: {self.port} is not between 1 and 65535")
        if not 0.0 < self.pinch_closed < self.pinch_open:
            raise ValueError("pinch_closed: must be positive and less than pinch_open")


class HandTracker:
    """Makes commands of what vuer's event HAND_MOVE holds."""

    def __init__(self, config: XrConfig) -> None:
        self._config = config
        self._closed = False
        self._retargeting = None
        if config.retargeting is not None:
            self._retargeting = DexRetargeting(config.retargeting.expanduser(), config.urdf_folder.expanduser())
        cosine, sine = np.cos(config.heading), np.sin(config.heading)
        turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        self._to_base = turn @ _XR_TO_BASE

    def command(self, value: object, now_ns: int) -> TeleopCommand | None:
        """The command of an event's value; None where the driving hand is not tracked.

        Args:
            value: "left" and "right": 25 poses each, column by column, in the headset's frame.
            now_ns: when it arrived.
        """
        hands: dict[Any, Any] = value if isinstance(value, dict) else {}
        side = self._config.hand
        poses, others = _poses(hands.get(side)), _poses(hands.get("left" if side == "right" else "right"))
        if others is None:
            self._closed = False
        else:
            limit = self._config.pinch_open if self._closed else self._config.pinch_closed
            self._closed = pinch_distance(others[:, :3, 3]) < limit
        if poses is None:
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self._to_base @ poses[0, :3, :3], self._to_base @ poses[0, :3, 3]
        points = poses[:, :3, 3]
        if self._retargeting is not None:
            hand = self._retargeting.hand_values((points - points[0]) @ poses[0, :3, :3])
        else:
            hand = hand_values(points, side, self._config.skeleton)
        return TeleopCommand(now_ns, self._closed, pose=pose, hand=hand)


class XrSource:
    """The page, and the newest hands that it sent.

    Raises:
        HardwareError: the port is taken.
    """

    def __init__(self, config: XrConfig) -> None:
        self._tracker = HandTracker(config)
        self._newest: tuple[object, float] | None = None  # value of an event, and when it came
        self._lock = threading.Lock()
        self._folder = TemporaryDirectory(prefix="vipa-xr-")  # vuer serves files of a folder: an empty one
        self._loop = asyncio.new_event_loop()
        self._trouble = ""
        url = f"http://localhost:{config.port}"
        self._server = Vuer(host=HOST, port=config.port, cors=url, domain=url, workspace=self._folder.name, queue_len=4)
        self._guard(config.port)
        self._server.uplink = self._uplink
        self._server.add_handler("HAND_MOVE")(self._take)
        self._server.spawn(self._session)
        _require_free(config.port)
        self._thread = threading.Thread(target=self._serve, name="xr", daemon=True)
        self._thread.start()
        self._wait_until_served(config.port)
        self.help = (
            f"in the headset open {url} (over USB: adb reverse tcp:{config.port} tcp:{config.port}) and enter XR; "
            "pinch with the other hand to move (clutch)"
        )
        self.finished = False

    def read(self, now_ns: int, hand: Array) -> TeleopCommand | None:
        """The command of the newest event."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        return self._tracker.command(newest[0], now_ns - round((time.monotonic() - newest[1]) * 1e9))

    def close(self) -> None:
        """End the server."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        self._folder.cleanup()

    # -- in the thread of the server ---------------------------------------------------------------------------------
    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._server.start()
        except OSError as error:
            self._trouble = error.strerror or str(error)

    async def _take(self, event: Any, _session: Any) -> None:
        with self._lock:
            self._newest = event.value, time.monotonic()

    async def _session(self, session: Any) -> None:
        _ = session.upsert @ Hands(stream=True, key="hands")
        await session.forever()

    async def _uplink(self, session: Any) -> None:
        """Send what is waiting for a headset; vuer's own loop asks without a pause and takes a whole core."""
        number = session.CURRENT_WS_ID
        while number in self._server.ws:
            while session.uplink_queue:
                await self._server.send(number, event_bytes=session.uplink_queue.popleft())
            await asyncio.sleep(_UPLINK_S)

    def _guard(self, port: int) -> None:
        """Only the page itself may connect: no other web page that the operator has open, nor any other path."""
        hosts = {f"localhost:{port}", f"{HOST}:{port}"}
        origins = {None, *(f"http://{host}" for host in hosts)}

        @web.middleware
        async def guard(request: Any, handler: Any) -> Any:
            known = request.headers.get("Host") in hosts and request.headers.get("Origin") in origins
            if not known or not (request.path == "/" or request.path.startswith("/assets/")):
                raise web.HTTPForbidden
            return await handler(request)

        self._server.app.middlewares.append(guard)

    def _wait_until_served(self, port: int) -> None:
        deadline = time.monotonic() + _START_S
        while self._thread.is_alive() and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.05)
        raise HardwareError(f"teleop xr: cannot serve on port {port}: {self._trouble or 'no answer'}")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise HardwareError(f"teleop xr: port {port}: {error.strerror}; choose another with port") from None


def _poses(values: Any) -> Array | None:
    """The poses (25, 4, 4) of a hand; None where it is not tracked or it is no hand."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if numbers.shape != (JOINTS * 16,):
        return None
    poses = numbers.reshape(JOINTS, 4, 4).transpose(0, 2, 1)
    return poses if is_hand(poses[:, :3, 3]) else None
