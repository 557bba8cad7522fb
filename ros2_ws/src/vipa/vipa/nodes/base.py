"""What every managed node shares: lifecycle, one main thread, fine clock, heartbeat, clean exit."""

import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from vipa_msgs.msg import Heartbeat, SupervisorState

from vipa.errors import VipaError
from vipa.lab import LabConfig, load_lab
from vipa.nodes.clock import FineClock
from vipa.nodes.messages import to_time
from vipa.process_watch import own_process
from vipa.scheduling import request_real_time

LATEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
FRAMES = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
RELIABLE_DEEP = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
HEARTBEAT_PERIOD_S = 0.1
TRANSITION_TIME_OUT_S = 60.0
START_DELAY_S = 0.1
END_TIME_OUT_S = 3.0


class PolledGroup(CallbackGroup):
    """Keeps its subscriptions out of the executor: the main thread takes their messages when it wants them.

    A wake-up of rclpy's executor costs several times what taking a message costs, and the time-critical loops of this
    stack ask for the newest message once per cycle anyway.
    """

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing to end."""


class ManagedNode(LifecycleNode):
    """A lifecycle node whose work and transitions all happen in the main thread.

    Subclasses implement ``configure``, ``activate``, ``step``, ``deactivate`` and ``cleanup``; a ``VipaError`` from the
    first two fails the transition and shows its message in the log and the heartbeat. The executor runs in a thread of
    its own and only hands requests over.

    Args:
        name: default node name.
        period_s: wall time between two calls of ``step`` (the drivers and the controller run on real time; what they
            compute runs on ROS time).
    """

    def __init__(self, name: str, period_s: float) -> None:
        self._polled = PolledGroup()
        self.clock_subscription: Any = None
        super().__init__(name)
        self._period_s = period_s
        # Not a SimpleQueue: its timed get waits for ever where a signal comes as the time runs out (CPython 3.11).
        self._requests: queue.Queue[tuple[Callable[[], Any], queue.Queue[Any]]] = queue.Queue()
        self.declare_parameter("lab", "simulated")
        self.clock = FineClock(self)
        self.active = False
        self.lifecycle_state = "unconfigured"
        self.level, self.message = Heartbeat.OK, ""
        self._heartbeats = self.create_publisher(Heartbeat, "/supervisor/heartbeat", RELIABLE)
        self._next_heartbeat, self._process = 0.0, own_process()
        self._supervisor: Any = None
        self._supervisor_state: Any = None
        self._supervisor_seen = -1e9
        self._lab: LabConfig | None = None
        self.exit_status: int | None = None

    # -- to be implemented -------------------------------------------------------------------------------------------
    def configure(self) -> None:
        """Connect to what the node needs; nothing may move."""

    def activate(self) -> None:
        """Begin work."""

    def step(self) -> None:
        """One cycle of the main loop; called in every state, so check ``self.active``."""

    def deactivate(self) -> None:
        """End work; a driver stops its device smoothly."""

    def cleanup(self) -> None:
        """Let go of what ``configure`` took."""

    # -- for subclasses ----------------------------------------------------------------------------------------------
    @property
    def lab(self) -> LabConfig:
        """The laboratory's configuration, named by the parameter ``lab``."""
        if self._lab is None:
            self._lab = load_lab(str(self.get_parameter("lab").value))
        return self._lab

    def polled(self, message_type: Any, topic: str, qos: QoSProfile) -> Any:
        """A subscription whose messages are taken with ``take_latest`` or ``take_all``."""
        return self.create_subscription(message_type, topic, _ignore, qos, callback_group=self._polled)

    def create_subscription(self, msg_type: Any, topic: str, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's; the subscription that simulated time makes to /clock is polled instead of executed."""
        if topic in ("/clock", "clock"):
            kwargs["callback_group"] = self._polled
            self.clock_subscription = super().create_subscription(msg_type, topic, *args, **kwargs)
            return self.clock_subscription
        return super().create_subscription(msg_type, topic, *args, **kwargs)

    def take_all(self, subscription: Any) -> list[Any]:
        """All waiting messages of a polled subscription, oldest first."""
        return take_messages(subscription)

    def take_latest(self, subscription: Any) -> Any | None:
        """The newest waiting message of a polled subscription, or None."""
        messages = self.take_all(subscription)
        return messages[-1] if messages else None

    def autostart(self) -> None:
        """Configure and activate without the supervisor, as soon as the executor runs; a failure ends the node."""
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._starter = self.create_timer(START_DELAY_S, self._start_up, clock=steady)

    def motion_allowed(self) -> bool:
        """True while a fresh message of the supervisor allows motion (watchdog on wall time)."""
        if self._supervisor is None:
            self._supervisor = self.polled(SupervisorState, "/supervisor/state", LATEST)
        state = self.take_latest(self._supervisor)
        if state is not None:
            self._supervisor_state, self._supervisor_seen = state, time.monotonic()
        fresh = time.monotonic() - self._supervisor_seen <= self.lab.supervisor.state_time_out
        return bool(fresh and self._supervisor_state is not None and self._supervisor_state.motion_allowed)

    def set_period(self, period_s: float) -> None:
        """Change the wall time between two calls of ``step``."""
        self._period_s = period_s

    def report(self, level: int, message: str) -> None:
        """Set what the heartbeat says; a change to WARN or ERROR is logged once."""
        if (level, message) != (self.level, self.message):
            if level == Heartbeat.ERROR:
                self.get_logger().error(message)
            elif level == Heartbeat.WARN:
                self.get_logger().warning(message)
        self.level, self.message = level, message

    def finish(self, status: int, message: str) -> None:
        """End the process after this step, with an exit status and, where something went wrong, one line."""
        self.exit_status = status
        if message:
            self.get_logger().error(message)

    def in_main(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in the main thread between two steps and return its result; called from service callbacks."""
        answer: queue.Queue[Any] = queue.Queue()
        self._requests.put((work, answer))
        try:
            return answer.get(timeout=TRANSITION_TIME_OUT_S)
        except queue.Empty:
            return VipaError(f"{self.get_name()}: the main loop did not answer within {TRANSITION_TIME_OUT_S:.0f} s")

    def _start_up(self) -> None:
        """In the executor's thread, once."""
        self._starter.cancel()
        self.trigger_configure()
        if self.lifecycle_state != "inactive":
            self.finish(1, "")  # the transition has said why
            return
        self.trigger_activate()

    # -- lifecycle ---------------------------------------------------------------------------------------------------
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._transition(self.configure, "inactive", state, super().on_configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._transition(self.activate, "active", state, super().on_activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._transition(self.deactivate, "inactive", state, super().on_deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._transition(self.cleanup, "unconfigured", state, super().on_cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._transition(self.close, "finalized", state, super().on_shutdown)

    def close(self) -> None:
        """Deactivate and clean up, whatever the state."""
        if self.active:
            self.active = False
            self.deactivate()
        self.cleanup()

    def _transition(
        self,
        work: Callable[[], None],
        target: str,
        state: LifecycleState,
        accept: Callable[[LifecycleState], TransitionCallbackReturn],
    ) -> TransitionCallbackReturn:
        def run() -> VipaError | None:
            try:
                work()
            except VipaError as error:
                self.report(Heartbeat.ERROR, str(error))
                return error
            self.active, self.lifecycle_state = target == "active", target
            self.report(Heartbeat.OK, "")
            return None

        return TransitionCallbackReturn.FAILURE if self.in_main(run) is not None else accept(state)

    # -- main loop ---------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """The main loop, until ROS shuts down."""
        next_step = time.monotonic()
        while rclpy.ok() and self.exit_status is None:
            self._answer_requests()
            self.step()
            self._heartbeat()
            next_step = max(next_step + self._period_s, time.monotonic() - self._period_s)
            pause = next_step - time.monotonic()
            if pause > 0:
                self.pause(pause)

    def pause(self, seconds: float) -> None:
        """Wait until the next step; a request waits until then, too."""
        time.sleep(seconds)

    def pause_until_asked(self, seconds: float) -> None:
        """Wait until the next step, or carry a request out at once: a ``pause`` for nodes whose answers are urgent."""
        with contextlib.suppress(queue.Empty):
            work, answer = self._requests.get(timeout=seconds)
            answer.put(work())

    def _answer_requests(self) -> None:
        while not self._requests.empty():
            work, answer = self._requests.get()
            answer.put(work())

    def _heartbeat(self) -> None:
        if time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + HEARTBEAT_PERIOD_S
        beat = Heartbeat(node=self.get_name(), level=self.level, message=self.message)
        beat.header.stamp = to_time(self.clock.now_ns())
        beat.lifecycle_state, beat.process = self.lifecycle_state, self._process
        self._heartbeats.publish(beat)


def take_messages(subscription: Any, raw: bool = False) -> list[Any]:
    """All waiting messages of a subscription that no executor serves, oldest first.

    Args:
        subscription: one made with ``ManagedNode.polled``, or in a ``PolledGroup``.
        raw: as they came over the wire, bytes.
    """
    messages: list[Any] = []
    with subscription.handle:
        while (taken := subscription.handle.take_message(subscription.msg_type, raw)) is not None:
            messages.append(taken[0])
    return messages


def _ignore(message: Any) -> None:
    """Callback of a polled subscription; never called by an executor."""


def run_node(make_node: Callable[[], ManagedNode], real_time_priority: int = 0) -> int:
    """The body of every node's ``main``: start ROS, run, end cleanly on SIGINT and SIGTERM.

    Args:
        make_node: makes the node.
        real_time_priority: of the process, its middleware's threads included (see ``vipa.scheduling``); 0: none.

    Returns:
        The exit status: 0, what the node gave to ``finish``, or 1 where it could not be made (bad parameter, bad YAML).
    """
    if real_time_priority:
        request_real_time(real_time_priority)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    node: ManagedNode | None = None
    try:
        node = make_node()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: node.finish(0, ""))
        executor.add_node(node)
        spinner = threading.Thread(target=_spin, args=(executor, node), name="executor", daemon=True)
        spinner.start()
        node.run()
        node.close()
        end_within(END_TIME_OUT_S, node.exit_status or 0)
        executor.shutdown(timeout_sec=1.0)
        spinner.join(timeout=1.0)
    except VipaError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return node.exit_status or 0


def end_within(seconds: float, status: int) -> None:
    """End the process even where the middleware does not let go; by now the device is at rest and its link closed."""

    def end() -> None:
        print(f"ROS did not shut down within {seconds:.0f} s; ending without it", file=sys.stderr)
        faulthandler.dump_traceback()
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _spin(executor: SingleThreadedExecutor, node: ManagedNode) -> None:
    """Answer services until the node ends; a request that ROS refuses, such as an impossible transition, is logged."""
    while node.exit_status is None:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            return
        except RuntimeError as error:
            node.get_logger().warning(f"request refused: {error}")
