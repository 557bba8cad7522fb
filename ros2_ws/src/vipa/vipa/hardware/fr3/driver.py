"""The arm as the rest of the stack sees it."""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace

from vipa.errors import HardwareError
from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.state import ArmMode, ArmReading
from vipa.hardware.fr3.trajectory import Checker, JointTrajectory, Verdict
from vipa.hardware.fr3.worker import LOST_AFTER, RECOVERY_TIME_OUT, Worker


class FR3:
    """A Franka Research 3, driven through franky.

    Trajectories replace each other: the newest is followed from where the arm is, with its present velocity, and one
    that runs out ends at rest. A reflex, a user stop or a lost connection ends the motion; what happens then is up to
    the operator, except for the errors that the configuration lets the driver recover from.

    ``stream``, ``stop`` and ``state`` never wait for the robot and may be called from any thread.

    Args:
        config: the arm.
    """

    def __init__(self, config: FR3Config) -> None:
        self.config = config
        self._checker = Checker(config)
        self._counters: Counter[str] = Counter()
        self._lock = threading.Lock()  # one connect, reconnect or close at a time
        self._worker: Worker | None = None

    def __enter__(self) -> "FR3":
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def counters(self) -> Mapping[str, int]:
        """How often since the start: "accepted", "refused", "dropped" (accepted, but the arm was stopped at that
        moment), "aborts", "recoveries", "disconnections"."""
        return dict(self._counters)

    def connect(self) -> None:
        """Connect, run the start-up checks, and set load, end effector, thresholds and limits; connected is well.

        Raises:
            HardwareError: the robot cannot be reached or must not be moved; the message names the cure.
        """
        with self._lock:
            self._connect()

    def reconnect(self) -> None:
        """Make a new connection, after one was lost; the arm does not move before ``recover``.

        Raises:
            HardwareError: as ``connect``.
        """
        with self._lock:
            self._close()
            self._connect("the connection was lost: recover to go on")

    def close(self) -> None:
        """Stop smoothly and disconnect."""
        with self._lock:
            self._close()

    def stream(self, trajectory: JointTrajectory, now_ns: int) -> Verdict:
        """Follow a trajectory from now on, instead of the one before.

        It is checked against the limits and the arm's state; one that fails changes nothing. Overdue waypoints are
        dropped.

        Args:
            trajectory: what to follow.
            now_ns: present time on the trajectory's clock (ns, ROS epoch).

        Returns:
            Whether it is followed, or why not.
        """
        worker = self._worker
        reason = self._not_ready(worker)
        if not reason and worker is not None:
            plan = self._checker.plan(trajectory, worker.reading, now_ns)
            if not isinstance(plan, str):
                worker.follow(plan)
                self._counters["accepted"] += 1
                return Verdict(True)
            reason = plan
        self._counters["refused"] += 1
        return Verdict(False, reason)

    def stop(self) -> None:
        """Forget the trajectory and stop smoothly, with limited jerk."""
        if self._worker is not None:
            self._worker.stop()

    def state(self) -> ArmReading:
        """The latest state; it is renewed at ``state_rate``."""
        if self._worker is None:
            return ArmReading(ArmMode.DISCONNECTED, detail="not connected")
        reading, age = self._worker.reading, self._worker.age
        if reading.mode is not ArmMode.DISCONNECTED and age > LOST_AFTER:  # the client hangs in a call
            return replace(
                reading,
                mode=ArmMode.DISCONNECTED,
                detail=f"connection lost (no state for {age:.1f} s); check cable and power, then reconnect",
            )
        return reading

    def recover(self) -> None:
        """Recover from a reflex, or resume after a user stop, on the operator's word; waits for the robot.

        Raises:
            HardwareError: the robot is not recovered, and why.
        """
        worker = self._worker
        if worker is None or self.state().mode is ArmMode.DISCONNECTED:
            raise HardwareError(f"arm {self.config.address}: not connected. Reconnect first")
        try:
            worker.recover().result(RECOVERY_TIME_OUT + 2.0)
        except FutureTimeoutError:
            raise HardwareError(
                f"arm {self.config.address}: no answer to the recovery. Look at the robot in Desk"
            ) from None

    def _not_ready(self, worker: Worker | None) -> str:
        if worker is None:
            return "not connected"
        reading = worker.reading
        if reading.mode not in (ArmMode.IDLE, ArmMode.STREAMING):
            return f"{reading.mode.name}: {reading.detail}"
        if worker.age > self.config.stale_after:
            return f"the robot has sent no state for {worker.age:.1f} s"
        return ""

    def _connect(self, held: str = "") -> None:
        if self.state().mode is not ArmMode.DISCONNECTED:
            return
        self._close()
        worker = Worker(self.config, self._counters, held)
        try:
            worker.opened.result(self.config.connect_time_out)
        except FutureTimeoutError:
            worker.close(0.0)
            raise HardwareError(
                f"arm {self.config.address}: no answer within {self.config.connect_time_out:g} s. Check power, cable "
                "and arm.address, and activate FCI in Desk"
            ) from None
        self._worker = worker

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close(self.config.connect_time_out)
        self._worker = None
