"""Behaviour of an Inspire RH56 hand as its Modbus client sees it: register file, motion, force and stall stops, faults.

The laboratory calls ``step`` with what the world measures and gets the motors' set-points back; a server thread calls
``read_registers`` and ``write_registers``. The lead screws of the hand do not give way, so a stopped motor keeps its
set-point.
"""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa.hardware.inspire_models import (
    FINGERS,
    HAND_MODELS,
    NEWTON_PER_GRAM,
    NO_ACTION,
    TACTILE_REGIONS,
    ByteOrder,
    FingerScale,
    pack_bytes,
)

RELEASING, GRASPING, AT_POSITION, AT_FORCE, CURRENT_STOP, STALL, FAULT, NOT_COMMANDED = 0, 1, 2, 3, 5, 6, 7, 255
STALL_ERROR, TEMPERATURE_ERROR, CURRENT_ERROR, MOTOR_ERROR, COMMUNICATION_ERROR = 1, 2, 4, 8, 16
ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3  # Modbus exception codes

FIRST_ADDRESS, LAST_ADDRESS = 1000, 5123
FULL_SPEED = 1 / 0.6  # strokes per second
FORCE_FILTER_TIME = 0.015  # s; lets a fast finger overshoot its force limit, as the hardware does
LEAD_LIMIT = 0.15  # strokes by which a set-point may run ahead of the finger
STALL_LEAD, STALL_TIME = 0.1, 1.0  # strokes, s: blocked so far for so long is a stall
AT_TARGET = 0.02  # strokes
AMBIENT, HOT = 30.0, 70.0  # degrees Celsius
COOLING_TIME = 300.0  # s
HEATING = 0.15  # kelvin per second and square ampere


