"""Who prepares a task and judges its sub-tasks: the simulated laboratory, or a person at a real one."""

import queue
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TextIO, cast

from vipa.errors import VipaError
from vipa.lab import split_address
from vipa.laboratory_client import LaboratoryClient, LaboratoryError

PATIENCE_S = 0.1


class RefereeError(VipaError):
    """The referee cannot be reached, refuses, or answers what cannot be understood."""


@dataclass(frozen=True)
class Assignment:
    """What the robot is to do in one trial."""

    task: str
    instruction: str
    sub_tasks: tuple[str, ...]
    time_limit: float  # s

    def __post_init__(self) -> None:
        if not self.sub_tasks:
            raise ValueError(f"sub_tasks: task {self.task} has none")
        if not 0.0 < self.time_limit < float("inf"):
            raise ValueError(f"time_limit: {self.time_limit} is no positive number of seconds")


@dataclass(frozen=True)
class Judgement:
    """Which sub-tasks are done, at a time on the referee's clock.

    ``failure`` says why the task cannot succeed any more, ``abort`` why the trial must end without regard to the task;
    both are empty where it goes on.
    """

    done: tuple[bool, ...]
    time_ns: int
    failure: str = ""
    abort: str = ""


OPERATOR_TASKS = {
    "reach": Assignment(
        "reach",
        "touch the red, then the green, then the blue marker",
        ("touch red", "touch green", "touch blue"),
        60.0,
    ),
    "put_three_obj": Assignment(
        "put_three_obj",
        "open the drawer, put the apple, the banana and the plum into it one after the other, and close it",
        ("open drawer", "pick & place apple", "pick & place banana", "pick & place plum", "close drawer"),
        150.0,
    ),
    "wipe_board": Assignment(
        "wipe_board",
        "pick up the cloth and wipe all pen marks off the whiteboard",
        ("pick up cloth", "wipe pen marks", "clean entire whiteboard"),
        90.0,
    ),
    "water_plant": Assignment(
        "water_plant",
        "pick up the watering can, hold its spout to the plant, and press the spray handle",
        ("pick up watering can", "locate plant", "press spray handle"),
        60.0,
    ),
}
"""The tasks that a person can set up and judge."""


class Referee(Protocol):
    """Prepares the cell for a trial and judges it."""

    def reset(self, task: str, seed: int, variant: str) -> Assignment:
        """Prepare the cell.

        Raises:
            RefereeError: the referee cannot do it.
        """
        ...

    def judge(self) -> Judgement:
        """The state of the sub-tasks now.

        Raises:
            RefereeError: the referee cannot say.
        """
        ...

    def answer(self, sub_task: str, line: str) -> bool:
        """Take an operator's answer about a sub-task, or about the set-up; False where none is waited for."""
        ...

    def close(self) -> None:
        """Release what the referee holds."""
        ...


