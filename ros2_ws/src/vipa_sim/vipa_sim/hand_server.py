"""Modbus servers, TCP and RTU, in front of a simulated hand; each runs in a thread of its own."""

import asyncio
import logging
import os
import pty
import select
import threading
import tty
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from vipa.errors import HardwareError
from vipa.hardware.inspire_hand import InspireHandConfig
from vipa.lab import split_address
from vipa_sim.hand_firmware import FIRST_ADDRESS, LAST_ADDRESS, HandFirmware, RegisterError

_START_TIME_OUT = 10.0  # s
_READ_HOLDING_REGISTERS, _WRITE_REGISTER, _WRITE_REGISTERS = 3, 6, 16  # Modbus function codes

ServerT = TypeVar("ServerT", bound="_HandServer")


class _HandServer(ABC):
    """A pymodbus server in a thread, answering for one firmware."""

    def __init__(self, firmware: HandFirmware) -> None:
        self.firmware = firmware
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._server: Any = None
        self._failure: Exception | None = None
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs whole frames as errors
        firmware.on_disconnect(self.drop_connections)

    @abstractmethod
    def _make_server(self, device: SimDevice) -> Any:
        """Return the pymodbus server, not listening yet."""

    @abstractmethod
    def _name(self) -> str:
        """Where the server listens, for messages."""

    def start(self) -> None:
        """Start serving in a thread of its own and return once connections are accepted.

        Raises:
            HardwareError: the address or the port cannot be used.
        """
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="hand-server", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_TIME_OUT) or self._failure is not None:
            self.stop()
            raise HardwareError(
                f"hand server {self._name()}: cannot listen. Is it in use by another laboratory? Stop that one"
            ) from self._failure

    def stop(self) -> None:
        """Stop serving and close all connections; does nothing where it does not run."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_TIME_OUT)
        self._thread = None

    def drop_connections(self) -> None:
        """Close every connection; the server goes on listening."""
        if self._thread is not None and self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._close_connections)

    def __enter__(self: ServerT) -> ServerT:
        """Start serving."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.stop()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        registers = SimData(FIRST_ADDRESS, count=LAST_ADDRESS + 1 - FIRST_ADDRESS, datatype=DataType.REGISTERS)
        device = SimDevice(self.firmware.model.unit_id, simdata=[registers], action=self._access)
        self._server = self._make_server(device)
        try:
            await self._server.serve_forever(background=True)
        except (RuntimeError, OSError) as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await self._server.shutdown()

    def _close_connections(self) -> None:
        for connection in list(self._server.active_connections.values()):
            connection.close()

    async def _access(
        self, function: int, start: int, address: int, count: int, registers: list[int], values: Any
    ) -> ExcCodes | None:
        """Hand one access to the firmware; ``values`` is None when the answer to a write is read back."""
        if function not in (_READ_HOLDING_REGISTERS, _WRITE_REGISTER, _WRITE_REGISTERS):
            return ExcCodes.ILLEGAL_FUNCTION
        try:
            if values is not None:
                self.firmware.write_registers(address, [int(value) for value in values])
            elif function == _READ_HOLDING_REGISTERS:
                registers[address - start : address - start + count] = self.firmware.read_registers(address, count)
        except RegisterError as error:
            return ExcCodes(error.code)
        return None

    def _trace_pdu(self, sending: bool, pdu: Any) -> Any:
        return None if self.firmware.silent and not sending else pdu


class HandServer(_HandServer):
    """Modbus TCP server of a simulated hand; port 0 takes a free one."""

    def __init__(self, firmware: HandFirmware, host: str = "127.0.0.1", port: int = 6000) -> None:
        super().__init__(firmware)
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """host:port where it listens."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start serving in a thread of its own and return once connections are accepted.

        Raises:
            HardwareError: the address is in use.
        """
        super().start()
        self.port = int(self._server.transport.sockets[0].getsockname()[1])

    def _make_server(self, device: SimDevice) -> ModbusTcpServer:
        return ModbusTcpServer(
            device, address=(self.host, self.port), trace_packet=self._trace_packet, trace_pdu=self._trace_pdu
        )

    def _name(self) -> str:
        return self.address

    def _trace_packet(self, sending: bool, data: bytes) -> bytes:
        if sending and self.firmware.crc_errors > 0:  # there is no checksum here: the protocol's number is wrong
            self.firmware.crc_errors -= 1
            return data[:2] + b"\xff\xff" + data[4:]
        if not sending or not self.firmware.transaction_id_offset:
            return data
        transaction_id = int.from_bytes(data[:2], "big") + self.firmware.transaction_id_offset
        return (transaction_id & 0xFFFF).to_bytes(2, "big") + data[2:]


