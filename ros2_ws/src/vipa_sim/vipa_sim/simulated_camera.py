"""A camera of the laboratory: a process of its own draws every exposure of the world and feeds the camera process.

Drawing takes whole milliseconds, and the arm's loop has one; in one process they would wait for each other's Python.
"""

import dataclasses
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from vipa.hardware.realsense import CameraIntrinsics
from vipa.lab import CameraConfig, split_address
from vipa.scheduling import DRAWING_PRIORITY, request_real_time
from vipa_sim.camera_feed import FeedServer
from vipa_sim.engine import Model
from vipa_sim.errors import SimulationError
from vipa_sim.renderer import Renderer
from vipa_sim.world import Snapshot

FAULTS = ("freeze", "drop", "duplicate", "disconnect", "restore")
START_TIME_OUT_S = 60.0
DRAW_TIME_OUT_S = 10.0
TRANSFER_TIME_OUT_S = 0.2  # a camera process that hangs does not stop the world for longer
READOUT_NS = 20_000_000  # of simulated time, from the exposure until librealsense has the frame


class SimulatedCamera:
    """Exposes the world at the camera's frame rate; the drawing happens in another process.

    Should drawing and transfer last longer than a camera's readout, the world waits: no frame is ever left out, and a
    slow machine stretches time instead of making the camera late.

    Args:
        name: key of the camera in the laboratory's YAML.
        config: the camera.

    Raises:
        SimulationError: colour and depth differ in size, which this camera cannot draw.
    """

    def __init__(self, name: str, config: CameraConfig) -> None:
        if config.device.color_size != config.device.depth_size:
            raise SimulationError(f"cameras.{name}: a simulated camera needs the same color_size and depth_size")
        self._name, self._config = name, config
        self._period_ns = round(1e9 / config.device.frame_rate)
        self._next_exposure = self._deadline = self._exposed = 0
        self._is_drawing = False
        self._textures: dict[int, int] = {}  # which revisions the process has
        self._context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = self._context.Pipe()
        self._process: BaseProcess | None = None

    def start(self, model: Model, start_ns: int) -> None:
        """Start the process; ``wait_until_ready`` waits for it.

        Args:
            model: of the world.
            start_ns: time of the first exposure.
        """
        self._next_exposure = start_ns
        arguments = (self._theirs, self._name, self._config, model)
        self._process = self._context.Process(target=_draw, args=arguments, name=f"camera {self._name}", daemon=True)
        self._process.start()
        self._theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until the camera can see.

        Raises:
            SimulationError: no off-screen OpenGL, or the feed's address is in use.
        """
        self._receive(START_TIME_OUT_S)

    def expose_if_due(self, now_ns: int, snapshot: Callable[[], Snapshot]) -> None:
        """Take the world's state when an exposure is due.

        Raises:
            SimulationError: the camera's process died.
        """
        if self._is_drawing and now_ns >= self._deadline:
            self._receive(DRAW_TIME_OUT_S)
            self._is_drawing = False
        if now_ns < self._next_exposure:
            return
        self._next_exposure += self._period_ns
        self._deadline = now_ns + READOUT_NS
        image = snapshot()
        textures = {index: t for index, t in image.textures.items() if self._textures.get(index) != t[0]}
        self._textures.update((index, revision) for index, (revision, _) in textures.items())
        self._send(("expose", now_ns, dataclasses.replace(image, textures=textures)))
        self._exposed += 1
        self._is_drawing = True

    def fault(self, kind: str, **arguments: Any) -> None:
        """Make the camera misbehave: one of ``FAULTS``, with the arguments of ``FeedServer``'s method of that name."""
        self._send((kind, arguments))

    @property
    def exposures(self) -> int:
        """Number of exposures since the start."""
        return self._exposed

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        if self._process is None:
            return
        self._process.join(timeout=5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise SimulationError(f"camera {self._name}: its process ended") from None

    def _receive(self, seconds: float) -> None:
        try:
            if not self._pipe.poll(seconds):
                raise SimulationError(f"camera {self._name}: no answer within {seconds:.0f} s")
            failure = self._pipe.recv()
        except (EOFError, OSError):
            raise SimulationError(f"camera {self._name}: its process ended") from None
        if failure is not None:
            raise SimulationError(str(failure))


def _draw(pipe: Connection, name: str, config: CameraConfig, model: Model) -> None:
    """Main function of a camera's process: draws until the pipe closes; answers each exposure with None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the laboratory ends this process by closing the pipe
    request_real_time(DRAWING_PRIORITY)
    device = config.device
    try:
        feed = FeedServer(*split_address(str(config.feed), f"cameras.{name}.feed"))
        renderer = Renderer(model, *device.color_size)
        k = renderer.intrinsics(name)
        intrinsics = CameraIntrinsics(*device.color_size, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        feed.add_camera(name, device.serial, intrinsics, frame_rate=device.frame_rate)
    except (SimulationError, ValueError, KeyError) as error:
        pipe.send(f"camera {name}: {error}")
        return
    feed.start()
    pipe.send(None)
    try:
        while True:
            kind, *arguments = pipe.recv()
            if kind in FAULTS:
                getattr(feed, kind)(name, **arguments[0])
                continue
            exposure_ns, snapshot = arguments
            renderer.update(snapshot)
            color, depth = renderer.render(name)
            feed.publish(name, exposure_ns, color, depth)
            feed.wait_until_arrived(name, TRANSFER_TIME_OUT_S)
            pipe.send(None)
    except (EOFError, OSError):
        feed.stop()
        renderer.close()
