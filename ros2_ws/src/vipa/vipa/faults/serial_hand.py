"""The hand does not answer, answers with a wrong checksum, or is unplugged, on a serial line."""

from collections.abc import Iterator

from vipa.faults.cell import RunningCell
from vipa.faults.hand import FAULTS, measure
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions

_NAMES = {"hand_damaged_answer": "serial_hand_crc_error"}  # on this wire a damaged answer is one with a wrong checksum


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """Silences, wrong checksums, unplugged cables."""
    for fault in FAULTS:
        yield measure(cell, options, fault, _NAMES.get(fault, f"serial_{fault}"))
