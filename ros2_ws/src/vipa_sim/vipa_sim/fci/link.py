"""The sockets of the FCI server: one client over TCP, the robot state and real-time commands over UDP."""

import logging
import socket
import time
from collections.abc import Callable

from vipa_sim.errors import SimulationError
from vipa_sim.fci.motion import RealtimeCommand
from vipa_sim.fci.protocol import COMMAND_PORT, HEADER, PAYLOAD_SIZE, REALTIME_COMMAND, Command, encode_response

logger = logging.getLogger(__name__)

GREETING_S = 1.0  # a connection that has not said Connect by then is closed

Request = tuple[Command, int, bytes]  # command, its id, payload


class Link:
    """One client at a time; another is turned away, and one that does not speak FCI is cut off with a line in the log.

    Args:
        host: address to listen on; TCP port 1337, as libfranka expects.
        on_drop: called when a client's connection was closed, by either side.

    Attributes:
        readers: the sockets to wait for.
        listener, client, udp: those sockets by name; the last two are None without a client.

    Raises:
        SimulationError: the address is in use or not this computer's.
    """

    def __init__(self, host: str, on_drop: Callable[[], None]) -> None:
        self._on_drop = on_drop
        self._name = f"FCI server {host}:{COMMAND_PORT}"
        self._host = host
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.listener.bind((host, COMMAND_PORT))
            self.listener.listen(4)
        except OSError as error:
            self.listener.close()
            raise SimulationError(
                f"{self._name}: {error.strerror}. "
                "End the other laboratory that uses this address, or choose another address of this computer"
            ) from None
        self.listener.setblocking(False)
        self.client: socket.socket | None = None
        self.udp: socket.socket | None = None
        self.readers: list[socket.socket] = [self.listener]
        self._since = 0.0
        self._received = b""
        self._datagram = bytearray(REALTIME_COMMAND.size + 1)

    def close(self) -> None:
        """Close everything."""
        self.drop(None)
        self.listener.close()

    def accept(self) -> None:
        """Take the connection that is waiting, or turn it away where a client is connected."""
        try:
            connection, (address, port) = self.listener.accept()
        except OSError as error:
            logger.debug("%s: connection given up: %s", self._name, error)
            return
        if self.client is not None:
            logger.warning("%s: refused %s:%d, another client is connected", self._name, address, port)
            connection.close()
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.client, self._since, self._received = connection, time.perf_counter(), b""
        self.readers = [self.listener, connection]

    def open_udp(self, port: int) -> None:
        """Begin to exchange datagrams with the client's UDP port."""
        assert self.client is not None
        address = self.client.getpeername()[0]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((self._host, 0))
        udp.connect((address, port))
        udp.setblocking(False)
        self.udp, self.readers = udp, [udp, self.client, self.listener]
        logger.info("%s: client %s connected", self._name, address)

    def drop(self, reason: str | None) -> None:
        """Close the client's connection; the reason, where there is one, goes to the log."""
        if self.client is None:
            return
        if reason is not None:
            logger.warning("%s: connection closed: %s", self._name, reason)
        self.client.close()
        if self.udp is not None:
            self.udp.close()
        self.client = self.udp = None
        self.readers = [self.listener]
        self._on_drop()

    def drop_silent(self, now: float) -> None:
        """Close a connection that has not said what it wants in time."""
        if self.client is not None and self.udp is None and now - self._since > GREETING_S:
            self.drop("it did not say what it wants")

    def receive_requests(self) -> list[Request]:
        """The complete requests that have come over TCP."""
        assert self.client is not None
        try:
            data = self.client.recv(65536)
        except BlockingIOError:
            return []
        except OSError as error:
            self.drop(str(error))
            return []
        if not data:
            logger.info("%s: client left", self._name)
            self.drop(None)
            return []
        self._received += data
        requests: list[Request] = []
        while len(self._received) >= HEADER.size:
            code, command_id, size = HEADER.unpack_from(self._received)
            expected = PAYLOAD_SIZE.get(code)
            greeted = self.udp is not None or code == Command.CONNECT
            if expected is None or size != HEADER.size + expected or not greeted:
                self.drop(f"not a request of the FCI: command {code}, size {size}")
                return []
            if len(self._received) < size:
                break
            requests.append((Command(code), command_id, self._received[HEADER.size : size]))
            self._received = self._received[size:]
        return requests

    def receive_command(self) -> RealtimeCommand | None:
        """The real-time command that is waiting, or None where a datagram is none."""
        assert self.udp is not None
        try:
            size = self.udp.recv_into(self._datagram)
        except OSError as error:  # nothing there after all, or the client's port is gone
            logger.debug("%s: no command: %s", self._name, error)
            return None
        return REALTIME_COMMAND.unpack_from(self._datagram) if size == REALTIME_COMMAND.size else None

    def respond(self, command: Command, command_id: int, status: int, payload: bytes = b"") -> None:
        """Answer a request over TCP."""
        if self.client is None:
            return
        try:
            self.client.sendall(encode_response(command, command_id, status, payload))
        except OSError as error:
            self.drop(f"no answer could be sent: {error}")

    def publish(self, state: memoryview) -> None:
        """Send the robot state, where a client is connected."""
        if self.udp is None:
            return
        try:
            self.udp.send(state)
        except OSError as error:
            logger.debug("%s: state not sent: %s", self._name, error)
