"""The FCI server: one thread that answers libfranka over TCP and UDP and steps the arm every simulated millisecond.

The clock is elastic. In a motion the robot waits up to ``elastic_s`` for a command that is late, and afterwards makes
up at most ``catch_up_s`` of the delay, so that a busy computer stretches simulated time instead of losing packets. It
makes up for a delay at no more than ``CATCH_UP_PACE``, since for everybody else time then runs that much faster.
"""

import logging
import queue
import select
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vipa_sim.fci.arm import Arm
from vipa_sim.fci.link import Link
from vipa_sim.fci.motion import RealtimeCommand
from vipa_sim.fci.plant import ArmPlant
from vipa_sim.fci.protocol import (
    CONNECT_REQUEST,
    CYCLE_S,
    MOVE_ASYNCHRONOUS_OFFSET,
    MOVE_MODES,
    SERVER_VERSION,
    Command,
    Controller,
    Error,
    FloatArray,
    Generator,
    MoveStatus,
    RecoveryStatus,
    RobotMode,
    SetterStatus,
)
from vipa_sim.fci.state import StateWriter
from vipa_sim.fci.timing import CycleTimes

logger = logging.getLogger(__name__)

HOLD_POLL_S = 1e-3
CATCH_UP_PACE = 1.3  # simulated over elapsed time
NOT_A_LIMIT = {
    error.name.lower()
    for error in (Error.JOINT_REFLEX, Error.CARTESIAN_REFLEX, Error.COMMUNICATION_CONSTRAINTS_VIOLATION)
}


