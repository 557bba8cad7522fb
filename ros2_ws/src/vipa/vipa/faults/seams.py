"""Chunks that come late: at their seams, the arm must stay within every limit of the robot."""

from collections.abc import Iterator

from vipa.faults.camera import limit_violations
from vipa.faults.cell import RunningCell, moves, resume
from vipa.faults.judging import REST_SPEED, median, milliseconds
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound

DELAYS_MS = (0, 50, 100, 200, 300)  # of a request and its answer together
BOUNDS: dict[str, Bound] = {
    "limit_violations": ("==", 0.0),
    "refused_by_driver": ("==", 0.0),
    "chunks_taken": (">=", 10.0),
}
_WATCH_S = 4.0  # for each repeat
_READY_S = 60.0
_RECONNECTED_S = 2.5  # the policy node tries again after at most 2 s


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """For each delay, let the wave run and count what the robot found outside its limits."""
    for delay_ms in DELAYS_MS:
        cell.server.kill()
        cell.server.start(delay_ms * 1e-3)
        _bring_back(cell)
        cell.request("reset_statistics")
        begun_ns, before = cell.now_ns(), cell.seen.driver_refusals
        cell.seen.clear()
        cell.wait(_WATCH_S * options.repeats)
        seen = cell.seen
        taken = [plan for plan in seen.plans if plan.time_ns > begun_ns and plan.chunk_id is not None]
        ages = [
            milliseconds(seen.chunks[plan.chunk_id].observation_ns, plan.time_ns)
            for plan in taken
            if plan.chunk_id in seen.chunks
        ]
        figures = {
            "chunks_taken": float(len(taken)),
            "age_p50_ms": median(ages),
            "holds": float(sum(plan.time_ns > begun_ns and plan.chunk_id is None for plan in seen.plans)),
            "moving_share": sum(sample.speed > REST_SPEED for sample in seen.samples) / max(len(seen.samples), 1),
            "refused_by_driver": float(seen.driver_refusals - before),
            "limit_violations": limit_violations(cell),
        }
        yield Outcome(f"seams_{delay_ms}ms", len(taken), figures, BOUNDS)


def _bring_back(cell: RunningCell) -> None:
    """Wait until the arm moves; where the server was away for too long, the operator allows it."""
    cell.wait(_RECONNECTED_S)
    if any(state.is_ready for state in cell.seen.cell) and not cell.seen.is_ready:
        resume(cell)
    cell.wait_until(lambda: moves(cell), _READY_S, "the arm moves")
