"""Configuration of an Inspire RH56 hand."""

from dataclasses import dataclass
from pathlib import Path

from vipa.hardware.inspire_models import FINGERS, HAND_MODELS, NEWTON_PER_GRAM, ByteOrder, HandModel, Link


@dataclass(frozen=True)
class InspireHandConfig:
    """How to reach one hand and how hard it may work.

    Attributes:
        model: a key of ``HAND_MODELS``.
        link: "tcp" or "rtu".
        address: host:port of the hand, for TCP.
        serial_port: device of the serial adapter, for RTU.
        baud_rate: of the serial line (8 data bits, no parity, 1 stop bit).
        unit_id: Modbus unit id; None takes the model's.
        time_out: s to wait for an answer.
        poll_rate: Hz at which the owner should read; None means 50 over TCP and 30 over RTU.
        speed: share of the full speed, above 0 up to 1.
        force_limit: N at which a finger stops closing.
        byte_order: order of the bytes in a packed word; None takes the model's.
        reversed_fingers: fingers whose registers count the other way round from the model.
        transaction_id_quirk: accept answers whose transaction id is off by one (some RH56DFTP firmware).
        reconnect_interval: s between two attempts to connect, at least 0.3.
        calibration: file with the ranges of this hand, as ``vipa calibrate hand`` writes it, relative to the
            laboratory's YAML; None takes the model's.
    """

    model: str = "RH56DFTP"
    link: Link = "tcp"
    address: str = "192.168.11.210:6000"
    serial_port: str = "/dev/ttyUSB0"
    baud_rate: int = 115200
    unit_id: int | None = None
    time_out: float = 0.2
    poll_rate: float | None = None
    speed: float = 0.5
    force_limit: float = 5.0
    byte_order: ByteOrder | None = None
    reversed_fingers: tuple[str, ...] = ()
    transaction_id_quirk: bool = False
    reconnect_interval: float = 0.5
    calibration: Path | None = None

    def __post_init__(self) -> None:
        if self.model not in HAND_MODELS:
            raise ValueError(f"model: no hand {self.model!r}; known: {', '.join(HAND_MODELS)}")
        if self.link not in HAND_MODELS[self.model].links:
            raise ValueError(
                f"link: {self.model} has no {self.link!r}; it has {', '.join(HAND_MODELS[self.model].links)}"
            )
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"address: {self.address!r} is not host:port, such as 192.168.11.210:6000")
        if self.unit_id is not None and not 1 <= self.unit_id <= 255:
            raise ValueError(f"unit_id: {self.unit_id} is outside 1-255")
        unknown = sorted(set(self.reversed_fingers) - set(FINGERS))
        if unknown:
            raise ValueError(f"reversed_fingers: no finger {unknown[0]!r}; known: {', '.join(FINGERS)}")
        if self.baud_rate <= 0:
            raise ValueError(f"baud_rate: {self.baud_rate} is not positive")
        if not 0.01 <= self.time_out <= 5.0:
            raise ValueError(f"time_out: {self.time_out} s is outside 0.01-5")
        if self.poll_rate is not None and not 0 < self.poll_rate <= 500:
            raise ValueError(f"poll_rate: {self.poll_rate} Hz is outside 0-500")
        if not 0.3 <= self.reconnect_interval <= 60:
            raise ValueError(f"reconnect_interval: {self.reconnect_interval} s is outside 0.3-60")
        check_speed(self.speed)
        check_force_limit(self.force_limit, HAND_MODELS[self.model])

    @property
    def poll_rate_or_default(self) -> float:
        """Hz at which the owner should read the state."""
        return self.poll_rate or (50.0 if self.link == "tcp" else 30.0)


def check_speed(speed: float) -> None:
    """Raise ValueError unless ``speed`` is a share of the full speed, above 0 up to 1."""
    if not 0 < speed <= 1:
        raise ValueError(f"speed: {speed} is outside 0-1 (0 excluded)")


def check_force_limit(force_limit: float, model: HandModel) -> None:
    """Raise ValueError unless ``force_limit``, in N, is within the range of the model's register."""
    maximum = model.force_maximum * NEWTON_PER_GRAM
    if not 0 < force_limit <= maximum:
        raise ValueError(f"force_limit: {force_limit} N is outside 0-{maximum:.1f} N of the {model.name}")
