"""One Modbus connection to an Inspire hand, over TCP or a serial line, with errors a person can act on."""

import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.errors import HardwareError

_ILLEGAL_VALUE = 3  # Modbus exception code


class RefusedError(HardwareError):
    """The hand answered, with a Modbus exception; the connection is sound."""


class ModbusLink:
    """Reads and writes words; after a communication error every call fails at once until ``open``.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, name: str, unit: int, make_client: Callable[[], Any], advice: str) -> None:
        """Describe the link; opens nothing.

        Args:
            name: of the device, for messages, such as "hand 127.0.0.1:6000".
            unit: Modbus unit id.
            make_client: returns a pymodbus client that is not connected.
            advice: what to check where there is no connection.
        """
        self.name = name
        self._unit = unit
        self._make_client = make_client
        self._advice = advice
        self._client: Any = None
        self._reason = "not connected yet"

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as the last exchange told."""
        return self._client is not None

    def open(self) -> None:
        """Connect.

        Raises:
            HardwareError: no connection.
        """
        self.close()
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs whole frames as errors
        client = self._make_client()
        if not client.connect():
            self._reason = "no connection"
            raise HardwareError(f"{self.name}: no connection. {self._advice}")
        self._client = client

    def close(self, reason: str = "closed") -> None:
        """Close; later calls fail with this reason."""
        if self._client is not None:
            self._client.close()
            self._client = None
            self._reason = reason

    def read(self, address: int, count: int, what: str) -> NDArray[np.int64]:
        """Read ``count`` words from ``address``, unsigned.

        Raises:
            RefusedError: the hand answered with a Modbus exception.
            HardwareError: not open, or the connection failed; it is closed then.
        """
        reply = self._exchange(
            lambda c: c.read_holding_registers(address, count=count, device_id=self._unit), f"read {what}"
        )
        if len(reply.registers) != count:
            self.close("the connection was lost")
            got = len(reply.registers)
            raise HardwareError(f"{self.name}: asked for {count} words of {what}, got {got}. {self._advice}")
        return np.array(reply.registers, dtype=np.int64)

    def write(self, address: int, values: Sequence[int], what: str) -> None:
        """Write words from ``address`` on and wait for the acknowledgement.

        Raises:
            RefusedError: the hand answered with a Modbus exception; nothing was written.
            HardwareError: not open, or the connection failed; it is closed then.
        """
        reply = self._exchange(
            lambda c: c.write_registers(address, list(values), device_id=self._unit), f"write {what}"
        )
        if (reply.address, reply.count) != (address, len(values)):
            self.close("the connection was lost")
            raise HardwareError(f"{self.name}: {what} acknowledged at the wrong address. {self._advice}")

    def _exchange(self, request: Callable[[Any], Any], action: str) -> Any:
        from pymodbus.exceptions import ModbusException

        if self._client is None:
            raise HardwareError(f"{self.name}: cannot {action}: {self._reason}. Reconnect first")
        try:
            reply = request(self._client)
        except (ModbusException, OSError, struct.error) as error:
            self.close("the connection was lost")
            reason = " ".join(str(error).split()) or type(error).__name__
            raise HardwareError(f"{self.name}: could not {action}: {reason}. {self._advice}") from error
        if reply.isError():
            code = int(reply.exception_code)
            why = "a value is out of range" if code == _ILLEGAL_VALUE else "not possible with this hand"
            raise RefusedError(f"{self.name}: refused to {action}: {why} (Modbus exception {code})")
        return reply


class TransactionIdCure:
    """pymodbus ``trace_packet`` hook: gives an answer whose transaction id is off by one the id of its request.

    A late answer to an earlier request cannot be taken for the present one: the first time-out closes the link.
    """

    def __init__(self) -> None:
        self._sent = b"\0\0"

    def __call__(self, sending: bool, data: bytes) -> bytes:
        """Remember the id of what is sent; mend the id of what is received."""
        if sending:
            self._sent = data[:2]
            return data
        offset = (int.from_bytes(data[:2], "big") - int.from_bytes(self._sent, "big")) & 0xFFFF
        return self._sent + data[2:] if len(data) >= 2 and offset in (1, 0xFFFF) else data


def tcp_client(address: str, time_out: float, transaction_id_quirk: bool) -> Any:
    """Return a pymodbus client for host:port, not connected."""
    from pymodbus.client import ModbusTcpClient

    host, _, port = address.rpartition(":")
    cure = TransactionIdCure() if transaction_id_quirk else None
    return ModbusTcpClient(host, port=int(port), timeout=time_out, retries=0, trace_packet=cure)


def serial_client(port: str, baud_rate: int, time_out: float) -> Any:
    """Return a pymodbus client for a serial line (8 data bits, no parity, 1 stop bit), not connected."""
    from pymodbus.client import ModbusSerialClient

    return ModbusSerialClient(port, baudrate=baud_rate, timeout=time_out, retries=0)