class FciServer:
    """Plays the robot's side of the FCI for one client at a time.

    Args:
        plant: the arm.
        host: address to listen on; TCP port 1337, as libfranka expects.
        strict: whether commanded motions are held to the robot's limits.
        elastic_s: how long the simulated clock waits for a late command.
        catch_up_s: how much of a delay is made up afterwards.
        server_version: interface version that is spoken; a client of another is refused.
        after_step: called after every cycle, in the server's thread.
        real_time: False publishes the next state as soon as a motion's command is there.

    Raises:
        SimulationError: the address is in use or not this computer's.
    """

    def __init__(
        self,
        plant: ArmPlant,
        host: str = "127.0.0.1",
        *,
        strict: bool = True,
        elastic_s: float = 0.2,
        catch_up_s: float = 0.2,
        server_version: int = SERVER_VERSION,
        after_step: Callable[[], None] | None = None,
        real_time: bool = True,
    ) -> None:
        self.host = host
        self._link = Link(host, self._forget_client)
        self._plant, self._arm = plant, Arm(plant, strict=strict)
        self._state = StateWriter(self._arm)
        self._elastic_s, self._catch_up_s = elastic_s, catch_up_s
        self._server_version, self._after_step, self._real_time = server_version, after_step, real_time
        self._times = CycleTimes()
        self._requests: queue.Queue[Callable[[], None]] = queue.Queue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._move_id: int | None = None  # of a Move that awaits its final answer
        self._recovery_id: int | None = None
        self._motion_from = 0  # the first message id that belongs to the motion
        self._command: RealtimeCommand | None = None
        self._answered = False  # something came for this cycle, be it dropped
        self._patient = True  # the client has not yet been waited for in vain
        self._commands = 0
        self._drop = 0  # commands still to lose
        self._silent = 0  # cycles still without a network
        self._push_until_ns = 0.0
        self._setters: dict[Command, Callable[[bytes], bool]] = {
            Command.SET_COLLISION_BEHAVIOR: self._set_collision_behavior,
            Command.SET_JOINT_IMPEDANCE: lambda payload: self._arm.set_joint_stiffness(_doubles(payload).tolist()),
            Command.SET_CARTESIAN_IMPEDANCE: lambda payload: bool((_doubles(payload) >= 0.0).all()),
            Command.SET_GUIDING_MODE: lambda payload: set(payload) <= {0, 1},
            Command.SET_EE_TO_K: lambda payload: self._set_frame(self._state.set_stiffness_frame, payload),
            Command.SET_NE_TO_EE: lambda payload: self._set_frame(self._state.set_end_effector, payload),
            Command.SET_LOAD: self._set_load,
        }

    def run(self) -> None:
        """Serve in the calling thread until ``stop``."""
        try:
            deadline = started = time.perf_counter()
            shortest = CYCLE_S / CATCH_UP_PACE if self._real_time else 0.0
            while not self._stopped.is_set():
                self._wait(max(deadline, started + shortest))
                started = time.perf_counter()
                self._cycle(started)
                if self._after_step is not None:
                    self._after_step()
                deadline = self._next_deadline(deadline)
        finally:
            self._link.close()

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="fci", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End ``run``; waits where ``start`` was called, and frees the address of a server that never ran."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        elif not self._times.cycles:
            self._link.close()

    def __enter__(self) -> "FciServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Faults and figures: from any thread

    def user_stop(self) -> None:
        """Press the user stop: a motion is aborted, and none starts until it is released."""
        self._requests.put(self._arm.user_stop)

    def release_user_stop(self) -> None:
        """Release the user stop."""
        self._requests.put(self._arm.release)

    def guiding(self, on: bool) -> None:
        """Begin or end guiding by hand; also ends errors that only a person can mend."""
        self._requests.put(lambda: self._arm.guide(on))

    def push(self, force: Sequence[float], duration_s: float) -> None:
        """Push the end effector for a while.

        Args:
            force: (3,) N or (6,) N and N·m, in the base frame.
            duration_s: simulated time of the push.

        Raises:
            ValueError: ``force`` is not three or six finite numbers.
        """
        values = np.asarray(force, dtype=np.float64)
        if values.shape not in {(3,), (6,)} or not np.isfinite(values).all():
            raise ValueError(f"force: expected 3 or 6 finite numbers (N, N·m), found {force!r}")
        wrench = np.zeros(6)
        wrench[: len(values)] = values

        def begin() -> None:
            self._plant.apply_push(wrench)
            self._push_until_ns = self._plant.time_ns + duration_s * 1e9

        self._requests.put(begin)

    def drop_packets(self, n: int) -> None:
        """Lose the next ``n`` real-time commands."""

        def begin() -> None:
            self._drop = n

        self._requests.put(begin)

    def delay(self, ms: float) -> None:
        """Interrupt UDP for ``ms`` of simulated time: no state goes out and no command counts."""

        def begin() -> None:
            self._silent = round(ms)

        self._requests.put(begin)

    def disconnect(self) -> None:
        """Cut the client's connection."""
        self._requests.put(lambda: self._link.drop("cut on request"))

    def reset_statistics(self) -> None:
        """Begin the figures anew."""

        def reset() -> None:
            self._times.reset()
            self._commands = self._arm.lost = 0
            self._arm.aborts.clear()

        self._requests.put(reset)

    def statistics(self) -> dict[str, Any]:
        """Figures since the last reset.

        Returns:
            ``cycles``, ``commands``, ``lost``, ``aborts`` (count by error name), ``limit_violations``, ``mode``,
            ``connected``, ``real_time_factor``, and ``_p50``, ``_p99``, ``_max`` of ``period_ms``, ``compute_us`` (the
            server's own computing in a cycle) and ``plant_us`` (the plant's step).
        """
        aborts = dict(self._arm.aborts)
        return self._times.figures() | {
            "commands": self._commands,
            "lost": self._arm.lost,
            "aborts": aborts,
            "limit_violations": sum(count for name, count in aborts.items() if name not in NOT_A_LIMIT),
            "mode": self._arm.mode.name.lower(),
            "connected": self._link.udp is not None,
        }

    # The clock

    def _wait(self, deadline: float) -> None:
        """Serve the sockets until the next cycle is due."""
        link, polled = self._link, False
        patience_ends = max(deadline, time.perf_counter()) + self._elastic_s
        while not self._stopped.is_set():
            now = time.perf_counter()
            left = deadline - now
            if left <= 0.0 and polled:
                if not self._awaits_command():
                    return
                if now >= patience_ends:
                    self._patient = False  # lost; and the robot's clock goes on without the client until it is back
                    return
            timeout = left if left > 0.0 else HOLD_POLL_S if polled else 0.0
            for reader in select.select(link.readers, (), (), timeout)[0]:
                if reader is link.udp:
                    self._receive_command()
                elif reader is link.client:
                    for command, command_id, payload in link.receive_requests():
                        self._handle(command, command_id, payload)
                elif reader is link.listener:
                    link.accept()
            polled = True
            if self._answered and not self._real_time:
                return

    def _awaits_command(self) -> bool:
        arm = self._arm
        return arm.commanded and self._patient and not (self._answered or arm.stopping or self._silent)

    def _next_deadline(self, deadline: float) -> float:
        now, arm = time.perf_counter(), self._arm
        if arm.mode is RobotMode.MOVE and not arm.commanded:
            return max(deadline, now) + CYCLE_S  # the client prepares; give it the time that it has with a real robot
        if not self._real_time:
            return now + (0.0 if arm.commanded else CYCLE_S)
        return max(deadline + CYCLE_S, now - self._catch_up_s)

    def _cycle(self, started: float) -> None:
        arm, plant, link = self._arm, self._plant, self._link
        while not self._requests.empty():
            self._requests.get()()
        if self._push_until_ns and plant.time_ns >= self._push_until_ns:
            self._push_until_ns = 0.0
            plant.apply_push(None)
        link.drop_silent(started)
        if arm.mode is RobotMode.MOVE:
            arm.command(self._command)
        self._command, self._answered = None, False
        plant_s = arm.step()
        self._state.write()
        if self._silent:
            self._silent -= 1
        else:
            link.publish(self._state.datagram)
        self._answer_outcomes()
        self._times.add(started, time.perf_counter() - started - plant_s, plant_s)

    def _answer_outcomes(self) -> None:
        """Answer requests whose outcome the state that was just published shows."""
        arm = self._arm
        if arm.ended is not None and self._move_id is not None:
            self._link.respond(Command.MOVE, self._move_id, arm.ended)
            arm.ended = self._move_id = None
        if self._recovery_id is not None and arm.mode is not RobotMode.AUTOMATIC_ERROR_RECOVERY:
            recovered = arm.mode is RobotMode.IDLE
            status = RecoveryStatus.SUCCESS if recovered else RecoveryStatus.EMERGENCY_ABORTED
            self._link.respond(Command.AUTOMATIC_ERROR_RECOVERY, self._recovery_id, status)
            self._recovery_id = None

    def _forget_client(self) -> None:
        """The client is gone: a motion has lost its commands for good, and nobody awaits an answer."""
        if self._arm.mode is RobotMode.MOVE:
            self._arm.abort(Error.COMMUNICATION_CONSTRAINTS_VIOLATION)
        self._arm.ended = self._move_id = self._recovery_id = None

    def _receive_command(self) -> None:
        command = self._link.receive_command()
        if command is None or self._arm.mode is not RobotMode.MOVE or self._silent:
            return
        answers, latest = command[0], self._state.message_id
        # Until the first command nothing has moved, so that one may answer an earlier state of the same motion.
        if answers != latest and (self._arm.commanded or not self._motion_from <= answers < latest):
            return
        self._answered = self._patient = True
        if self._drop > 0:
            self._drop -= 1
        else:
            self._command = command
            self._commands += 1

    # Requests over TCP

    def _handle(self, command: Command, command_id: int, payload: bytes) -> None:
        logger.debug("%s id %d", command.name, command_id)
        respond = self._link.respond
        if command is Command.CONNECT:
            self._connect(command_id, payload)
        elif command is Command.GET_ROBOT_MODEL:
            respond(command, command_id, SetterStatus.SUCCESS, self._plant.urdf)
        elif command is Command.MOVE:
            respond(command, command_id, self._start_move(command_id, payload))
        elif command is Command.STOP_MOVE:
            respond(command, command_id, SetterStatus.SUCCESS)
            self._arm.stop_motion()
        elif command is Command.AUTOMATIC_ERROR_RECOVERY:
            self._recover(command_id)
        elif self._arm.mode is RobotMode.MOVE and command is not Command.SET_COLLISION_BEHAVIOR:
            respond(command, command_id, SetterStatus.NOT_POSSIBLE)
        else:
            accepted = self._setters[command](payload)
            respond(command, command_id, SetterStatus.SUCCESS if accepted else SetterStatus.INVALID_ARGUMENT)

    def _connect(self, command_id: int, payload: bytes) -> None:
        version, port = CONNECT_REQUEST.unpack(payload)
        accepted = version == self._server_version
        if accepted and self._link.udp is None:
            self._link.open_udp(port)
        elif not accepted:
            logger.warning("FCI server %s: refused a client of version %d", self.host, version)
        status = SetterStatus.SUCCESS if accepted else SetterStatus.NOT_POSSIBLE
        self._link.respond(Command.CONNECT, command_id, status, struct.pack("<H", self._server_version))

    def _start_move(self, command_id: int, payload: bytes) -> MoveStatus:
        if self._arm.mode is not RobotMode.IDLE:
            return MoveStatus.NOT_POSSIBLE
        controller, generator = MOVE_MODES.unpack_from(payload)
        generator += 1  # the state counts from an idle generator
        known = controller <= Controller.EXTERNAL and generator <= Generator.NONE
        idle = generator == Generator.NONE and controller != Controller.EXTERNAL
        if not known or idle or payload[MOVE_ASYNCHRONOUS_OFFSET]:
            return MoveStatus.INVALID_ARGUMENT
        self._arm.start_motion(Controller(controller), Generator(generator))
        self._move_id, self._motion_from = command_id, self._state.message_id + 1
        self._command, self._answered, self._patient = None, False, True
        return MoveStatus.MOTION_STARTED

    def _recover(self, command_id: int) -> None:
        arm = self._arm
        if arm.mode is RobotMode.USER_STOPPED:
            status = RecoveryStatus.EMERGENCY_ABORTED
        elif arm.mode not in (RobotMode.IDLE, RobotMode.REFLEX):
            status = RecoveryStatus.NOT_POSSIBLE
        elif Error.JOINT_POSITION_LIMITS_VIOLATION in arm.errors:
            status = RecoveryStatus.MANUAL_RECOVERY_REQUIRED
        else:
            self._recovery_id = command_id
            arm.recover()
            return
        self._link.respond(Command.AUTOMATIC_ERROR_RECOVERY, command_id, status)

    def _set_collision_behavior(self, payload: bytes) -> bool:
        values = _doubles(payload)
        if not (values >= 0.0).all():
            return False
        # Torques, then forces: each lower and upper while accelerating, then lower and upper otherwise.
        self._arm.thresholds[..., :7] = values[:28].reshape(2, 2, 7)
        self._arm.thresholds[..., 7:] = values[28:].reshape(2, 2, 6)
        return True

    def _set_frame(self, take: Callable[[FloatArray], None], payload: bytes) -> bool:
        pose = _doubles(payload).reshape(4, 4).T.copy()
        rotation = pose[:3, :3]
        rigid = np.isfinite(pose).all() and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
        if not rigid or pose[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
            return False
        take(pose)
        return True

    def _set_load(self, payload: bytes) -> bool:
        load = _doubles(payload)
        if not np.isfinite(load).all() or load[0] < 0.0:
            return False
        self._state.set_load(load)
        return True


def _doubles(payload: bytes) -> FloatArray:
    return np.frombuffer(payload, "<f8")
