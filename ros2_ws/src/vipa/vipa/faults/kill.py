"""kill -9 of each node in turn, while the arm moves; the laboratory alone is spared, for without it nothing is left."""

from collections.abc import Iterator

from vipa.faults.cell import RunningCell, SeenState, wait_for_motion
from vipa.faults.judging import largest, median, milliseconds, opened, rest_ns
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.lab import LabConfig
from vipa.result import Bound

BOUNDS: dict[str, Bound] = {
    "rest_max_ms": ("<=", 300.0),
    "whole_again_max_ms": ("<=", 5000.0),
    "hand_opened": ("<=", 0.05),
}
_PATIENCE_S = 30.0
_SILENT_NS = 300_000_000  # a supervisor that was not heard for so long was away


def nodes(lab: LabConfig) -> tuple[str, ...]:
    """The nodes that are killed, by their full names."""
    return (*(f"/camera/{name}" for name in lab.cameras), "/hand", "/policy", "/controller", "/arm", "/supervisor")


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """Each node in turn, in several rounds; one outcome for each node."""
    random = options.random("kill")
    rests: dict[str, list[float]] = {name: [] for name in nodes(cell.lab)}
    wholes: dict[str, list[float]] = {name: [] for name in rests}
    openings: dict[str, list[float]] = {name: [] for name in rests}
    for _ in range(options.repeats):
        for name in random.sample(list(rests), len(rests)):
            wait_for_motion(cell, random.uniform(0.1, 1.5))
            killed_ns = cell.kill(name)
            cell.wait_until(lambda at=killed_ns: whole_ns(cell.seen.cell, at) is not None, _PATIENCE_S, f"{name} again")
            seen = cell.seen
            again_ns = whole_ns(seen.cell, killed_ns)
            rests[name].append(milliseconds(killed_ns, rest_ns(seen.samples, killed_ns, again_ns)))
            wholes[name].append(milliseconds(killed_ns, again_ns))
            openings[name].append(opened(seen.samples, killed_ns, seen.samples[-1].time_ns))
    for name, measured in rests.items():
        figures = {
            "rest_p50_ms": median(measured),
            "rest_max_ms": largest(measured),
            "whole_again_max_ms": largest(wholes[name]),
            "hand_opened": largest(openings[name]),
        }
        details = {"rest_ms": measured, "whole_again_ms": wholes[name]}
        yield Outcome(f"kill{name.replace('/', '_')}", len(measured), figures, BOUNDS, details)


def whole_ns(states: list[SeenState], killed_ns: int) -> int | None:
    """When the cell was ready again, after it was not, or after the supervisor was not heard; None: not yet."""
    was_lost, heard_ns = False, killed_ns
    for state in states:
        if state.time_ns > killed_ns:
            was_lost |= not state.is_ready or state.time_ns - heard_ns > _SILENT_NS
            heard_ns = state.time_ns
            if was_lost and state.is_ready:
                return state.time_ns
    return None
