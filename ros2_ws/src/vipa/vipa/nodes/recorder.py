"""Recorder node: episodes into a folder, led by /recorder/command.

Messages are taken as they came over the wire and handed to the writer's thread; none is deserialised here.
"""

import dataclasses
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from vipa_msgs.msg import Heartbeat, RecorderState, TrialEvent
from vipa_msgs.srv import RecorderCommand

from vipa.config import from_mapping
from vipa.environment import repository_folder
from vipa.errors import VipaError
from vipa.nodes.base import FRAMES, LATCHED, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node, take_messages
from vipa.nodes.messages import to_time
from vipa.policy_options import read_policy_options
from vipa.recording.config import RecorderConfig
from vipa.recording.recorder import Recorder
from vipa.recording.snapshot import lab_snapshot
from vipa.recording.store import RecordingStore
from vipa.recording.topics import Topic, recorded_topics
from vipa.scheduling import LISTENER_PRIORITY

STATES = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
STATE_PERIOD_S = 0.5


class RecorderNode(ManagedNode):
    """Publishes /recorder/state and /recorder/events; serves /recorder/command.

    Nobody has to lead it through its life cycle, and it never keeps the robot from moving: it configures and activates
    itself, unless the parameter ``autostart`` is false.
    """

    def __init__(self) -> None:
        super().__init__("recorder", period_s=0.01)
        self.declare_parameter("recordings", "")
        self.declare_parameter("options", "")
        self.declare_parameter("begin", "")
        self.declare_parameter("autostart", True)
        self._begin = str(self.get_parameter("begin").value)
        self._recorder: Recorder | None = None
        self._subscriptions_raw: dict[Topic, Any] = {}
        self._next_state = 0.0
        self._events = self.create_publisher(TrialEvent, "/recorder/events", RELIABLE)
        self._states = self.create_publisher(RecorderState, "/recorder/state", LATCHED)
        self.create_service(RecorderCommand, "/recorder/command", self._on_command)
        if self.get_parameter("autostart").value:
            self.autostart()

    def configure(self) -> None:
        """Take the folder, complete what a crash cut off, and subscribe."""
        text = str(self.get_parameter("recordings").value)
        folder = Path(text).expanduser() if text else repository_folder() / "recordings"
        config = from_mapping(RecorderConfig, read_policy_options(str(self.get_parameter("options").value)))
        lab = str(self.get_parameter("lab").value)
        attachments = lab_snapshot(lab, dataclasses.asdict(config))
        topics = recorded_topics(self.lab)
        store = RecordingStore(folder)
        try:
            recovery = store.recover()
            for problem in recovery.problems:
                self.get_logger().error(problem)
            for recovered in recovery.recovered:
                episode = recovered.episode
                self.get_logger().warning(
                    f"{episode.name} had been cut off and was completed: {episode.messages} messages in "
                    f"{episode.duration:.1f} s; {recovered.removed} bytes of a torn chunk were removed"
                )
            self._recorder = Recorder(store, topics, config, attachments)
        except VipaError:
            store.close()
            raise
        self._subscriptions_raw = {topic: self._subscribe(topic) for topic in topics}
        self.get_logger().info(f"recorder: episodes go to {folder}")

    def step(self) -> None:
        """Hand over what has arrived; watch over the episode."""
        recorder = self._recorder
        if recorder is None:
            return
        wall, now_ns = time.monotonic(), self.clock.now_ns()
        if self._begin and self.active and now_ns > 0:
            self._begin_by_itself()
        for topic, subscription in self._subscriptions_raw.items():
            if recorder.recording or topic.latched:
                for payload in take_messages(subscription, raw=True):
                    recorder.put(topic, payload, now_ns)
        recorder.step(now_ns, wall)
        self._tell(recorder)

    def _begin_by_itself(self) -> None:
        """Start the episode of the parameter ``begin``, once."""
        answer = self._obey("start", "", self._begin)
        self._begin = ""
        if isinstance(answer, VipaError):
            self.get_logger().error(str(answer))

    def deactivate(self) -> None:
        """End a running episode."""
        if self._recorder is not None and self._recorder.recording:
            self._recorder.stop("", self.clock.now_ns())

    def cleanup(self) -> None:
        """Let another recorder use the folder."""
        if self._recorder is not None:
            self._recorder.close(self.clock.now_ns())
            self._recorder = None
        for subscription in self._subscriptions_raw.values():
            self.destroy_subscription(subscription)
        self._subscriptions_raw = {}

    def _subscribe(self, topic: Topic) -> Any:
        package, _, name = topic.type.partition("/msg/")
        message_type = getattr(importlib.import_module(f"{package}.msg"), name)
        qos = LATCHED if topic.latched else RELIABLE_DEEP if topic.reliable else FRAMES if topic.is_image else STATES
        return self.polled(message_type, topic.name, qos)

    # -- telling -----------------------------------------------------------------------------------------------------
    def _tell(self, recorder: Recorder) -> None:
        events = recorder.take_events()
        for event in events:
            sub_task, detail = (event.text, "") if event.kind == "sub_task" else ("", event.text)
            message = TrialEvent(trial=event.episode, event=event.kind, sub_task=sub_task, detail=detail)
            message.header.stamp = to_time(event.time_ns)
            self._events.publish(message)
            line = " ".join(word for word in (f"{event.episode}:", event.kind, event.text) if word)
            if event.kind == "warning":
                self.report(Heartbeat.WARN, line)
            else:
                self.get_logger().info(line)
                if event.kind == "started":
                    self.report(Heartbeat.OK, "")
        if events or time.monotonic() >= self._next_state:
            self._next_state = time.monotonic() + STATE_PERIOD_S
            self._publish_state(recorder)

    def _publish_state(self, recorder: Recorder) -> None:
        status = recorder.status()
        message = RecorderState(
            recording=status.recording,
            folder=str(status.folder),
            episode=status.episode,
            instruction=status.instruction,
            outcome=status.outcome,
            duration=status.duration,
            messages=status.messages,
            frames=status.frames,
            dropped=status.dropped,
            file_size=status.file_size,
            free_space=status.free_space,
            warnings=list(status.warnings),
        )
        message.header.stamp = to_time(self.clock.now_ns())
        self._states.publish(message)

    # -- service /recorder/command -----------------------------------------------------------------------------------
    def _on_command(self, request: Any, response: Any) -> Any:
        answer = self.in_main(lambda: self._obey(str(request.command), str(request.kind), str(request.text)))
        if isinstance(answer, VipaError):
            response.success, response.message = False, str(answer)
        else:
            response.success, (response.episode, response.message) = True, answer
        return response

    def _obey(self, command: str, kind: str, text: str) -> tuple[str, str] | VipaError:
        """The episode and what was done with it, or what went wrong."""
        commands: dict[str, Callable[[Recorder, str, str], tuple[str, str]]] = {
            "start": self._start,
            "stop": self._stop,
            "discard": self._discard,
            "mark": self._mark,
        }
        if command not in commands:
            return VipaError(f"recorder: command {command!r} is none of {', '.join(commands)}")
        if self._recorder is None or not self.active:
            return VipaError("recorder: not active yet; see its heartbeat for the reason")
        try:
            return commands[command](self._recorder, kind, text)
        except VipaError as error:
            return error

    def _start(self, recorder: Recorder, _kind: str, text: str) -> tuple[str, str]:
        for topic, subscription in self._subscriptions_raw.items():
            if not topic.latched:
                take_messages(subscription, raw=True)  # from before the episode
        return recorder.start(text, self.clock.now_ns()), "recording"

    def _stop(self, recorder: Recorder, kind: str, _text: str) -> tuple[str, str]:
        episode = recorder.stop(kind, self.clock.now_ns())
        line = f"{episode.messages} messages, {sum(episode.frames.values())} frames in {episode.duration:.1f} s"
        return episode.name, "; ".join((line, *episode.warnings))

    def _discard(self, recorder: Recorder, _kind: str, text: str) -> tuple[str, str]:
        return recorder.discard(text, self.clock.now_ns()), "discarded"

    def _mark(self, recorder: Recorder, kind: str, text: str) -> tuple[str, str]:
        recorder.mark(kind, text, self.clock.now_ns())
        return recorder.status().episode, " ".join(("marked", kind, text)).strip()


def main() -> int:
    """Run the node."""
    cv2.setNumThreads(1)  # JPEG is made in one thread; more would only take the cores from other nodes
    return run_node(RecorderNode, LISTENER_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