class RegisterError(Exception):
    """The register access is answered with this Modbus exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code}")
        self.code = code


class HandFirmware:
    """Simulated hand of one model; thread-safe.

    Faults are injected through ``silence``, ``disconnect``, ``set_error``, ``restart`` and these attributes:

    Attributes:
        byte_order: which byte of a packed pair belongs to the first finger of the pair.
        latency: s of simulated time from a written target to motion.
        transaction_id_offset: added to the transaction id of every Modbus TCP answer.
        crc_errors: so many of the next answers are damaged: a wrong checksum, or over Modbus TCP a wrong header.
        maximum_read_words: longer reads are refused.
        current_limit: A at which a motor stops.
        saves: how often SAVE was written.
    """

    def __init__(
        self, model_name: str = "RH56DFTP", latency_s: float = 0.065, reversed_fingers: tuple[str, ...] = ()
    ) -> None:
        self.model = HAND_MODELS[model_name]
        self.latency = latency_s
        self.byte_order: ByteOrder = self.model.byte_order
        self.transaction_id_offset = 0
        self.crc_errors = 0
        self.maximum_read_words = 125
        self.current_limit = 1.5
        self.saves = 0
        self._scale = FingerScale.of(self.model, reversed_fingers)
        self._lock = threading.Lock()
        self._silent_until = -float("inf")
        self._disconnect_callbacks: list[Callable[[], None]] = []
        registers = self.model.registers
        self._file = bytearray((LAST_ADDRESS + 1 - FIRST_ADDRESS) * registers.bytes_per_address)
        groups = (registers.position_set, registers.angle_set, registers.force_set, registers.speed_set)
        step = registers.address_step
        self._settable = {group + step * i: (group, i) for group in groups for i in range(6)}
        self._saved = (self.model.speed_maximum, self.model.force_maximum // 2)  # counts, g
        self._time: float | None = None
        self._positions = [1.0] * 6
        self._setpoints = [1.0] * 6
        self._temperatures = [AMBIENT] * 6
        self._reset()

    def _reset(self) -> None:
        """State after power-up: no targets, saved speed and force limit."""
        registers = self.model.registers
        self._pending: deque[tuple[float, int, float]] = deque()
        self._targets: list[float | None] = [None] * 6
        self._forces = [0.0] * 6
        self._currents = [0.0] * 6
        self._blocked = [0.0] * 6  # s
        self._stall_direction = [0.0] * 6
        self._errors = [0] * 6
        self._status = [NOT_COMMANDED] * 6
        speed, force = self._saved
        self._speeds = [speed / self.model.speed_maximum * FULL_SPEED] * 6
        self._force_limits = [force * NEWTON_PER_GRAM] * 6
        self._put(registers.hand_id, [self.model.unit_id])
        self._put(registers.position_set, [NO_ACTION] * 6)
        self._put(registers.angle_set, [NO_ACTION] * 6)
        self._put(registers.speed_set, [speed] * 6)
        self._put(registers.force_set, [force] * 6)

    @property
    def targets(self) -> NDArray[np.float64]:
        """Targets (6,) that the hand follows, 0 closed - 1 open; NaN where it has none."""
        with self._lock:
            return np.array([np.nan if target is None else target for target in self._targets])

    @property
    def silent(self) -> bool:
        """Whether requests go unanswered at present."""
        return time.monotonic() < self._silent_until

    def silence(self, seconds: float) -> None:
        """Ignore every request for this long (wall time)."""
        self._silent_until = time.monotonic() + seconds

    def spoil(self, n: int) -> None:
        """Damage the next ``n`` answers."""
        self.crc_errors = int(n)

    def disconnect(self) -> None:
        """Drop all connections; new ones are accepted."""
        for callback in self._disconnect_callbacks:
            callback()

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Register what ``disconnect`` calls."""
        self._disconnect_callbacks.append(callback)

    def set_error(self, finger: str, bits: int) -> None:
        """Set the error bits of a finger; any but a stall keeps it from moving until they are cleared."""
        with self._lock:
            self._errors[FINGERS.index(finger)] = bits

    def restart(self) -> None:
        """Power the hand off and on: it stays where it is, without targets, with its saved speed and force limit."""
        with self._lock:
            self._reset()

    def set_tactile(self, cells: ArrayLike) -> None:
        """Set the (1062,) tactile cells, region after region in the order of ``TACTILE_REGIONS``, row by row."""
        values = np.asarray(cells)
        if values.shape != (sum(region.words for region in TACTILE_REGIONS),):
            raise ValueError(f"tactile cells: expected shape (1062,), found {values.shape}")
        data = values.astype(">i2").tobytes()
        with self._lock:
            start = self._offset(TACTILE_REGIONS[0].address)
            self._file[start : start + len(data)] = data

    def step(self, time_s: float, positions: ArrayLike, forces: ArrayLike) -> NDArray[np.float64]:
        """Advance to a moment of simulated time.

        Args:
            time_s: s; a step backwards counts as a reset of the world.
            positions: (6,) measured, 0 closed - 1 open.
            forces: (6,) N measured at the fingers, positive when pressing.

        Returns:
            (6,) set-points of the motors, 0 closed - 1 open.
        """
        measured = np.asarray(positions).tolist()
        pressed = np.asarray(forces).tolist()
        with self._lock:
            if self._time is None or time_s < self._time:
                self._pending = deque((time_s + self.latency, i, target) for _, i, target in self._pending)
                self._setpoints = list(measured)
                self._time = time_s
            elapsed = time_s - self._time
            self._time = time_s
            self._positions = measured
            while self._pending and self._pending[0][0] <= time_s:
                _, finger, target = self._pending.popleft()
                self._targets[finger] = target
            weight = elapsed / (elapsed + FORCE_FILTER_TIME)
            for i in range(6):
                self._forces[i] += weight * (pressed[i] - self._forces[i])
                self._step_finger(i, elapsed)
            return np.array(self._setpoints)

    def _step_finger(self, i: int, elapsed: float) -> None:
        position, setpoint, target, force = self._positions[i], self._setpoints[i], self._targets[i], self._forces[i]
        self._heat(i, elapsed)
        if target is None:
            self._status[i] = NOT_COMMANDED
            return
        gap = target - setpoint
        if self._errors[i] & STALL_ERROR and gap * self._stall_direction[i] < 0:
            self._errors[i] &= ~STALL_ERROR  # commanded the other way
        if self._errors[i]:
            self._status[i] = STALL if self._errors[i] == STALL_ERROR else FAULT
            self._currents[i] = 0.0
            return
        pressing = gap < 0 or target < position - AT_TARGET
        margin = 0.9 if self._status[i] == AT_FORCE else 1.0
        moved = 0.0
        if pressing and force >= margin * self._force_limits[i]:
            self._status[i] = AT_FORCE
        elif pressing and self._currents[i] >= self.current_limit:
            self._status[i] = CURRENT_STOP
        else:
            reach = self._speeds[i] * elapsed
            moved = max(-reach, min(reach, gap))
            wanted = setpoint + moved
            self._setpoints[i] = max(position - LEAD_LIMIT, min(position + LEAD_LIMIT, wanted))
            if abs(target - position) < AT_TARGET:
                self._status[i] = AT_POSITION
            else:
                self._status[i] = RELEASING if target > position else GRASPING
            self._watch_stall(i, elapsed)
        self._currents[i] = (0.15 if moved else 0.02) + 0.06 * abs(force)

    def _watch_stall(self, i: int, elapsed: float) -> None:
        lead = self._setpoints[i] - self._positions[i]
        self._blocked[i] = self._blocked[i] + elapsed if abs(lead) > STALL_LEAD else 0.0
        if self._blocked[i] > STALL_TIME:
            self._errors[i] |= STALL_ERROR
            self._stall_direction[i] = lead
            self._blocked[i] = 0.0

    def _heat(self, i: int, elapsed: float) -> None:
        temperature = self._temperatures[i]
        loss = (temperature - AMBIENT) / COOLING_TIME
        self._temperatures[i] = temperature + elapsed * (HEATING * self._currents[i] ** 2 - loss)
        if temperature > HOT:
            self._errors[i] |= TEMPERATURE_ERROR

    def read_registers(self, address: int, count: int) -> list[int]:
        """Return ``count`` words from ``address``.

        Raises:
            RegisterError: outside the register file, or longer than ``maximum_read_words``.
        """
        if count > self.maximum_read_words:
            raise RegisterError(ILLEGAL_VALUE)
        start = self._offset(address)
        if start < 0 or start + 2 * count > len(self._file):
            raise RegisterError(ILLEGAL_ADDRESS)
        with self._lock:
            self._refresh()
            return list(struct.unpack_from(f">{count}H", self._file, start))

    def write_registers(self, address: int, values: list[int]) -> None:
        """Write words from ``address`` on; all of them or, if one is refused, none.

        Raises:
            RegisterError: an address that cannot be written, or a value out of range.
        """
        addresses = [address + self.model.registers.address_step * i for i in range(len(values))]
        for a, value in zip(addresses, values, strict=True):
            self._check(a, value)
        with self._lock:
            for a, value in zip(addresses, values, strict=True):
                self._write(a, value)

    def _check(self, address: int, value: int) -> None:
        registers = self.model.registers
        if address not in self._settable:
            if not FIRST_ADDRESS <= address < registers.position_set:
                raise RegisterError(ILLEGAL_ADDRESS)
            return
        group, i = self._settable[address]
        if group == registers.angle_set:
            limits = sorted((self.model.raw_closed[i], self.model.raw_open[i]))
        elif group == registers.position_set:
            limits = [0, 2000]
        else:
            limits = [0, self.model.speed_maximum if group == registers.speed_set else self.model.force_maximum]
        if value != NO_ACTION and not limits[0] <= value <= limits[1]:
            raise RegisterError(ILLEGAL_VALUE)

    def _write(self, address: int, value: int) -> None:
        registers = self.model.registers
        if address == registers.clear_error:
            self._errors = [0] * 6 if value == 1 else self._errors
        elif address == registers.save:
            if value == 1:
                self.saves += 1
                self._saved = (self._get(registers.speed_set), self._get(registers.force_set))
        elif address not in self._settable:
            self._put(address, [value])
        elif value != NO_ACTION:
            self._put(address, [value])
            group, i = self._settable[address]
            if group == registers.speed_set:
                self._speeds[i] = value / self.model.speed_maximum * FULL_SPEED
            elif group == registers.force_set:
                self._force_limits[i] = value * NEWTON_PER_GRAM
            else:
                angle = 1 - value / 2000 if group == registers.position_set else self._to_unit(i, value)
                self._pending.append(((self._time or 0.0) + self.latency, i, angle))

    def _to_unit(self, i: int, raw: int) -> float:
        closed, opened = float(self._scale.closed[i]), float(self._scale.open[i])
        return (raw - closed) / (opened - closed)

    def _refresh(self) -> None:
        """Bring the read-only part of the register file up to date."""
        registers = self.model.registers
        angles = self._scale.to_raw(np.array(self._positions)).tolist()
        self._put(registers.position, [round(2000 * (1 - min(1.0, max(0.0, p)))) for p in self._positions])
        self._put(registers.angle, angles)
        self._put(registers.force, [max(-32768, min(32767, round(f / NEWTON_PER_GRAM))) for f in self._forces])
        self._put(registers.current, [min(32767, round(1000 * c)) for c in self._currents])
        temperatures = [min(255, round(t)) for t in self._temperatures]
        for address, values in (
            (registers.error, self._errors),
            (registers.status, self._status),
            (registers.temperature, temperatures),
        ):
            self._put(address, pack_bytes(values, self.byte_order) if registers.packed_bytes else values)

    def _offset(self, address: int) -> int:
        return (address - FIRST_ADDRESS) * self.model.registers.bytes_per_address

    def _put(self, address: int, values: list[int]) -> None:
        words = [value & 0xFFFF for value in values]
        struct.pack_into(f">{len(words)}H", self._file, self._offset(address), *words)

    def _get(self, address: int) -> int:
        return int(struct.unpack_from(">H", self._file, self._offset(address))[0])
