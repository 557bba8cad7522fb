"""The one thread that owns the robot: it makes every call of the vendor's client."""

import logging
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from vipa.errors import HardwareError
from vipa.hardware.fr3.config import RECOVERABLE_ERRORS, FR3Config
from vipa.hardware.fr3.motion import Motion, motion_for
from vipa.hardware.fr3.robot import configure_robot, load_franky, open_robot
from vipa.hardware.fr3.state import ArmMode, ArmReading, mode_detail, mode_name, to_reading
from vipa.hardware.fr3.trajectory import Plan

logger = logging.getLogger(__name__)

RECOVERY_TIME_OUT = 3.0  # s
_STOPPED = "was stopped by a person: recover to go on"
_RECOVERY_POLL = 0.05  # s
_PLAN_AGE = 0.1  # s after which a plan that could not be handed over is void
LOST_AFTER = 2.0  # s without a state after which the connection counts as lost
_STOP_TIME_OUT = 1.5  # s to come to rest before the connection is closed
_IMPEDANCE_RATE = 200.0  # Hz


class Worker:
    """Runs the connection from opening to its loss or ``close``; it is not used again afterwards.

    Args:
        config: the arm.
        counters: what happened so far; the worker adds to it.
        held: why the operator has to recover the arm before it moves; empty: it may.

    Attributes:
        opened: done once the robot is ready; holds the error where it is not.
        reading: the latest state.
    """

    def __init__(self, config: FR3Config, counters: Counter[str], held: str = "") -> None:
        self._config, self._counters = config, counters
        self._name = f"arm {config.address}"
        self.opened: Future[None] = Future()
        self.reading = ArmReading(ArmMode.DISCONNECTED, detail="connecting")
        self._fresh_at = time.monotonic()
        self._wake = threading.Condition()
        self._plan: tuple[Plan, float] | None = None  # with the time at which it came
        self._stop = False
        self._recovery: Future[None] | None = None
        self._closing = False
        self._configured = False
        self._held = held  # why the operator has to recover first
        self._detail = ""  # what went wrong last
        self._rest_at = 0.0  # robot time at which the present plan ends
        self._was_well = False  # the arm was idle, or in a motion of ours
        self._recoveries: deque[float] = deque()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------ called from other threads
    @property
    def age(self) -> float:
        """Time (s) since the robot's clock was last seen to advance."""
        return time.monotonic() - self._fresh_at

    def follow(self, plan: Plan) -> None:
        """Follow this plan instead of any that came before."""
        with self._wake:
            self._plan = plan, time.monotonic()
            self._wake.notify()

    def stop(self) -> None:
        """Forget the plan and stop smoothly."""
        with self._wake:
            self._plan, self._stop = None, True
            self._wake.notify()

    def recover(self) -> "Future[None]":
        """Ask for a recovery by the operator."""
        with self._wake:
            if self._recovery is None or self._recovery.done():
                self._recovery = Future()
            self._wake.notify()
            return self._recovery

    def close(self, time_out: float) -> None:
        """Stop smoothly and let go of the robot; a thread that hangs in the client is left behind."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(time_out)

    # --------------------------------------------------------------------------------------------- the thread itself
    def _run(self) -> None:
        try:
            robot, idle = open_robot(self._config)
            if idle:
                self._configure(robot)
        except HardwareError as error:
            self._disconnect(str(error))
            self.opened.set_exception(HardwareError(str(error)))  # the error itself would keep the connection alive
            return
        self._fresh_at = time.monotonic()
        try:
            motion = motion_for(robot, self._config)
            self._serve(robot, motion)
        finally:
            if self.reading.mode is not ArmMode.DISCONNECTED:
                self._disconnect(
                    "closed" if self._closing else "the driver's thread ended; see the log, then reconnect"
                )

    def _configure(self, robot: Any) -> None:
        configure_robot(robot, self._config)
        self._configured = True

    def _serve(self, robot: Any, motion: Motion) -> None:
        franky = load_franky()
        rate = self._config.state_rate
        period = 1.0 / (max(rate, _IMPEDANCE_RATE) if self._config.mode == "impedance" else rate)
        due = time.monotonic()
        close_by: float | None = None
        while True:
            plan, stop, recovery = self._take(due)
            began = time.monotonic()
            try:
                if self._closing and close_by is None:
                    close_by, plan, stop = time.monotonic() + _STOP_TIME_OUT, None, True
                if stop:
                    motion.stop()
                if plan is not None:
                    self._follow(robot, motion, *plan)
                if time.monotonic() >= due or recovery is not None:
                    self._read(robot, motion)
                    due = max(due + period, time.monotonic())
                if recovery is not None:
                    self._recover(robot, recovery)
                elif self._may_recover():
                    self._recover(robot, None)
            except franky.NetworkException as error:
                self._lose(error, recovery)
                return
            except (franky.Exception, RuntimeError) as error:
                if "Net Exception" in str(error):
                    self._lose(error, recovery)
                    return
                self._note(error)
            if not self.opened.done():
                self.opened.set_result(None)
            if max(self.age, time.monotonic() - began) > LOST_AFTER:
                self._lose(TimeoutError("no state from the robot"), recovery)
                return
            if close_by is not None and (not robot.is_in_control or time.monotonic() > close_by):
                return

    def _take(self, due: float) -> tuple[tuple[Plan, float] | None, bool, "Future[None] | None"]:
        """Wait for something to do; returns the newest plan, whether to stop first, and a recovery that waits."""
        with self._wake:
            if not (self._plan is not None or self._stop or self._closing or self._recovery is not None):
                self._wake.wait(max(0.0, due - time.monotonic()))
            elif self._closing:
                time.sleep(min(0.005, max(0.0, due - time.monotonic())))
            taken = self._plan, self._stop, self._recovery
            self._plan, self._stop, self._recovery = None, False, None
            return taken

    def _follow(self, robot: Any, motion: Motion, plan: Plan, came: float) -> None:
        if not robot.is_in_control:
            self._read(robot, motion)  # a dead link shows here, and not in a command that would arrive much later
        ready = not self._held and self.reading.mode in (ArmMode.IDLE, ArmMode.STREAMING)
        if not ready or time.monotonic() - came > _PLAN_AGE:
            self._counters["dropped"] += 1
            return
        motion.follow(plan)
        self._detail = ""
        self._rest_at = self.reading.robot_time + float(plan.times[-1])

    def _poll(self, robot: Any) -> None:
        """Note the error with which the last motion ended, so that it does not meet the next one."""
        franky = load_franky()
        try:
            robot.poll_motion()
        except (franky.ControlException, franky.CommandException) as error:
            self._note(error)

    def _read(self, robot: Any, motion: Motion) -> None:
        state = robot.state
        reading = to_reading(state, self._detail)
        if reading.robot_time != self.reading.robot_time:
            self._fresh_at = time.monotonic()
        if not robot.is_in_control:
            self._poll(robot)
        motion.update(reading.robot_time)
        if reading.mode is ArmMode.STREAMING and reading.robot_time > self._rest_at + self._config.idle_after:
            self._rest_at = float("inf")
            motion.stop()
        if reading.mode is ArmMode.USER_STOP:
            self._held = _STOPPED
        elif self._held and reading.mode in (ArmMode.IDLE, ArmMode.STREAMING):
            reading = replace(reading, mode=ArmMode.USER_STOP, detail=self._held)
        self._was_well |= reading.mode in (ArmMode.IDLE, ArmMode.STREAMING)
        if reading.mode is not self.reading.mode:
            logger.info("%s: %s %s", self._name, reading.mode.name, reading.detail)
        self.reading = reading

    def _may_recover(self) -> bool:
        """Whether the driver may recover by itself: listed errors only, and not too often.

        Before the arm was well for the first time that goes for what another client has left.
        """
        errors = self.reading.errors
        if self.reading.mode is not ArmMode.REFLEX or not errors or self._held:
            return False
        if not set(errors) <= set(self._config.recoverable_errors if self._was_well else RECOVERABLE_ERRORS):
            return False
        now = time.monotonic()
        while self._recoveries and now - self._recoveries[0] > self._config.recovery_window:
            self._recoveries.popleft()
        if len(self._recoveries) >= self._config.recovery_attempts:
            return False
        self._recoveries.append(now)
        self._counters["recoveries"] += 1
        logger.warning("%s: recovering from %s", self._name, ", ".join(errors))
        return True

    def _recover(self, robot: Any, asked: "Future[None] | None") -> None:
        """Recover; ``asked`` is the operator's request, without one the driver tries by itself."""
        franky = load_franky()
        until = time.monotonic() + RECOVERY_TIME_OUT
        reason = ""
        while True:
            state = robot.state
            if mode_name(state) == "Idle":
                reason = self._settle(robot)
                break
            if mode_name(state) != "AutomaticErrorRecovery":
                reason = mode_detail(state) or "is in a motion: stop it first"
                if mode_name(state) != "Reflex":
                    break
                try:
                    robot.recover_from_errors()
                except (franky.CommandException, franky.ControlException) as error:
                    reason = _line(error)
            if time.monotonic() > until:
                break
            time.sleep(_RECOVERY_POLL)
        if not reason:
            self._detail = ""
            if asked is not None:
                self._held = ""
                self._recoveries.clear()
        self.reading = to_reading(robot.state, self._detail)
        self._fresh_at = time.monotonic()
        if asked is not None:
            _resolve(asked, HardwareError(f"{self._name}: {reason}") if reason else None)

    def _settle(self, robot: Any) -> str:
        """Make settings that were impossible before a recovery; returns why it failed."""
        if not self._configured:
            try:
                self._configure(robot)
            except HardwareError as error:
                self._held = str(error)
                return str(error)
        return ""

    def _note(self, error: Exception) -> None:
        self._detail = _line(error)
        if "User Stop" in self._detail:  # it may be over before a state shows it
            self._held = _STOPPED
        self._counters["aborts"] += 1
        logger.warning("%s: %s", self._name, self._detail)

    def _lose(self, error: Exception, recovery: "Future[None] | None") -> None:
        self._counters["disconnections"] += 1
        self._disconnect(f"connection lost ({_line(error)}); check cable and power, then reconnect")
        lost = HardwareError(f"{self._name}: {self.reading.detail}")
        for future in (self.opened, recovery, self._recovery):
            if future is not None:
                _resolve(future, lost)

    def _disconnect(self, detail: str) -> None:
        self.reading = replace(self.reading, mode=ArmMode.DISCONNECTED, detail=detail)
        logger.info("%s: DISCONNECTED %s", self._name, detail)


def _resolve(future: "Future[None]", error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix("libfranka: ")
