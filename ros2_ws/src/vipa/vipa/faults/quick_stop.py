"""The policy server stalls, or is killed, in a laboratory that stops as soon as a quick policy misses three frames.

How soon the arm rests after a stall is the age that an observation may reach, less what it has reached, and the way to
rest. A laboratory chooses that age: more lets a slow policy or a lossy network pass, less stops sooner. It chooses the
share of the joints' speed, too, on which the way to rest depends.
"""

from collections.abc import Iterator
from dataclasses import replace

from vipa.faults.cell import RunningCell
from vipa.faults.inference import Fault, measure
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound

REST_BOUND: Bound = ("<=", 300.0)
_FAULTS: tuple[Fault, ...] = ("inference_stall", "policy_server_kill")
_READY_S = 60.0
_WATCHED_S = 20.0


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """How often the arm stops for no fault, then stalls and kills, timed from their beginning."""
    cell.server.start()
    cell.wait_until(lambda: cell.seen.is_ready, _READY_S, "the cell is ready")
    cell.wait_until(lambda: bool(cell.seen.plans), _READY_S, "the first chunk")
    cell.seen.clear()
    begun_ns = cell.now_ns()
    cell.wait(_WATCHED_S)
    holds = sum(plan.chunk_id is None and plan.time_ns > begun_ns for plan in cell.seen.plans)
    for fault in _FAULTS:
        found = measure(cell, options, fault)
        figures = {**found.figures, "holds_without_a_fault_per_minute": holds * 60.0 / _WATCHED_S}
        bounds = {**found.bounds, "rest_max_ms": REST_BOUND}
        yield replace(found, name=f"quick_{fault}", figures=figures, bounds=bounds)
