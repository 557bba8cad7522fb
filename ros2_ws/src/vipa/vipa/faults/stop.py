"""The operator stops the cell at random moments."""

from collections.abc import Iterator

from vipa.errors import VipaError
from vipa.faults.cell import RunningCell, resume, wait_for_motion
from vipa.faults.judging import MOVED, largest, median, milliseconds, moved, opened, rest_ns
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions

_WATCH_S = 1.0


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """Stop, see the arm rest, and let it go on."""
    random = options.random("stop")
    to_rest: list[float] = []
    ways: list[float] = []
    openings: list[float] = []
    for _ in range(options.repeats):
        wait_for_motion(cell, random.uniform(0.1, 1.5))
        stopped_ns = cell.now_ns()
        is_stopped, answer = cell.call("/supervisor/stop")
        if not is_stopped:
            raise VipaError(f"faults: the supervisor did not stop the cell: {answer}")
        cell.wait(_WATCH_S)
        samples = cell.seen.samples
        at_rest_ns = rest_ns(samples, stopped_ns)
        to_rest.append(milliseconds(stopped_ns, at_rest_ns))
        ways.append(moved(samples, at_rest_ns or stopped_ns, samples[-1].time_ns))
        openings.append(opened(samples, stopped_ns, samples[-1].time_ns))
        resume(cell)
    figures = {
        "rest_p50_ms": median(to_rest),
        "rest_max_ms": largest(to_rest),
        "moved_while_stopped_rad": largest(ways),
        "hand_opened": largest(openings),
    }
    yield Outcome(
        "operator_stop",
        len(to_rest),
        figures,
        {"rest_max_ms": ("<=", 300.0), "moved_while_stopped_rad": ("<=", MOVED)},
        {"rest_ms": to_rest},
    )
