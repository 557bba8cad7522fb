"""Console node: the operator's web page, with everything that it shows and asks for.

It never keeps the robot from moving, and moves nothing by itself: what an operator asks for goes to the supervisor, the
recorder, the policy or the trial, as the commands of ``vipa`` do.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from sensor_msgs.msg import Image

from vipa.console.admission import TOKEN_VARIABLE
from vipa.console.cell_view import CellView
from vipa.console.episodes import EpisodeList
from vipa.console.pictures import live_picture
from vipa.console.requests import Reply, Request
from vipa.errors import ConfigurationError
from vipa.nodes.base import LATEST, ManagedNode, run_node, take_messages
from vipa.nodes.cell_services import CellServices
from vipa.nodes.cell_watch import CellWatch
from vipa.scheduling import OPERATOR_PRIORITY, let_others_first
from vipa.trials.referee import OPERATOR_TASKS
from vipa_inference.policy import PolicyError
from vipa_inference.serving.authentication import read_token

if TYPE_CHECKING:
    from vipa.console.server_thread import ServerThread

STEP_PERIOD_S = 0.05
STATE_PERIOD_S = 0.2
EPISODES_PERIOD_S = 1.0
NICENESS = 10  # of what makes pictures and reads the disk, beyond that of the process


class ConsoleNode(ManagedNode):
    """Serves the page at the laboratory's ``console`` address; nobody has to lead it through its life cycle."""

    def __init__(self) -> None:
        super().__init__("console", STEP_PERIOD_S)
        self.declare_parameter("task", "")
        self.declare_parameter("names_policy", True)
        self._view = CellView()
        self._watch = CellWatch(self, self._view, bool(self.get_parameter("names_policy").value))
        self._cell = CellServices(self)
        self._episodes = EpisodeList()
        self._thread: ServerThread | None = None
        self._cameras: dict[str, Any] = {}  # subscriptions, while a page is open
        self._encoder = ThreadPoolExecutor(1, "encoder", let_others_first, (NICENESS,))
        self._disk = ThreadPoolExecutor(1, "disk", let_others_first, (NICENESS,))
        self._encoding: dict[str, Future[None]] = {}
        self._listing: Future[None] | None = None
        self._next_state = self._next_episodes = 0.0
        self._next_frame: dict[str, float] = {}
        self._actions: dict[str, Callable[[Request], Awaitable[Reply]]] = {
            "stop": lambda request: self._cell.stop(),
            "reset": lambda request: self._cell.reset(*self._view.errors),
            "instruct": lambda request: self._cell.instruct(request.fields["text"], self._view),
            "record_start": lambda r: self._cell.record("start", "", r.fields["text"]),
            "record_stop": lambda r: self._cell.record("stop", r.fields["kind"], ""),
            "record_discard": lambda r: self._cell.record("discard", "", r.fields["text"]),
            "mark": lambda r: self._cell.record("mark", r.fields["kind"], r.fields["text"]),
            "answer": self._answer,
        }
        self.autostart()

    def configure(self) -> None:
        """Listen."""
        try:
            from vipa.console.server import ConsoleServer
            from vipa.console.server_thread import ServerThread
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"console: package {error.name} is missing; pip install '.[console]'") from None
        config = self.lab.console
        try:
            token = read_token(config.token_file, TOKEN_VARIABLE)
        except PolicyError as error:
            raise ConfigurationError(f"console: {error}") from None
        task = str(self.get_parameter("task").value)
        sub_tasks = OPERATOR_TASKS[task].sub_tasks if task in OPERATOR_TASKS else ()
        hello = {"lab": self.lab.name, "cameras": list(self.lab.cameras), "task": task, "sub_tasks": list(sub_tasks)}
        server = ConsoleServer(config, token, hello, self._perform, self._thumbnail)
        thread = ServerThread(server)
        thread.start()
        self._thread = thread
        access = "with its token" if token else "without a token"
        self.get_logger().info(f"console: {config.address} (port {server.port}), {access}")

    def step(self) -> None:
        """Collect what the cell says, and pass it on while a page is open."""
        now = time.monotonic()
        if now >= self._next_state:
            self._next_state = now + STATE_PERIOD_S
            self._watch.collect()
            self._cell.see_instruction(self._view.instruction)
            self._tell(now)
        self._take_frames(now)

    def cleanup(self) -> None:
        """Stop listening."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        self._follow_cameras(False)

    # -- telling -----------------------------------------------------------------------------------------------------
    def _tell(self, now: float) -> None:
        if self._thread is None or not self._thread.server.pages:
            return
        self._thread.call(self._thread.server.publish, "state", self._view.snapshot(now))
        if now >= self._next_episodes and (self._listing is None or self._listing.done()):
            self._next_episodes = now + EPISODES_PERIOD_S
            folder = str(self._view.latest("recorder").get("folder", ""))
            if folder:
                self._listing = self._disk.submit(self._list_episodes, self._thread, Path(folder))

    def _list_episodes(self, thread: "ServerThread", folder: Path) -> None:
        thread.call(thread.server.publish, "episodes", {"folder": str(folder), "list": self._episodes.read(folder)})

    def _take_frames(self, now: float) -> None:
        thread = self._thread
        self._follow_cameras(thread is not None and thread.server.pages > 0)
        if thread is None:
            return
        for name in thread.server.awaited & self._cameras.keys():
            is_encoding = name in self._encoding and not self._encoding[name].done()
            if now < self._next_frame.get(name, 0.0) or is_encoding:
                continue
            payloads = take_messages(self._cameras[name], raw=True)
            if payloads:
                self._next_frame[name] = now + 1.0 / self.lab.console.camera_rate - 0.5 * STEP_PERIOD_S
                self._encoding[name] = self._encoder.submit(self._encode, thread, name, payloads[-1])

    def _encode(self, thread: "ServerThread", name: str, payload: bytes) -> None:
        config = self.lab.console
        jpeg = live_picture(payload, config.camera_width, config.jpeg_quality)
        if jpeg:
            thread.call(thread.server.publish_frame, name, jpeg)

    def _follow_cameras(self, is_wanted: bool) -> None:
        """Subscribe to the cameras only while somebody looks: their frames cost memory bandwidth."""
        if is_wanted and not self._cameras:
            topics = {name: f"/camera/{name}/color/image_raw" for name in self.lab.cameras}
            self._cameras = {name: self.polled(Image, topic, LATEST) for name, topic in topics.items()}
        elif not is_wanted and self._cameras:
            for subscription in self._cameras.values():
                self.destroy_subscription(subscription)
            self._cameras = {}

    # -- requests, in the server's event loop ------------------------------------------------------------------------
    async def _perform(self, request: Request) -> Reply:
        reply = await self._actions[request.action](request)
        words = " ".join((request.action, *(text for text in request.fields.values() if text)))
        self.get_logger().info(f"{words}: {'done' if reply.success else 'refused'}: {reply.message}")
        return reply

    async def _answer(self, request: Request) -> Reply:
        fields = request.fields
        return self._cell.answer(fields["trial"], fields["sub_task"], fields["kind"], fields["text"])

    async def _thumbnail(self, episode: str) -> bytes:
        return await asyncio.wrap_future(self._disk.submit(self._episodes.picture, episode))


def main() -> int:
    """Run the node."""
    cv2.setNumThreads(1)  # a picture is made in one thread; more would only take the cores from other nodes
    return run_node(ConsoleNode, OPERATOR_PRIORITY)  # a stop must not wait behind other work


if __name__ == "__main__":
    sys.exit(main())