class HandSerialServer(_HandServer):
    """Modbus RTU server of a simulated hand on a serial device, such as one end of a ``SerialCable``."""

    def __init__(self, firmware: HandFirmware, port: str, baudrate: int = 115200) -> None:
        super().__init__(firmware)
        self.port = port
        self.baudrate = baudrate

    def _make_server(self, device: SimDevice) -> ModbusSerialServer:
        return ModbusSerialServer(
            device,
            port=self.port,
            baudrate=self.baudrate,
            trace_packet=self._trace_packet,
            trace_pdu=self._trace_pdu,
        )

    def _name(self) -> str:
        return self.port

    def _trace_packet(self, sending: bool, data: bytes) -> bytes:
        if not sending or self.firmware.crc_errors <= 0:
            return data
        self.firmware.crc_errors -= 1
        return data[:-1] + bytes([data[-1] ^ 0xFF])


class SerialCable:
    """A null-modem cable between two pseudo-terminals, for a Modbus RTU server and its client on one machine.

    Attributes:
        ends: device paths of the two ends.
    """

    def __init__(self) -> None:
        pairs = [pty.openpty(), pty.openpty()]
        self._masters = [master for master, _ in pairs]
        self._slaves = [slave for _, slave in pairs]
        for descriptor in self._masters + self._slaves:
            tty.setraw(descriptor)
        self.ends = (os.ttyname(self._slaves[0]), os.ttyname(self._slaves[1]))
        self._unplugged, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._relay, name="serial-cable", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unplug both ends; whoever uses them gets an input/output error."""
        if not self._thread.is_alive():
            return
        os.write(self._wake, b"\0")
        self._thread.join()
        for descriptor in (*self._masters, *self._slaves, self._unplugged, self._wake):
            os.close(descriptor)

    def __enter__(self) -> "SerialCable":
        """Return the cable."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplug it."""
        self.close()

    def _relay(self) -> None:
        first, second = self._masters
        while True:
            ready, _, _ = select.select([first, second, self._unplugged], [], [])
            if self._unplugged in ready:
                return
            for source in ready:
                os.write(second if source == first else first, os.read(source, 4096))


class CabledHandServer(HandSerialServer):
    """Modbus RTU server of a simulated hand on a cable of its own, whose other end is found at a path.

    Args:
        firmware: of the hand.
        path: where the driver looks for its serial device; a link is made there.
        baudrate: of the line.
    """

    def __init__(self, firmware: HandFirmware, path: Path, baudrate: int = 115200) -> None:
        super().__init__(firmware, "", baudrate)
        self._path = path
        self._cable: SerialCable | None = None

    def start(self) -> None:
        """Plug the cable in and start serving.

        Raises:
            HardwareError: the path is taken, or no link can be made there.
        """
        if self._path.exists() and not self._path.is_symlink():
            raise HardwareError(
                f"hand server {self._path}: there is something else. Give hand.serial_port a path that is free"
            )
        self._cable = SerialCable()
        self.port, far_end = self._cable.ends
        try:
            self._path.unlink(missing_ok=True)
            self._path.symlink_to(far_end)
        except OSError as error:
            self._cable.close()
            raise HardwareError(f"hand server {self._path}: no link can be made there: {error.strerror}") from None
        super().start()

    def stop(self) -> None:
        """Stop serving and take the cable away."""
        super().stop()
        if self._cable is not None:
            self._path.unlink(missing_ok=True)
            self._cable.close()
            self._cable = None

    def drop_connections(self) -> None:
        """Unplug the cable and plug in another one."""
        if self._cable is not None:
            self._cable.close()
            self.stop()
            self.start()


def hand_server(config: InspireHandConfig, firmware: HandFirmware) -> HandServer | CabledHandServer:
    """The server at which the driver of a hand with this configuration finds it."""
    if config.link == "rtu":
        return CabledHandServer(firmware, Path(config.serial_port), config.baud_rate)
    return HandServer(firmware, *split_address(config.address, "hand.address"))
