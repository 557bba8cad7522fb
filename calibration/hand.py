"""The ranges of a hand: each finger closes and opens slowly, at low force, and where it comes to rest is its range."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa.errors import HardwareError
from vipa.hardware.inspire_hand import InspireHand
from vipa.hardware.inspire_models import FINGERS, FingerScale
from vipa.hardware.inspire_ranges import Counts, HandRanges
from vipa.hashed_yaml import now

Values = NDArray[np.float64]
GROUPS = (("little", "ring", "middle", "index"), ("thumb_bend",), ("thumb_rotate",))
"""What moves together: the thumb apart from the fingers that it could meet."""


@dataclass(frozen=True)
class RangeSearch:
    """How the ranges are sought.

    Attributes:
        speed: share of the full speed.
        force: N at which a finger stops closing.
        poll: s between two looks.
        rest: so many looks without motion are rest.
        still: of the range, between two looks.
        time_out: s of one motion.
    """

    speed: float = 0.25
    force: float = 2.0
    poll: float = 0.04
    rest: int = 8
    still: float = 0.003
    time_out: float = 20.0


def find_ranges(hand: InspireHand, tell: Callable[[str], None], search: RangeSearch | None = None) -> HandRanges:
    """Open the hand, then close and open one group after the other; it ends open.

    Args:
        hand: connected, its configuration without ranges; speed and force limit are set back in the end.
        tell: is told what moves, one line each.
        search: see ``RangeSearch``.

    Raises:
        HardwareError: the hand does not answer, a finger does not come to rest, or error bits are set.
        ValueError: a finger moves too little or too far; the message names it.
    """
    config, model, search = hand.config, hand.model, search or RangeSearch()
    scale = FingerScale.of(model, config.reversed_fingers)
    closed, opened, spread = np.zeros(6), np.zeros(6), 0.0
    hand.set_speed(search.speed)
    hand.set_force_limit(search.force)
    try:
        tell("opening all fingers")
        _move(hand, 1.0, np.ones(6, dtype=np.bool_), search)
        for group in GROUPS:
            chosen = np.array([finger in group for finger in FINGERS])
            tell(f"closing and opening: {', '.join(group)}")
            first = _move(hand, 0.0, chosen, search)
            opened[chosen] = _raw(scale, _move(hand, 1.0, chosen, search))[chosen]
            again = _move(hand, 0.0, chosen, search)
            _move(hand, 1.0, chosen, search)
            closed[chosen] = _raw(scale, 0.5 * (first + again))[chosen]
            spread = max(spread, float(np.abs(first - again)[chosen].max()))
    finally:
        if hand.connected:
            hand.set_speed(config.speed)
            hand.set_force_limit(config.force_limit)
    residuals = {"repeated_share": spread, "force_n": search.force}
    return HandRanges(model.name, now(), _counts(closed, scale), _counts(opened, scale), residuals)


def _move(hand: InspireHand, target: float, chosen: NDArray[np.bool_], search: RangeSearch) -> Values:
    """Send the chosen fingers to a target; the positions (6,) once all are at rest."""
    hand.command(np.full(6, target), chosen.tolist())
    before, still, deadline = np.full(6, np.inf), 0, time.monotonic() + search.time_out
    while still < search.rest:
        time.sleep(search.poll)
        reading = hand.read()
        faulty = [finger for finger, bits in zip(FINGERS, reading.errors, strict=True) if int(bits) & ~1]  # 1: stalled
        if faulty:
            raise HardwareError(f"hand: error bits of {', '.join(faulty)}; free the fingers and clear them")
        still = still + 1 if np.abs(reading.positions - before).max() < search.still else 0
        before = reading.positions
        if time.monotonic() > deadline:
            raise HardwareError(f"hand: it does not come to rest within {search.time_out:.0f} s: is it shaken?")
    return before


def _raw(scale: FingerScale, positions: Values) -> Values:
    """Register counts (6,) of positions, beyond the range as well."""
    return scale.closed + positions * (scale.open - scale.closed)


def _counts(raw: Values, scale: FingerScale) -> Counts:
    """Register counts within what the hand takes as a target."""
    low, high = np.minimum(scale.closed, scale.open), np.maximum(scale.closed, scale.open)
    a, b, c, d, e, f = (round(float(v), 1) for v in np.clip(raw, low, high))
    return a, b, c, d, e, f
