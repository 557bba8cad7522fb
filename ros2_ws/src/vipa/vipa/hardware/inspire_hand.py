"""Driver of an Inspire RH56 hand over Modbus TCP or Modbus RTU.

The driver never opens the hand on its own: not on connecting, not on losing the link, not on closing. The hand keeps
its last targets and its force limit by itself, so a grasp outlives the driver.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa.errors import HardwareError
from vipa.hardware.inspire_config import InspireHandConfig, check_force_limit, check_speed
from vipa.hardware.inspire_link import ModbusLink, RefusedError, serial_client, tcp_client
from vipa.hardware.inspire_models import (
    HAND_MODELS,
    NEWTON_PER_GRAM,
    NO_ACTION,
    TACTILE_REGIONS,
    ByteOrder,
    FingerScale,
    group_regions,
    unpack_bytes,
)
from vipa.hardware.inspire_ranges import load_ranges

Values = NDArray[np.float64]

_KNOWN_STATUS = frozenset((0, 1, 2, 3, 5, 6, 7, 8, 255))
_OPENING_MARGIN = 0.02  # a finger this far short of its target, on the closed side, is taken to be opening


@dataclass(frozen=True, eq=False)
class HandReading:
    """State of the hand; arrays (6,) in the order of ``FINGERS``.

    Attributes:
        stamp_ns: ``time.monotonic_ns`` halfway between request and answer.
        positions: 0 closed - 1 open.
        targets: the set-points that the hand holds, same unit; NaN where it has none.
        forces: N, positive when the finger presses; the sensors can read below zero.
        currents: A.
        temperatures: degrees Celsius.
        errors: bits 0 stall, 1 over-temperature, 2 over-current, 3 motor, 4 communication.
        status: 0 releasing, 1 grasping, 2 at position, 3 at force, 5 current stop, 6 stall, 7 fault, 255 not commanded.
    """

    stamp_ns: int
    positions: Values
    targets: Values
    forces: Values
    currents: Values
    temperatures: Values
    errors: NDArray[np.uint8]
    status: NDArray[np.uint8]


class InspireHand:
    """One hand, one connection, one lock; every method may be called from any thread.

    After a communication error each call raises ``HardwareError`` at once until ``reconnect`` succeeds.

    Raises:
        ConfigurationError: the file with the hand's ranges cannot be used.
    """

    def __init__(self, config: InspireHandConfig) -> None:
        self.config = config
        self.model = HAND_MODELS[config.model]
        self._byte_order: ByteOrder = config.byte_order or self.model.byte_order
        self._scale = _scale_of(config)
        self._link = self._make_link()
        self._lock = threading.RLock()
        self._reconnect_lock = threading.Lock()
        self._last_attempt = -float("inf")
        self._speed, self._force_limit = config.speed, config.force_limit
        self._targets = np.full(6, np.nan)
        registers = self.model.registers
        self._one_read = ((registers.position, registers.state_words),)
        self._state_reads: tuple[tuple[int, int], ...] = self._one_read

    @property
    def connected(self) -> bool:
        """Whether the last exchange with the hand went well."""
        return self._link.is_open

    def connect(self) -> None:
        """Open the link, check that a hand of this model answers, set speed and force limit; moves nothing.

        Raises:
            HardwareError: no connection, no answer, or what answers is no such hand.
        """
        with self._lock:
            self._last_attempt = time.monotonic()
            self._link.open()
            try:
                self._check_identity()
                self.set_speed(self._speed)
                self.set_force_limit(self._force_limit)
                raw = self._link.read(self.model.registers.angle_set, 6, "the targets")
            except HardwareError:
                self._link.close("the start-up check failed")
                raise
            self._targets = np.where(raw == NO_ACTION, np.nan, self._scale.to_unit(raw))

    def reconnect(self) -> None:
        """Try once to connect again, no sooner than the reconnect interval after the last attempt.

        Targets are not sent again: the hand keeps its grasp by itself.

        Raises:
            HardwareError: as ``connect``.
        """
        with self._reconnect_lock:
            wait = self._last_attempt + self.config.reconnect_interval - time.monotonic()
            time.sleep(max(0.0, wait))
            self.connect()

    def close(self) -> None:
        """Close the link; the hand keeps its grip."""
        with self._lock:
            self._link.close()

    def read(self) -> HandReading:
        """Read the whole state, in one exchange where the firmware allows it.

        Raises:
            HardwareError: not connected, no answer, or the hand refused.
        """
        with self._lock:
            start = time.monotonic_ns()
            words = self._read_state()
            stamp = (start + time.monotonic_ns()) // 2
            targets = self._targets.copy()
        registers = self.model.registers
        return HandReading(
            stamp_ns=stamp,
            positions=self._scale.to_unit(self._signed(words, registers.angle)),
            targets=targets,
            forces=self._signed(words, registers.force) * NEWTON_PER_GRAM,
            currents=self._signed(words, registers.current) * 1e-3,
            temperatures=self._bytes(words, registers.temperature).astype(float),
            errors=self._bytes(words, registers.error),
            status=self._bytes(words, registers.status),
        )

    def command(self, positions: ArrayLike, fingers: Sequence[bool] | None = None) -> Values:
        """Send finger targets and wait for the acknowledgement.

        Args:
            positions: (6,) 0 closed - 1 open; values outside are clipped.
            fingers: (6,) which fingers to command; the others keep their targets. None: all.

        Returns:
            (6,) targets as sent: clipped and rounded to register counts; NaN for fingers left alone.

        Raises:
            ValueError: wrong shape, or a target that is not finite; nothing is sent.
            HardwareError: not connected, no answer, or the hand refused.
        """
        values = np.asarray(positions, dtype=float)
        chosen = np.ones(6, dtype=bool) if fingers is None else np.asarray(fingers, dtype=bool)
        if values.shape != (6,) or chosen.shape != (6,):
            raise ValueError(f"hand command: expected 6 values, found shapes {values.shape} and {chosen.shape}")
        if not np.isfinite(values[chosen]).all():
            raise ValueError(f"hand command: targets must be finite, found {values.tolist()}")
        raw = self._scale.to_raw(np.where(chosen, values, 0.0))
        sent = np.where(chosen, self._scale.to_unit(raw), np.nan)
        with self._lock:
            words = np.where(chosen, raw, NO_ACTION).tolist()
            self._link.write(self.model.registers.angle_set, words, "the finger targets")
            self._targets = np.where(chosen, sent, self._targets)
        return sent

    def hold(self) -> Values:
        """Stop fingers that are opening where they are, and let all others keep their targets and thus their grip.

        No finger is opened or closed by this; one that presses on an object goes on pressing up to the force limit.

        Returns:
            (6,) targets that the hand holds now; NaN for fingers without one.

        Raises:
            HardwareError: not connected, no answer, or the hand refused.
        """
        with self._lock:
            positions = self.read().positions
            opening = positions < self._targets - _OPENING_MARGIN
            if opening.any():
                self.command(positions, opening.tolist())
            return self._targets.copy()

    def set_speed(self, speed: float) -> None:
        """Set the speed of all fingers, a share of the full speed above 0 up to 1.

        Raises:
            ValueError: outside the range.
            HardwareError: not connected, no answer, or the hand refused.
        """
        check_speed(speed)
        with self._lock:
            counts = max(1, round(speed * self.model.speed_maximum))
            self._link.write(self.model.registers.speed_set, [counts] * 6, "the speed")
            self._speed = speed

    def set_force_limit(self, force_limit: float) -> None:
        """Set the force, in N, at which a finger stops closing; a fast finger overshoots it.

        Raises:
            ValueError: outside the model's range.
            HardwareError: not connected, no answer, or the hand refused.
        """
        check_force_limit(force_limit, self.model)
        with self._lock:
            grams = max(1, round(force_limit / NEWTON_PER_GRAM))
            self._link.write(self.model.registers.force_set, [grams] * 6, "the force limit")
            self._force_limit = force_limit

    def read_tactile(self) -> dict[str, NDArray[np.int16]]:
        """Read all tactile cells; 17 regions, each (rows, columns) in raw counts. Takes about a dozen exchanges.

        Raises:
            HardwareError: the model has no tactile cells, not connected, no answer, or the hand refused.
        """
        if not self.model.tactile:
            raise HardwareError(f"{self._link.name}: {self.model.name} has no tactile cells. Check hand.model")
        cells: dict[str, NDArray[np.int16]] = {}
        with self._lock:
            for regions in group_regions(TACTILE_REGIONS):
                words = self._link.read(
                    regions[0].address, sum(region.words for region in regions), "the tactile cells"
                )
                values = words.astype(np.uint16).view(np.int16)
                for region in regions:
                    cells[region.name] = values[: region.words].reshape(region.rows, region.columns)
                    values = values[region.words :]
        return cells

    def clear_errors(self) -> None:
        """Clear the error bits that the hand allows to be cleared.

        Raises:
            HardwareError: not connected, no answer, or the hand refused.
        """
        with self._lock:
            self._link.write(self.model.registers.clear_error, [1], "the error reset")

    def _make_link(self) -> ModbusLink:
        config = self.config
        unit = self.model.unit_id if config.unit_id is None else config.unit_id
        if config.link == "tcp":
            return ModbusLink(
                f"hand {config.address}",
                unit,
                lambda: tcp_client(config.address, config.time_out, config.transaction_id_quirk),
                "Check its power, the cable and hand.address",
            )
        return ModbusLink(
            f"hand {config.serial_port}",
            unit,
            lambda: serial_client(config.serial_port, config.baud_rate, config.time_out),
            "Check its power, the adapter and hand.serial_port",
        )

    def _check_identity(self) -> None:
        model, name = self.model, self._link.name
        try:
            identity = int(self._link.read(model.registers.hand_id, 1, "HAND_ID")[0])
            words = self._probe_state()
        except RefusedError as error:
            raise HardwareError(f"{error}; it is no {model.name}. Check hand.model and hand.unit_id") from None
        except HardwareError as error:
            if self.config.link == "rtu":
                advice = "Hands set to the maker's EB 90 framing do not speak Modbus RTU"
            else:
                advice = "Some firmware needs hand.transaction_id_quirk: true"
            raise HardwareError(f"{name}: no valid answer. Check hand.unit_id. {advice}") from error
        angles = self._signed(words, model.registers.angle)
        low, high = np.minimum(model.raw_closed, model.raw_open), np.maximum(model.raw_closed, model.raw_open)
        margin = 0.2 * (high - low)
        status = set(self._bytes(words, model.registers.status).tolist())
        if (
            identity in (0, 0xFFFF)
            or np.any(angles < low - margin)
            or np.any(angles > high + margin)
            or not status <= _KNOWN_STATUS
        ):
            raise HardwareError(
                f"{name}: what answers is no {model.name} (HAND_ID {identity}, angles {angles.tolist()}, "
                f"status {sorted(status)}). Check hand.address and hand.model"
            )

    def _probe_state(self) -> NDArray[np.int64]:
        registers = self.model.registers
        self._state_reads = self._one_read
        try:
            return self._read_state()
        except RefusedError:  # firmware that gives no more than one group a read
            words = [(address, 6) for address in (registers.angle, registers.force, registers.current)]
            packed = [
                (a, registers.byte_group_words) for a in (registers.error, registers.status, registers.temperature)
            ]
            self._state_reads = (*words, *packed)
            return self._read_state()

    def _read_state(self) -> NDArray[np.int64]:
        registers = self.model.registers
        words = np.zeros(registers.state_words, dtype=np.int64)
        for address, count in self._state_reads:
            offset = registers.word_offset(address)
            words[offset : offset + count] = self._link.read(address, count, "the state")
        return words

    def _signed(self, words: NDArray[np.int64], address: int) -> Values:
        offset = self.model.registers.word_offset(address)
        return words[offset : offset + 6].astype(np.uint16).view(np.int16).astype(np.float64)

    def _bytes(self, words: NDArray[np.int64], address: int) -> NDArray[np.uint8]:
        registers = self.model.registers
        offset = registers.word_offset(address)
        group = words[offset : offset + registers.byte_group_words]
        return unpack_bytes(group.tolist(), self._byte_order) if registers.packed_bytes else group.astype(np.uint8)


def _scale_of(config: InspireHandConfig) -> FingerScale:
    if config.calibration is not None:
        return load_ranges(config.calibration, config.model).scale
    return FingerScale.of(HAND_MODELS[config.model], config.reversed_fingers)
