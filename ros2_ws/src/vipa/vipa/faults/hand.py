"""The hand does not answer, answers nonsense, or hangs up, while the arm moves and the hand holds its grip."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from vipa.faults.cell import RunningCell, wait_for_motion
from vipa.faults.judging import OPENED, largest, median, milliseconds, opened, slowed_ns
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound

BOUNDS: dict[str, Bound] = {
    "slowed_or_back_max_ms": ("<=", 200.0),
    "reconnect_max_ms": ("<=", 2000.0),
    "hand_opened": ("<=", OPENED),
}
FAULTS = ("hand_time_out", "hand_damaged_answer", "hand_disconnect")
_GAP_NS = 60_000_000  # between two readings of the hand, beyond which it was away
_WATCH_S = 3.0
_BACK_S = 10.0


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """Silences, damaged answers, closed connections."""
    for fault in FAULTS:
        yield measure(cell, options, fault, fault)


def measure(cell: RunningCell, options: InjectionOptions, fault: str, name: str) -> Outcome:
    """Inject one of ``FAULTS`` again and again; the outcome has another name where there are several hands.

    Raises:
        VipaError: the arm does not move before a fault, or the cell does not get ready after it.
    """
    random = options.random(name)
    answers: list[float] = []
    slowed: list[float] = []
    backs: list[float] = []
    openings: list[float] = []
    for _ in range(options.repeats):
        wait_for_motion(cell, random.uniform(0.1, 1.5))
        lasts_s = 0.0
        begun_ns = cell.now_ns()
        if fault == "hand_time_out":
            lasts_s = random.uniform(0.3, 1.0)
            cell.request("silence_hand", seconds=lasts_s)
        elif fault == "hand_damaged_answer":
            cell.request("spoil_hand", n=random.choice((1, 3)))
        else:
            cell.request("disconnect_hand")
        cell.wait(_WATCH_S)
        cell.wait_until(lambda: cell.seen.is_ready, _BACK_S, "the cell is ready again")
        seen = cell.seen
        back_ns = back_after(seen.hand_read_ns, begun_ns)
        slow_ns = slowed_ns(seen.samples, begun_ns)
        answers.append(milliseconds(begun_ns, min((t for t in (back_ns, slow_ns) if t is not None), default=None)))
        slowed.append(milliseconds(begun_ns, slow_ns))
        backs.append(max(0.0, milliseconds(begun_ns + round(lasts_s * 1e9), back_ns)))
        openings.append(opened(seen.samples, begun_ns, seen.samples[-1].time_ns))
    figures = {
        "slowed_or_back_max_ms": largest(answers),
        "slowed_p50_ms": median(slowed),
        "reconnect_max_ms": largest(backs),
        "hand_opened": largest(openings),
    }
    details = {"slowed_or_back_ms": answers, "slowed_ms": slowed, "reconnect_ms": backs}
    return Outcome(name, options.repeats, figures, BOUNDS, details)


def back_after(read_ns: Sequence[int], begun_ns: int) -> int | None:
    """When the hand was read again after its longest absence since a moment.

    The moment itself where it was never away; None where it did not come back.
    """
    around = [stamp for stamp in read_ns if stamp > begun_ns - _GAP_NS]
    if not around:
        return None
    gaps = [(after - before, after) for before, after in pairwise(around) if after > begun_ns]
    longest, back_ns = max(gaps, default=(0, begun_ns))
    return back_ns if longest > _GAP_NS else begun_ns
