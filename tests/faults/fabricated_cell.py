"""A cell without a graph: an arm that moves until it is told to stop, on a clock that only waiting moves."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vipa.errors import VipaError
from vipa.faults.cell import Plan, Seen, SeenState
from vipa.faults.judging import Sample
from vipa.faults.policy_server import PolicyServerProcess
from vipa.lab import load_lab
from vipa_inference.policy import ActionChunk

MS = 1_000_000
START_NS = 1_000_000_000
STEP_NS = 10 * MS
SPEED = 0.4  # rad/s


class FabricatedServer(PolicyServerProcess):
    """Answers, or does not."""

    def __init__(self) -> None:
        super().__init__(0)
        self.answers = True

    def start(self, delay: float = 0.0) -> None:
        self.answers = True

    def stall(self) -> None:
        self.answers = False

    def go_on(self) -> None:
        self.answers = True

    def kill(self) -> None:
        self.answers = False


class FabricatedCell:
    """A ``RunningCell`` of a few lines.

    Args:
        braking_s: from a fault to rest.
        creeps: rad/s with which the arm goes on although it should be at rest.
        away_s: how long the cell is not ready after a kill.
        gate: whether the controller refuses a chunk; None: it refuses every one that it is sent.
        lab: that of the cell.
        period_ns: between two chunks.
    """

    def __init__(
        self,
        braking_s: float = 0.1,
        creeps: float = 0.0,
        away_s: float = 1.0,
        gate: Callable[[ActionChunk], bool] | None = None,
        lab: str = "simulated",
        period_ns: int = 100 * MS,
    ) -> None:
        self.lab = load_lab(lab)
        self.seen = Seen()
        self._server = FabricatedServer()
        self.server: PolicyServerProcess = self._server
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.calls: list[str] = []
        self.killed: list[str] = []
        self.violations = 0  # of the robot's limits
        self._braking_s, self._creeps, self._away_s = braking_s, creeps, away_s
        self._refuses = gate or (lambda chunk: True)
        self._period_ns, self._observed_ns, self._misses_chunks = period_ns, START_NS, False
        self._now_ns = START_NS
        self._stopped_ns: int | None = None
        self._away_until_ns = 0
        self._q = np.zeros(7)
        self._next_chunk = 1
        self._look()

    def now_ns(self) -> int:
        return self._now_ns

    def wait(self, seconds: float) -> None:
        until_ns = self._now_ns + round(seconds * 1e9)
        while self._now_ns < until_ns:
            self._now_ns += STEP_NS
            self._q = self._q + self._speed() * STEP_NS * 1e-9
            if self._stopped_ns is not None and 0 < self._away_until_ns <= self._now_ns:
                self._stopped_ns, self._away_until_ns = None, 0
            self._look()
        if not self.seen.samples:
            self._look()

    def wait_until(self, is_met: Callable[[], bool], seconds: float, what: str) -> None:
        deadline_ns = self._now_ns + round(seconds * 1e9)
        while not is_met():
            if self._now_ns > deadline_ns:
                raise VipaError(f"not seen: {what}")
            self.wait(0.01)

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.requests.append((command, arguments))
        if command in ("push", "drop_packets", "user_stop", "disconnect_arm"):
            self._stop()
        return {"fci": {"limit_violations": self.violations}} if command == "statistics" else {}

    def call(self, service: str) -> tuple[bool, str]:
        self.calls.append(service)
        if service == "/supervisor/stop":
            self._stop()
        elif service == "/supervisor/resume":
            self._stopped_ns = None
        return True, ""

    def publish(self, chunk: ActionChunk, **fields: Any) -> None:
        if self._refuses(chunk):
            self.seen.refusals.append((chunk.chunk_id, "rule"))
        else:
            self.seen.plans.append(Plan(self._now_ns + 1, chunk.chunk_id))

    def kill(self, node: str) -> int:
        self.killed.append(node)
        self._stop()
        self._away_until_ns = self._now_ns + round(self._away_s * 1e9)
        return self._now_ns

    def _stop(self) -> None:
        self._stopped_ns = self._now_ns
        self.seen.plans.append(Plan(self._now_ns, None))

    def _speed(self) -> float:
        if self._stopped_ns is None:
            return SPEED
        left = 1.0 - (self._now_ns - self._stopped_ns) * 1e-9 / self._braking_s
        return max(SPEED * left, self._creeps)

    def _look(self) -> None:
        seen, now_ns = self.seen, self._now_ns
        if now_ns % self._period_ns == 0 and self._server.answers and self._misses_chunks:
            self._stopped_ns, self._misses_chunks = None, False
        seen.samples.append(Sample(now_ns, self._q.copy(), np.full(7, self._speed()), np.full(6, 0.2)))
        seen.cell.append(SeenState(now_ns, self._stopped_ns is None or self._misses_chunks, ""))
        seen.hand_read_ns.append(now_ns)
        if self._stopped_ns is not None:
            return
        if now_ns % self._period_ns == 0 and self._server.answers:
            seen.chunks[self._next_chunk] = self._chunk()
            seen.plans.append(Plan(now_ns, self._next_chunk))
            self._observed_ns = seen.chunks[self._next_chunk].observation_ns
            self._next_chunk += 1
        elif now_ns - self._observed_ns > self.lab.control.observation_age_limit * 1e9:
            self._misses_chunks = True
            self._stop()

    def _chunk(self) -> ActionChunk:
        exposed_ns = self._now_ns - 40 * MS
        return ActionChunk(
            actions=np.full((16, 12), 0.01),
            step_period=0.05,
            reference_pose=np.eye(4),
            observation_ns=exposed_ns,
            policy="wave",
            policy_hash="0",
            chunk_id=self._next_chunk,
            exposures_ns={"front": exposed_ns, "side": exposed_ns},
        )
