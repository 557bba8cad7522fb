"""The policy server stalls, or is killed, while the arm moves by its chunks."""

from collections.abc import Iterator
from typing import Literal

from vipa.faults.camera import limit_and_hold, limit_violations, next_plan_ns
from vipa.faults.cell import RunningCell, resume, wait_for_motion
from vipa.faults.judging import largest, median, milliseconds, rest_ns
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound

STALLS_S = (0.2, 5.0)  # shortest and longest; the shortest are over before the arm has to stop
BOUNDS: dict[str, Bound] = {
    "hold_after_limit_max_ms": ("<=", 100.0),
    "rest_after_limit_max_ms": ("<=", 300.0),
    "limit_violations": ("==", 0.0),
}
Fault = Literal["inference_stall", "policy_server_kill"]
BRAKING_NS = 300_000_000
_READY_S = 60.0
_BACK_S = 20.0
_LOST_S = 2.0  # that a killed server stays away


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """Stalls of random lengths, then kills."""
    cell.server.start()
    cell.wait_until(lambda: cell.seen.is_ready, _READY_S, "the cell is ready")
    yield measure(cell, options, "inference_stall")
    yield measure(cell, options, "policy_server_kill")


def measure(cell: RunningCell, options: InjectionOptions, fault: Fault) -> Outcome:
    """Let the server stall, or kill it, again and again, and see when the arm rests and when it moves again.

    Raises:
        VipaError: the arm does not move before a fault, or no chunk comes after it.
    """
    random = options.random(fault)
    holds: list[float] = []
    rests: list[float] = []
    afters: list[float] = []
    backs: list[float] = []
    rode_through = 0
    cell.request("reset_statistics")
    for k in range(options.repeats):
        wait_for_motion(cell, random.uniform(0.1, 1.5), _BACK_S)
        begun_ns = cell.now_ns()
        if fault == "inference_stall":
            share = k / max(options.repeats - 1, 1)
            cell.server.stall()
            cell.wait(STALLS_S[0] + share**2 * (STALLS_S[1] - STALLS_S[0]))
            cell.server.go_on()
        else:
            cell.server.kill()
            cell.wait(_LOST_S)
            cell.server.start()
        over_ns, seen = cell.now_ns(), cell.seen
        cell.wait_until(lambda at=over_ns: _goes_on(cell, at), _BACK_S, "a chunk after the fault")
        limit_ns, hold = limit_and_hold(seen, begun_ns, cell.lab.control.observation_age_limit)
        again_ns = next_plan_ns(seen, hold)
        if hold is None or again_ns is None:
            rode_through += 1
            continue
        at_rest_ns = rest_ns(seen.samples, begun_ns, again_ns)
        holds.append(milliseconds(limit_ns, hold.time_ns))
        backs.append(milliseconds(over_ns, again_ns))
        if again_ns - hold.time_ns > BRAKING_NS or at_rest_ns is not None:  # else over before rest
            rests.append(milliseconds(limit_ns, at_rest_ns))
            afters.append(milliseconds(begun_ns, at_rest_ns))
    figures = {
        "hold_after_limit_max_ms": largest(holds),
        "rest_after_limit_max_ms": largest(rests),
        "rest_p50_ms": median(afters),
        "rest_max_ms": largest(afters),
        "over_before_hold": float(rode_through),
        "back_max_ms": largest(backs),
        "limit_violations": limit_violations(cell),
    }
    details = {"hold_after_limit_ms": holds, "rest_after_limit_ms": rests, "rest_ms": afters, "back_ms": backs}
    return Outcome(fault, options.repeats, figures, BOUNDS, details)


def _goes_on(cell: RunningCell, over_ns: int) -> bool:
    """Whether a chunk came after the fault; a cell that the policy stopped meanwhile, the operator resets."""
    if not cell.seen.is_ready:
        resume(cell)
    return any(plan.chunk_id is not None and plan.time_ns > over_ns for plan in cell.seen.plans)
