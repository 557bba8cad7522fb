"""Lost packets, a reflex, a user stop and a lost connection of the arm, while it moves."""

from collections.abc import Callable, Iterator

from vipa.faults.cell import RunningCell, resume, wait_for_motion
from vipa.faults.judging import MOVED, largest, median, milliseconds, moved, rest_ns
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound

BOUNDS: dict[str, Bound] = {
    "rest_max_ms": ("<=", 300.0),
    "queue_not_flushed": ("==", 0.0),
    "moved_by_itself_rad": ("<=", MOVED),
}
_WATCH_S = 3.0
_LOST_PACKETS = 20  # in a row: then the robot gives up
_PUSH_N, _PUSH_S = 100.0, 0.1
_PRESSED_S = 1.0  # for so long the user stop


def _push(cell: RunningCell) -> None:
    cell.request("push", force=[0.0, 0.0, _PUSH_N], duration_s=_PUSH_S)


FAULTS: dict[str, Callable[[RunningCell], object]] = {
    "arm_packet_loss": lambda cell: cell.request("drop_packets", n=_LOST_PACKETS),
    "arm_reflex": _push,
    "arm_user_stop": lambda cell: cell.request("user_stop"),
    "arm_disconnect": lambda cell: cell.request("disconnect_arm"),
}


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """Each fault, then a while in which nothing may move, then the operator's recovery."""
    for fault, begin in FAULTS.items():
        random = options.random(fault)
        rests: list[float] = []
        ways: list[float] = []
        not_flushed = 0
        for _ in range(options.repeats):
            wait_for_motion(cell, random.uniform(0.1, 1.5))
            begun_ns = cell.now_ns()
            begin(cell)
            if fault == "arm_user_stop":
                cell.wait(_PRESSED_S)
                cell.request("release_user_stop")
            cell.wait(_WATCH_S)
            seen = cell.seen
            at_rest_ns = rest_ns(seen.samples, begun_ns)
            rests.append(milliseconds(begun_ns, at_rest_ns))
            ways.append(moved(seen.samples, at_rest_ns or begun_ns + round(3e8), seen.samples[-1].time_ns))
            not_flushed += not any(plan.chunk_id is None and plan.time_ns >= begun_ns for plan in seen.plans)
            resume(cell, arm_needs_recovery=not seen.is_ready)
        figures = {
            "rest_p50_ms": median(rests),
            "rest_max_ms": largest(rests),
            "queue_not_flushed": float(not_flushed),
            "moved_by_itself_rad": largest(ways),
        }
        yield Outcome(fault, options.repeats, figures, BOUNDS, {"rest_ms": rests, "moved_by_itself_rad": ways})
