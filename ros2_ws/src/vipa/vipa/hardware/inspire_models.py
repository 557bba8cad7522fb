"""Inspire RH56 hands as data: register maps, scaling, unit ids, byte order, tactile regions.

Sources: the RH56DFTP, RH56DFX, RH56E2 and RH56F1 user manuals of Inspire-Robots. What differs between firmware versions
(direction of a finger, order of packed bytes, unit id) can be overridden in ``InspireHandConfig``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FINGERS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_rotate")
NEWTON_PER_GRAM = 9.80665e-3  # the force registers count grams-force
NO_ACTION = 0xFFFF  # -1 in a set-point register: leave this finger alone
MAXIMUM_READ_WORDS = 125  # Modbus application protocol, function code 3

ByteOrder = Literal["low", "high"]
Link = Literal["tcp", "rtu"]


@dataclass(frozen=True)
class RegisterMap:
    """Addresses of the registers; each group holds one value per finger, in the order of ``FINGERS``.

    The register file of most RH56 hands is byte addressed: finger ``i`` of a group of words sits at ``address + 2 i``,
    and a read of ``n`` words covers ``2 n`` addresses (``bytes_per_address`` 1). The RH56F1 counts words, as Modbus
    does (``bytes_per_address`` 2).
    """

    bytes_per_address: Literal[1, 2]
    packed_bytes: bool  # error, status and temperature are single bytes, two to a word
    hand_id: int
    clear_error: int
    save: int
    position_set: int
    angle_set: int
    force_set: int
    speed_set: int
    position: int  # actual stroke, 0 open - 2000 closed; the state starts here
    angle: int
    force: int
    current: int
    error: int
    status: int
    temperature: int

    @property
    def address_step(self) -> int:
        """Addresses from one word to the next."""
        return 2 // self.bytes_per_address

    @property
    def byte_group_words(self) -> int:
        """Words of a group of six bytes (error, status, temperature)."""
        return 3 if self.packed_bytes else 6

    @property
    def state_words(self) -> int:
        """Words from ``position`` to the last temperature: the whole state in one read."""
        return self.word_offset(self.temperature) + self.byte_group_words

    def word_offset(self, address: int) -> int:
        """Index of the word at ``address`` in a read that starts at ``position``."""
        return (address - self.position) // self.address_step


@dataclass(frozen=True)
class HandModel:
    """One type of hand.

    Attributes:
        raw_closed: angle register of each closed finger (the thumb rotated across the palm).
        raw_open: angle register of each open finger.
        byte_order: which byte of a packed pair belongs to the first finger of the pair.
        speed_maximum: full speed in counts of the speed register.
        force_maximum: highest force threshold in grams-force.
    """

    name: str
    unit_id: int
    links: tuple[Link, ...]
    registers: RegisterMap
    raw_closed: tuple[int, ...]
    raw_open: tuple[int, ...]
    byte_order: ByteOrder = "low"
    speed_maximum: int = 1000
    force_maximum: int = 1000
    tactile: bool = False


@dataclass(frozen=True)
class TactileRegion:
    """One field of tactile cells; its words lie row by row from ``address`` on."""

    name: str
    address: int
    rows: int
    columns: int

    @property
    def words(self) -> int:
        """Number of cells, one word each."""
        return self.rows * self.columns


@dataclass(frozen=True)
class FingerScale:
    """Conversion between the unit range (0 closed - 1 open) and the angle registers of one hand."""

    closed: NDArray[np.float64]  # (6,) counts
    open: NDArray[np.float64]  # (6,) counts

    @staticmethod
    def of(model: HandModel, reversed_fingers: Sequence[str] = ()) -> "FingerScale":
        """Scale of a model, with the named fingers counting the other way round."""
        closed, open_ = np.array(model.raw_closed, dtype=float), np.array(model.raw_open, dtype=float)
        swap = np.array([finger in reversed_fingers for finger in FINGERS])
        return FingerScale(np.where(swap, open_, closed), np.where(swap, closed, open_))

    def to_raw(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Round (6,) positions, clipped to 0 closed - 1 open, to register counts."""
        return np.rint(self.closed + np.clip(positions, 0.0, 1.0) * (self.open - self.closed)).astype(np.int64)

    def to_unit(self, raw: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (6,) 0 closed - 1 open of register counts; slightly outside where the finger is."""
        return (raw - self.closed) / (self.open - self.closed)


def unpack_bytes(words: Sequence[int], order: ByteOrder) -> NDArray[np.uint8]:
    """Split (3,) words into the (6,) bytes of the fingers."""
    pairs = [(word & 0xFF, word >> 8) if order == "low" else (word >> 8, word & 0xFF) for word in words]
    return np.array([byte for pair in pairs for byte in pair], dtype=np.uint8)


def pack_bytes(values: Sequence[int], order: ByteOrder) -> list[int]:
    """Join the (6,) bytes of the fingers into (3,) words."""
    pairs = zip(values[0::2], values[1::2], strict=True)
    return [first | second << 8 if order == "low" else first << 8 | second for first, second in pairs]


def group_regions(regions: Sequence[TactileRegion]) -> tuple[tuple[TactileRegion, ...], ...]:
    """Join neighbouring regions into as few reads as the protocol's word limit allows."""
    groups: list[list[TactileRegion]] = []
    for region in regions:
        if groups and sum(r.words for r in groups[-1]) + region.words <= MAXIMUM_READ_WORDS:
            groups[-1].append(region)
        else:
            groups.append([region])
    return tuple(tuple(group) for group in groups)


def _tactile_regions() -> tuple[TactileRegion, ...]:
    finger = (("tip", 3, 3), ("nail", 12, 8), ("pad", 10, 8))
    thumb = (("tip", 3, 3), ("nail", 12, 8), ("middle", 3, 3), ("pad", 12, 8))
    layout = [(f"{name}_{part}", r, c) for name in FINGERS[:4] for part, r, c in finger]
    layout += [(f"thumb_{part}", r, c) for part, r, c in thumb] + [("palm", 8, 14)]
    regions: list[TactileRegion] = []
    address = 3000
    for name, rows, columns in layout:
        regions.append(TactileRegion(name, address, rows, columns))
        address += 2 * rows * columns
    return tuple(regions)


TACTILE_REGIONS = _tactile_regions()  # 17 regions, 1062 cells, addresses 3000-5123

_BYTE_ADDRESSED = RegisterMap(
    bytes_per_address=1,
    packed_bytes=True,
    hand_id=1000,
    clear_error=1004,
    save=1005,
    position_set=1474,
    angle_set=1486,
    force_set=1498,
    speed_set=1522,
    position=1534,
    angle=1546,
    force=1582,
    current=1594,
    error=1606,
    status=1612,
    temperature=1618,
)
# RH56F1 manual V1.0.1, table 30. It documents this map under the maker's own serial framing; over Modbus it is untried.
_WORD_ADDRESSED = RegisterMap(
    bytes_per_address=2,
    packed_bytes=False,
    hand_id=1000,
    clear_error=1003,
    save=1004,
    position_set=1034,
    angle_set=1040,
    force_set=1046,
    speed_set=1052,
    position=1058,
    angle=1064,
    force=1070,
    current=1076,
    error=1082,
    status=1088,
    temperature=1094,
)
_CLOSED, _OPEN = (0,) * 6, (1000,) * 6

HAND_MODELS = {
    model.name: model
    for model in (
        HandModel("RH56DFTP", 1, ("tcp", "rtu"), _BYTE_ADDRESSED, _CLOSED, _OPEN, tactile=True),
        HandModel("RH56DFX", 1, ("tcp", "rtu"), _BYTE_ADDRESSED, _CLOSED, _OPEN),
        HandModel("RH56E2", 255, ("tcp", "rtu"), _BYTE_ADDRESSED, _CLOSED, _OPEN, byte_order="high"),
        HandModel(
            "RH56F1",
            1,
            ("rtu",),
            _WORD_ADDRESSED,
            raw_closed=(900, 900, 900, 900, 1100, 600),  # 0.1 degree
            raw_open=(1740, 1740, 1740, 1740, 1350, 1800),
            speed_maximum=4000,
        ),
    )
}