class LaboratoryReferee:
    """The simulated laboratory judges from the state of its world."""

    def __init__(self, address: tuple[str, int], timeout: float = 5.0) -> None:
        self._client = LaboratoryClient(address, timeout)
        self._sub_tasks = 0

    def reset(self, task: str, seed: int, variant: str = "seen") -> Assignment:
        """Set the scene of a task; ``seed`` places the objects, ``variant`` is "seen" or "unseen"."""
        reply = self._request("reset", task=task, seed=seed, variant=variant)
        try:
            assignment = Assignment(
                task=_text(reply, "task"),
                instruction=_text(reply, "instruction"),
                sub_tasks=tuple(_list_of(reply, "sub_tasks", str)),
                time_limit=_number(reply, "time_limit"),
            )
        except ValueError as error:
            raise RefereeError(f"{self._name}: its answer to reset cannot be used: {error}") from None
        self._sub_tasks = len(assignment.sub_tasks)
        return assignment

    def judge(self) -> Judgement:
        """Ask for the state of the sub-tasks."""
        reply = self._request("judge")
        try:
            done = tuple(_list_of(reply, "done", bool))
            if self._sub_tasks and len(done) != self._sub_tasks:
                raise ValueError(f"done: {len(done)} values for {self._sub_tasks} sub-tasks")
            failure = _text(reply, "failure") if "failure" in reply else ""
            return Judgement(done, _nanoseconds(reply, "time_ns"), failure)
        except ValueError as error:
            raise RefereeError(f"{self._name}: its answer to judge cannot be used: {error}") from None

    def answer(self, sub_task: str, line: str) -> bool:
        """Never: the laboratory judges by itself."""
        return False

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._client.close()

    @property
    def _name(self) -> str:
        return self._client.name

    def _request(self, command: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._client.request(command, **arguments)
        except LaboratoryError as error:
            raise RefereeError(str(error)) from None


@dataclass(frozen=True)
class Question:
    """What a person is asked: to set a task up (``kind`` "set_up"), or whether a sub-task is done ("judge")."""

    kind: str
    sub_task: str
    text: str


class OperatorReferee:
    """A person judges: asked for one sub-task after the other, answers y or n and Enter; "a REASON" aborts the trial.

    Args:
        assignments: the tasks by name.
        keys: where answers come from, a terminal; None: from ``answer`` alone.
        screen: where the questions go.
        clock_ns: ROS time, ns.
        on_question: is told each question, and None when there is none any more.
        keep_waiting: is called every ``PATIENCE_S`` while ``reset`` waits; False: give up.
    """

    def __init__(
        self,
        assignments: Mapping[str, Assignment],
        keys: TextIO | None,
        screen: TextIO,
        clock_ns: Callable[[], int],
        on_question: Callable[[Question | None], None] = lambda question: None,
        keep_waiting: Callable[[], bool] = lambda: True,
    ) -> None:
        self._assignments = assignments
        self._keys, self._screen = keys, screen
        self._clock_ns, self._on_question, self._keep_waiting = clock_ns, on_question, keep_waiting
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader: threading.Thread | None = None
        self._question: Question | None = None
        self._sub_tasks: tuple[str, ...] = ()
        self._answers: list[bool] = []
        self._abort = ""
        self._closed = False

    def reset(self, task: str, seed: int, variant: str = "seen") -> Assignment:
        """Ask the operator to set the cell up, and wait for Enter."""
        if task not in self._assignments:
            raise RefereeError(f"operator: unknown task {task}; known: {', '.join(sorted(self._assignments))}")
        if self._keys is not None and self._reader is None:
            self._reader = threading.Thread(target=self._read, args=(self._keys,), name="operator keys", daemon=True)
            self._reader.start()
        while not self._lines.empty():
            self._next_line()  # typed ahead, meant for the trial before
        assignment = self._assignments[task]
        self._sub_tasks, self._answers, self._abort = assignment.sub_tasks, [], ""
        set_up = f"Set up {task} ({variant}, placement {seed}): {assignment.instruction}"
        self._say(set_up)
        self._say("Press Enter when the cell is ready.")
        self._put(Question("set_up", "", set_up))
        if not self._wait_for_line():
            self._put(None)
            raise RefereeError(
                "operator: the terminal was closed before the cell was ready. Start the trial on a terminal"
            )
        self._ask()
        return assignment

    def judge(self) -> Judgement:
        """What the operator has answered so far; a failure once every question is answered and one answer is no."""
        while not self._closed and len(self._answers) < len(self._sub_tasks) and not self._lines.empty():
            line = self._next_line()
            if line is None:
                break
            self._take(line)
        failure = ""
        if len(self._answers) == len(self._sub_tasks):
            missed = [name for name, done in zip(self._sub_tasks, self._answers, strict=True) if not done]
            failure = f"the operator answered no to: {', '.join(missed)}" if missed else ""
        elif self._closed:
            failure = "the operator's terminal was closed"
        done = (*self._answers, *[False] * (len(self._sub_tasks) - len(self._answers)))
        return Judgement(done, self._clock_ns(), failure, self._abort)

    def answer(self, sub_task: str, line: str) -> bool:
        """Answer from elsewhere than the terminal with what would be typed there.

        Args:
            sub_task: about which the operator was asked; empty: about the set-up.
            line: "" (ready), "y", "n", or "a REASON".

        Returns:
            False where this is not what is asked, or was answered already.
        """
        question = self._question
        if question is None or question.sub_task != sub_task or (question.kind == "set_up") != (line == ""):
            return False
        self._question = None
        self._lines.put(line)
        return True

    def close(self) -> None:
        """The thread that waits for keys ends with the stream or the process."""

    def _wait_for_line(self) -> bool:
        while not self._closed and self._keep_waiting():
            try:
                self._closed = self._lines.get(timeout=PATIENCE_S) is None
                return not self._closed
            except queue.Empty:
                continue
        return False

    def _take(self, line: str) -> None:
        key, _, rest = line.partition(" ")
        if key.lower() in ("a", "abort") and rest.strip():
            self._abort = f"the operator: {rest.strip()}"
        elif key[:1].lower() in ("y", "n"):
            self._answers.append(key[:1].lower() == "y")
            self._ask()
        else:
            self._say("Please answer y (done) or n (failed), or abort the trial: a REASON.")
            self._ask()

    def _read(self, keys: TextIO) -> None:
        for line in keys:
            self._lines.put(line.strip())
        self._lines.put(None)

    def _next_line(self) -> str | None:
        line = self._lines.get()
        self._closed = self._closed or line is None
        return line

    def _ask(self) -> None:
        if len(self._answers) == len(self._sub_tasks):
            self._put(None)
            return
        sub_task = self._sub_tasks[len(self._answers)]
        text = f"Sub-task {len(self._answers) + 1}: {sub_task} - done?"
        self._say(f"{text} [y/n]")
        self._put(Question("judge", sub_task, text))

    def _put(self, question: Question | None) -> None:
        self._question = question
        self._on_question(question)

    def _say(self, line: str) -> None:
        self._screen.write(line + "\n")
        self._screen.flush()


def make_referee(
    address: str,
    clock_ns: Callable[[], int],
    on_question: Callable[[Question | None], None] = lambda question: None,
    keep_waiting: Callable[[], bool] = lambda: True,
) -> Referee:
    """The referee that ``referee`` in a laboratory's YAML names: "operator", or the address of a control port.

    Raises:
        ConfigurationError: neither.
    """
    if address == "operator":
        keys = sys.stdin if sys.stdin.isatty() else None
        return OperatorReferee(OPERATOR_TASKS, keys, sys.stdout, clock_ns, on_question, keep_waiting)
    return LaboratoryReferee(split_address(address, "referee"))


def _text(reply: dict[str, Any], key: str) -> str:
    if not isinstance(reply.get(key), str):
        raise ValueError(f"{key}: expected text, found {reply.get(key)!r}")
    return reply[key]


def _number(reply: dict[str, Any], key: str) -> float:
    value = reply.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key}: expected a number, found {value!r}")
    return value


def _nanoseconds(reply: dict[str, Any], key: str) -> int:
    value = reply.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key}: expected whole nanoseconds, found {value!r}")
    return value


def _list_of(reply: dict[str, Any], key: str, kind: type[Any]) -> list[Any]:
    value = reply.get(key)
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in cast(list[Any], value)):
        raise ValueError(f"{key}: expected a list of {kind.__name__}, found {value!r}")
    return cast(list[Any], value)
