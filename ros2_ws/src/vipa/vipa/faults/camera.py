"""A camera drops out, freezes, or sends each frame twice while the arm moves."""

from collections.abc import Iterator

from vipa.faults.cell import Plan, RunningCell, Seen, wait_for_motion
from vipa.faults.judging import largest, median, milliseconds, rest_ns
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.result import Bound

BOUNDS: dict[str, Bound] = {
    "hold_after_limit_max_ms": ("<=", 100.0),
    "rest_after_limit_max_ms": ("<=", 300.0),
    "chunks_from_old_frames": ("==", 0.0),
    "frames_used_twice": ("==", 0.0),
    "limit_violations": ("==", 0.0),
}
OLDEST_FRAME_S = 0.15  # of the frames behind a chunk, when the controller takes it
_FAULT_S = 1.2
_DUPLICATES = 20  # frames


def inject(cell: RunningCell, options: InjectionOptions) -> Iterator[Outcome]:
    """One outcome for each way to fail: silent, frozen, and repeating itself."""
    random = options.random("camera")
    for fault, command, arguments in (
        ("camera_dropout", "drop_camera", {"seconds": _FAULT_S}),
        ("camera_frozen", "freeze_camera", {}),
    ):
        holds: list[float] = []
        rests: list[float] = []
        afters: list[float] = []
        old = twice = 0
        cell.request("reset_statistics")
        for _ in range(options.repeats):
            name = random.choice(sorted(cell.lab.cameras))
            wait_for_motion(cell, random.uniform(0.1, 1.5))
            begun_ns = cell.now_ns()
            cell.request(command, name=name, **arguments)
            cell.wait(_FAULT_S)
            cell.request("restore_camera", name=name)
            seen = cell.seen
            limit_ns, hold = limit_and_hold(seen, begun_ns, cell.lab.control.observation_age_limit)
            at_rest_ns = rest_ns(seen.samples, begun_ns, next_plan_ns(seen, hold))
            holds.append(milliseconds(limit_ns, hold.time_ns if hold else None))
            rests.append(milliseconds(limit_ns, at_rest_ns))
            afters.append(milliseconds(begun_ns, at_rest_ns))
            old += len(taken_from_old_frames(seen))
            twice += len(frames_used_twice(seen))
        figures = {
            "hold_after_limit_max_ms": largest(holds),
            "rest_after_limit_max_ms": largest(rests),
            "rest_p50_ms": median(afters),
            "rest_max_ms": largest(afters),
            "chunks_from_old_frames": float(old),
            "frames_used_twice": float(twice),
            "limit_violations": limit_violations(cell),
        }
        details = {"hold_after_limit_ms": holds, "rest_after_limit_ms": rests, "rest_ms": afters}
        yield Outcome(fault, len(holds), figures, BOUNDS, details)
    yield _duplicates(cell, options)


def _duplicates(cell: RunningCell, options: InjectionOptions) -> Outcome:
    """Frames that come twice change nothing: the arm goes on, and none is used twice."""
    random = options.random("camera duplicates")
    old = twice = chunks = 0
    cell.request("reset_statistics")
    for _ in range(options.repeats):
        name = random.choice(sorted(cell.lab.cameras))
        wait_for_motion(cell, random.uniform(0.1, 1.0))
        begun_ns = cell.now_ns()
        for _ in range(_DUPLICATES):
            cell.request("duplicate_camera", name=name)
            cell.wait(1.0 / cell.lab.cameras[name].device.frame_rate)
        chunks += sum(plan.time_ns > begun_ns for plan in cell.seen.plans)
        old += len(taken_from_old_frames(cell.seen))
        twice += len(frames_used_twice(cell.seen))
    figures = {
        "chunks": float(chunks),
        "chunks_from_old_frames": float(old),
        "frames_used_twice": float(twice),
        "limit_violations": limit_violations(cell),
    }
    kept = ("chunks_from_old_frames", "frames_used_twice", "limit_violations")
    bounds: dict[str, Bound] = {"chunks": (">=", 1.0), **{name: BOUNDS[name] for name in kept}}
    return Outcome("camera_duplicates", options.repeats * _DUPLICATES, figures, bounds)


def limit_and_hold(seen: Seen, from_ns: int, age_limit_s: float) -> tuple[int, Plan | None]:
    """When the newest observation behind the plan reached its age limit, and the controller's hold.

    Without any chunk that was taken, the limit counts from ``from_ns``. None: there was no hold.
    """
    hold = next((plan for plan in seen.plans if plan.time_ns >= from_ns and plan.chunk_id is None), None)
    taken = [p for p in seen.plans if p.chunk_id in seen.chunks and (hold is None or p.time_ns < hold.time_ns)]
    newest_ns = max((seen.chunks[p.chunk_id].observation_ns for p in taken if p.chunk_id is not None), default=from_ns)
    return newest_ns + round(age_limit_s * 1e9), hold


def next_plan_ns(seen: Seen, hold: Plan | None) -> int | None:
    """When the first chunk after a hold was taken; None: none was."""
    if hold is None:
        return None
    return next((p.time_ns for p in seen.plans if p.time_ns > hold.time_ns and p.chunk_id is not None), None)


def taken_from_old_frames(seen: Seen, oldest_s: float = OLDEST_FRAME_S) -> list[int]:
    """The chunks that the controller took although a frame behind them was too old then."""
    old: list[int] = []
    for plan in seen.plans:
        chunk = None if plan.chunk_id is None else seen.chunks.get(plan.chunk_id)
        if chunk is not None and plan.time_ns - min(chunk.exposures_ns.values()) > oldest_s * 1e9:
            old.append(chunk.chunk_id)
    return old


def frames_used_twice(seen: Seen) -> list[int]:
    """The chunks that the controller took although a frame behind them was behind an earlier one."""
    used: set[tuple[str, int]] = set()
    found: list[int] = []
    for plan in seen.plans:
        chunk = None if plan.chunk_id is None else seen.chunks.get(plan.chunk_id)
        if chunk is not None:
            frames = set(chunk.exposures_ns.items())
            if used & frames:
                found.append(chunk.chunk_id)
            used |= frames
    return found


def limit_violations(cell: RunningCell) -> float:
    """How often the robot found one of its limits violated, since its figures were reset."""
    return float(cell.request("statistics")["fci"]["limit_violations"])
