"""Real-time chunking (arXiv 2506.07339): which rows of the controller's plan are committed when a chunk is inferred.

While a chunk is inferred the robot goes on with the plan that it has. What of that plan will be executed before the new
chunk can take effect is committed; a policy that begins its chunk with it makes chunks that join smoothly. The times
are: observation < start of the inference < acceptance by the controller < effect, ``lead`` later.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import ActionChunk, CommittedPlan
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

_NS = 1_000_000_000
_REMEMBERED = 8  # chunks that were inferred and whose acceptance is awaited
_CLOCK_JUMP_NS = _NS // 10


@dataclass(frozen=True)
class DelayConfig:
    """How the delay of the next chunk is foreseen from the delays of the last ones."""

    window: int = 10  # chunks
    initial: float = 0.1  # s, while nothing was measured
    limit: float = 0.5  # s, the estimate never exceeds this

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window: {self.window} is less than 1")
        if not 0 <= self.initial <= self.limit < math.inf:
            raise ValueError(f"initial: {self.initial} s is outside 0 s to the limit, {self.limit} s")


class DelayEstimator:
    """The longest of the last delays: a prefix that is too short gives a jump, one that is too long little harm."""

    def __init__(self, config: DelayConfig | None = None) -> None:
        self._config = config or DelayConfig()
        self._delays: deque[float] = deque(maxlen=self._config.window)

    def add(self, seconds: float) -> None:
        """Take a measured delay (s); one that is negative or not finite is ignored."""
        if math.isfinite(seconds) and seconds >= 0.0:
            self._delays.append(seconds)

    def estimate(self) -> float:
        """The delay to expect (s), from zero to the limit."""
        return min(max(self._delays), self._config.limit) if self._delays else self._config.initial


class PlanTracker:
    """Follows the controller's plan on the side of the policy.

    Args:
        lead: s from the acceptance of a chunk to its first effect, ``ScheduleConfig.lead_s`` of the controller.
        delay: how the time from the start of an inference to the acceptance of its chunk is foreseen.
    """

    def __init__(self, lead: float, delay: DelayConfig | None = None) -> None:
        self._lead = lead
        self._delay = DelayEstimator(delay)
        self._starts: OrderedDict[int, int] = OrderedDict()  # start of the inference of a chunk, ns, by its id
        self._plan: CommittedPlan | None = None
        self._accepted_ns = 0

    @property
    def expected_delay(self) -> float:
        """Seconds from the start of an inference to the first effect of its chunk."""
        return self._delay.estimate() + self._lead

    @property
    def plan_ns(self) -> int:
        """When the controller accepted what is its newest plan; 0 while none is known."""
        return self._accepted_ns

    def takes_effect_ns(self, start_ns: int) -> int:
        """When a chunk whose inference begins at ``start_ns`` is expected to take effect."""
        return start_ns + round(self.expected_delay * _NS)

    def inferred(self, chunk_id: int, start_ns: int) -> None:
        """Remember when the inference of a chunk began."""
        self._starts[chunk_id] = start_ns
        while len(self._starts) > _REMEMBERED:
            self._starts.popitem(last=False)

    def received(self, plan: CommittedPlan | None, chunk_id: int, accepted_ns: int) -> None:
        """Take the controller's newest plan, None where the arm is stopped, and when it accepted its newest chunk."""
        self._plan, self._accepted_ns = plan, accepted_ns
        start_ns = self._starts.pop(chunk_id, None)
        if plan is not None and start_ns is not None:
            self._delay.add((accepted_ns - start_ns) / _NS)

    def committed(self, observation_ns: int, now_ns: int) -> CommittedPlan | None:
        """What a chunk for this observation, whose inference begins now, should begin with; None: anything will do.

        A plan from the future is of a clock that was set back since, and is forgotten.
        """
        if now_ns < self._accepted_ns - _CLOCK_JUMP_NS:
            self._plan, self._accepted_ns = None, 0
            self._starts.clear()
        return committed_part(self._plan, observation_ns, self.takes_effect_ns(now_ns))


def committed_part(plan: CommittedPlan | None, observation_ns: int, until_ns: int) -> CommittedPlan | None:
    """The plan at the times of the rows of a new chunk, ``observation_ns + k * step`` for k = 1, 2, ...

    Args:
        plan: rows at equal distances, the step period of the chunks.
        observation_ns: of the new chunk; rows before it do not count.
        until_ns: when the new chunk takes effect; rows after it do not count.

    Returns:
        The rows; None where the plan has none to give, or begins only after the new chunk's first row.
    """
    if plan is None or len(plan.times_ns) < 2:
        return None
    step_ns = int(plan.times_ns[1] - plan.times_ns[0])
    end_ns = min(until_ns, int(plan.times_ns[-1]))
    count = (end_ns - observation_ns) // step_ns
    if count < 1 or plan.times_ns[0] > observation_ns + step_ns:
        return None
    return interpolate(plan, observation_ns + step_ns * np.arange(1, count + 1, dtype=np.int64))


def interpolate(plan: CommittedPlan, times_ns: NDArray[np.int64]) -> CommittedPlan:
    """The plan at the times (N,): straight lines between its rows, the shortest turns; constant outside."""
    if len(plan.times_ns) == 1:
        return CommittedPlan(
            times_ns, plan.poses.repeat(len(times_ns), axis=0), plan.hand.repeat(len(times_ns), axis=0)
        )
    before = np.clip(np.searchsorted(plan.times_ns, times_ns, side="right") - 1, 0, len(plan.times_ns) - 2)
    start_ns, end_ns = plan.times_ns[before], plan.times_ns[before + 1]
    share = np.clip((times_ns - start_ns) / (end_ns - start_ns), 0.0, 1.0)[:, None]
    start, end = plan.poses[before], plan.poses[before + 1]
    turn = rotation_vector_from_matrix(end[:, :3, :3] @ start[:, :3, :3].transpose(0, 2, 1))
    poses = start.copy()
    poses[:, :3, 3] += share * (end[:, :3, 3] - start[:, :3, 3])
    poses[:, :3, :3] = matrix_from_rotation_vector(share * turn) @ start[:, :3, :3]
    return CommittedPlan(times_ns, poses, plan.hand[before] + share * (plan.hand[before + 1] - plan.hand[before]))


def continued(committed: CommittedPlan, chunk: ActionChunk) -> CommittedPlan:
    """What is committed, and after it what the last chunk intended, at its step period and to its end.

    Inference-time real-time chunking draws the new chunk to the intention, too, the less the later.
    """
    step_ns = round(chunk.step_period * _NS)
    times_ns = chunk.observation_ns + step_ns * np.arange(1, chunk.horizon + 1, dtype=np.int64)
    intended = CommittedPlan(times_ns, chunk.target_poses(), np.array(chunk.actions[:, 6:]))
    last_ns = int(committed.times_ns[-1])
    tail = interpolate(intended, np.arange(last_ns + step_ns, int(times_ns[-1]) + 1, step_ns, dtype=np.int64))
    return CommittedPlan(
        np.concatenate([committed.times_ns, tail.times_ns]),
        np.concatenate([committed.poses, tail.poses]),
        np.concatenate([committed.hand, tail.hand]),
    )
