"""What is kept of a trial: one line of JSON in a log that survives a crash of the process or the machine."""

import contextlib
import dataclasses
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vipa.config import from_mapping
from vipa.errors import VipaError

Outcome = Literal["succeeded", "failed", "aborted", "time_limit"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class TrialResult:
    """One finished trial."""

    task: str
    instruction: str
    seed: int
    variant: str  # "seen" or "unseen"
    policy: str
    policy_hash: str
    sub_tasks: tuple[str, ...]
    done: tuple[bool, ...]  # one per sub-task
    times: tuple[float | None, ...]  # s from the start to the completion of each sub-task; None: not done
    start_ns: int  # ROS time
    duration: float  # s
    outcome: Outcome
    detail: str = ""
    recording: str | None = None  # path

    def __post_init__(self) -> None:
        if not len(self.sub_tasks) == len(self.done) == len(self.times):
            raise ValueError(
                f"sub_tasks, done, times: {len(self.sub_tasks)}, {len(self.done)}, {len(self.times)} values"
            )
        if (self.outcome == "succeeded") != all(self.done):
            raise ValueError(f"outcome: {self.outcome} contradicts done: {list(self.done)}")

    @property
    def succeeded(self) -> bool:
        """True where every sub-task was done in time."""
        return self.outcome == "succeeded"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "TrialResult":
        """The result in one line of JSON.

        Raises:
            VipaError: the line is no JSON, or no trial result; the message names the key.
        """
        try:
            content: Any = json.loads(line)
        except ValueError as error:
            raise VipaError(f"no JSON: {error}") from None
        return from_mapping(cls, content)


class TrialLog:
    """Trial results, one a line, appended to a file and forced to the disk.

    A last line that a crash cut off is skipped when reading, and cut away by the next append.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, result: TrialResult) -> None:
        """Add a result; it is on the disk when this returns, and the file is as before where this raises.

        Raises:
            VipaError: the file cannot be written (no space, no permission).
        """
        line = (result.to_json() + "\n").encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # two trial runners may share the log
                size = _mended_size(file.fileno())
                try:
                    if os.write(file.fileno(), line) != len(line):
                        raise OSError("no space left for the line")
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):  # the next append mends what this leaves
                        os.ftruncate(file.fileno(), size)
                    raise
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)  # the name of a new file
            finally:
                os.close(directory)
        except OSError as error:
            raise VipaError(
                f"trial log {self._path}: {error.strerror or error}. The result was not kept: {result.to_json()}"
            ) from None

    def read(self) -> list[TrialResult]:
        """All results, oldest first; none where there is no file yet.

        Raises:
            VipaError: the file cannot be read, or a line is no result (but for a cut-off last one); the message
                names the line.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise VipaError(f"trial log {self._path}: {error.strerror}") from None
        lines = content.split(b"\n")
        results: list[TrialResult] = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                results.append(TrialResult.from_json(line.decode()))
            except (VipaError, UnicodeDecodeError) as error:
                if number == len(lines):
                    break  # written halfway
                raise VipaError(f"trial log {self._path}, line {number}: {error}. Correct or remove the line") from None
        return results


def _mended_size(file: int) -> int:
    """Size of the file after its last line, if a crash cut it off, was completed or removed."""
    size = os.fstat(file).st_size
    content = os.pread(file, size, 0)
    if content and not content.endswith(b"\n"):
        tail_start = content.rfind(b"\n") + 1
        try:
            json.loads(content[tail_start:])
        except ValueError:
            os.ftruncate(file, tail_start)
            return tail_start
        return size + os.write(file, b"\n")
    return size
