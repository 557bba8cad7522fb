"""What an injection can do with a running cell, and what it sees of it; the node ``faults`` implements it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from vipa.errors import VipaError
from vipa.faults.judging import MOVING_SPEED, Sample
from vipa.faults.policy_server import PolicyServerProcess
from vipa.lab import LabConfig
from vipa_inference.policy import ActionChunk

_ATTEMPTS = 10
_KEPT = 10  # chunks and plans: those of the last second


@dataclass(frozen=True)
class Plan:
    """What the controller said of its plan: a chunk was taken into it or, ``chunk_id`` being None, the arm stopped."""

    time_ns: int  # ROS time
    chunk_id: int | None


@dataclass(frozen=True)
class SeenState:
    """What the supervisor said."""

    time_ns: int
    is_ready: bool
    reason: str


@dataclass
class Seen:
    """Everything since the last ``clear``, and the last chunks and plans before it."""

    samples: list[Sample] = field(default_factory=list[Sample])
    chunks: dict[int, ActionChunk] = field(default_factory=dict[int, ActionChunk])  # well-formed ones, by whomever
    plans: list[Plan] = field(default_factory=list[Plan])
    refusals: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])  # chunk, rule
    executed: set[int] = field(default_factory=set[int])  # chunks of which a step was executed
    cell: list[SeenState] = field(default_factory=list[SeenState])
    arm_modes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])  # ns, ArmState.mode
    hand_read_ns: list[int] = field(default_factory=list[int])  # when the hand was read
    driver_refusals: int = 0  # trajectories that the arm driver refused since it started

    def clear(self) -> None:
        """Forget what is over; what the plan was made from is kept."""
        chunks = dict(list(self.chunks.items())[-_KEPT:])
        fresh = Seen(chunks=chunks, plans=self.plans[-_KEPT:], driver_refusals=self.driver_refusals)
        self.__dict__.update(fresh.__dict__)

    @property
    def is_ready(self) -> bool:
        """Whether the supervisor last allowed motion."""
        return bool(self.cell) and self.cell[-1].is_ready


class RunningCell(Protocol):
    """A simulated cell in which a policy moves the arm."""

    lab: LabConfig
    seen: Seen
    server: PolicyServerProcess  # of a served cell

    def now_ns(self) -> int:
        """Simulated time, ns."""
        ...

    def wait(self, seconds: float) -> None:
        """Let simulated time pass, and see what happens."""
        ...

    def wait_until(self, is_met: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until something is seen.

        Raises:
            VipaError: it is not, within so much simulated time.
        """
        ...

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Ask the laboratory's control port.

        Raises:
            LaboratoryError: it does not answer, or refuses.
        """
        ...

    def call(self, service: str) -> tuple[bool, str]:
        """Call a trigger service; its answer."""
        ...

    def publish(self, chunk: ActionChunk, **fields: Any) -> None:
        """Send a chunk to the controller, as a policy would, with fields of its message changed."""
        ...

    def kill(self, node: str) -> int:
        """kill -9 of the process of a node, by its full name; the moment, ns of ROS time.

        Raises:
            VipaError: there is no such process.
        """
        ...


def moves(cell: RunningCell) -> bool:
    """Whether the cell is ready and the arm moves fast enough for a stop to show."""
    seen = cell.seen
    return seen.is_ready and bool(seen.samples) and seen.samples[-1].speed >= MOVING_SPEED


def wait_for_motion(cell: RunningCell, pause_s: float, patience_s: float = 20.0) -> None:
    """Wait for a while, then until the arm moves; what was seen before is forgotten.

    Raises:
        VipaError: it does not.
    """
    cell.wait(pause_s)
    cell.wait_until(lambda: moves(cell), patience_s, "the arm moves")
    cell.seen.clear()
    cell.wait(0.0)


def resume(cell: RunningCell, arm_needs_recovery: bool = False) -> None:
    """What an operator does after a stop: recover the arm, where that is needed, and allow motion.

    Raises:
        VipaError: one of them is refused, again and again.
    """
    for service in (*(["/fr3/recover"] if arm_needs_recovery else []), "/supervisor/resume"):
        attempts = 1
        succeeded, answer = cell.call(service)
        while not succeeded:
            if attempts == _ATTEMPTS:
                raise VipaError(f"faults: {service} is refused: {answer}")
            cell.wait(0.3)  # the supervisor hears ten times a second that all is well
            succeeded, answer = cell.call(service)
            attempts += 1
