"""Recorded observations into a policy: are its chunks, bit for bit, those that were recorded?

A policy remembers: its path, its noise, earlier frames. So chunks can be compared from a reset of the policy on, as
long as every observation since then is in the recording; the others are counted, with the reason.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vipa.errors import VipaError
from vipa.lab import LabConfig
from vipa.observing import Frame, make_observation
from vipa.reading import from_plan_message
from vipa.recording.frames import FrameSource, Image
from vipa.recording.recorded import RecordedEpisode
from vipa.replay.episode import ChunkInputs, is_known
from vipa_inference.policy import ActionChunk, CommittedPlan, Observation, Policy, PolicyError
from vipa_inference.real_time_chunking import committed_part
from vipa_inference.rotations import rotation_vector_from_matrix

BEFORE_RESET = "what the policy remembered from before the recording is not known"
AFTER_GAP = "an observation before it is not in the recording"


@dataclass(frozen=True)
class Tolerance:
    """How far a chunk may be from the recorded one: mm, degrees, and strokes of the hand (0-1)."""

    position_mm: float = 0.0
    rotation_deg: float = 0.0
    hand: float = 0.0


@dataclass(frozen=True)
class Difference:
    """Between a chunk and the recorded one: the largest of all rows, and whether every bit is the same."""

    chunk_id: int
    observation_ns: int
    identical: bool
    position_mm: float
    rotation_deg: float
    hand: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether it may be tolerated."""
        if self.identical:
            return True
        limits = (tolerance.position_mm, tolerance.rotation_deg, tolerance.hand)
        found = (self.position_mm, self.rotation_deg, self.hand)
        return any(limit > 0 for limit in limits) and all(a <= b for a, b in zip(found, limits, strict=True))


@dataclass
class Comparison:
    """What a replay found.

    Attributes:
        chunks: recorded in all.
        differences: one for each that was compared.
        not_compared: how many were not, by the reason.
        hashes: of the policies that made the recorded chunks which were compared.
    """

    chunks: int
    differences: list[Difference] = field(default_factory=list[Difference])
    not_compared: Counter[str] = field(default_factory=Counter[str])
    hashes: set[str] = field(default_factory=set[str])

    def first_beyond(self, tolerance: Tolerance) -> Difference | None:
        """The first chunk that differs by more than may be tolerated."""
        return next((found for found in self.differences if not found.within(tolerance)), None)

    def figures(self, tolerance: Tolerance) -> dict[str, float]:
        """Counts, and the largest differences."""
        found = self.differences
        return {
            "chunks": float(self.chunks),
            "compared": float(len(found)),
            "identical": float(sum(one.identical for one in found)),
            "beyond_tolerance": float(sum(not one.within(tolerance) for one in found)),
            "position_max_mm": max((one.position_mm for one in found), default=math.nan),
            "rotation_max_deg": max((one.rotation_deg for one in found), default=math.nan),
            "hand_max": max((one.hand for one in found), default=math.nan),
        }


def recorded_policy(inputs: ChunkInputs, episode: str) -> str:
    """The name of the policy that inferred the recorded chunks.

    Raises:
        VipaError: none of the chunks tells what it was inferred from.
    """
    names = [chunk.policy for chunk in inputs.chunks if is_known(chunk)]
    if not inputs.chunks:
        raise VipaError(f"replay: {episode}: has no chunk of a policy. Record while a policy drives")
    if not names:
        raise VipaError(
            f"replay: {episode}: its chunks do not tell what they were inferred from: they are an operator's, a "
            "dataset's, or of an older recorder. Replay its --actions instead"
        )
    return names[0]


def replay_observations(
    recorded: RecordedEpisode,
    inputs: ChunkInputs,
    policy: Policy,
    lab: LabConfig,
    progress: Callable[[Sequence["Due"]], Iterable["Due"]] = lambda due: due,
) -> Comparison:
    """Give a policy what the recorded one saw, and compare its chunks.

    Args:
        recorded: the episode.
        inputs: what its chunks were inferred from.
        policy: to be asked; it is reset wherever the recorded one was.
        lab: where the cameras stood.
        progress: shows how far it is: gives on what it is given.

    Raises:
        VipaError: no chunk can be compared, a picture is damaged, or the policy cannot use an observation.
    """
    comparison = Comparison(len(inputs.chunks))
    due = _due(recorded, inputs, lab, comparison.not_compared)
    if not due:
        reasons = "; ".join(comparison.not_compared) or "there is none"
        raise VipaError(
            f"replay: {recorded.folder.name}: no chunk can be compared: {reasons}. Give the instruction after the "
            "recorder was started (vipa cell instruct), as vipa trial --record does"
        )
    exposures = {
        name: np.array([one.chunk.exposures_ns[name] for one in due], dtype=np.int64)
        for name in due[0].chunk.exposures_ns
    }
    pictures = FrameSource(recorded, exposures, longer_side=0).rows()
    for one, observation in _observations(progress(due), pictures, inputs, lab):
        if one.chunk.sources.since_reset == 1:
            policy.reset()
        try:
            found = policy.infer(observation)
        except PolicyError as error:
            raise VipaError(f"replay: chunk {one.chunk.chunk_id}: {error}") from None
        comparison.differences.append(compare(one.chunk, found))
        comparison.hashes.add(one.chunk.policy_hash)
    return comparison


def compare(recorded: ActionChunk, found: ActionChunk) -> Difference:
    """Compare two chunks; rows that only one of them has count as infinitely different."""
    is_identical = (
        recorded.actions.tobytes() == found.actions.tobytes()
        and recorded.actions.shape == found.actions.shape
        and recorded.step_period == found.step_period
        and recorded.observation_ns == found.observation_ns
        and np.allclose(recorded.reference_pose, found.reference_pose, rtol=0.0, atol=1e-12)  # a quaternion between
    )
    if is_identical:
        return Difference(recorded.chunk_id, recorded.observation_ns, True, 0.0, 0.0, 0.0)
    if recorded.actions.shape != found.actions.shape or recorded.step_period != found.step_period:
        return Difference(recorded.chunk_id, recorded.observation_ns, False, math.inf, math.inf, math.inf)
    one, two = recorded.target_poses(), found.target_poses()
    turn = rotation_vector_from_matrix(one[:, :3, :3] @ two[:, :3, :3].swapaxes(1, 2))
    return Difference(
        recorded.chunk_id,
        recorded.observation_ns,
        False,
        float(np.linalg.norm(one[:, :3, 3] - two[:, :3, 3], axis=1).max()) * 1e3,
        float(np.degrees(np.linalg.norm(turn, axis=1).max())),
        float(np.abs(recorded.actions[:, 6:] - found.actions[:, 6:]).max()),
    )


@dataclass(frozen=True)
class Due:
    """A chunk that can be compared, and what was committed when it was inferred."""

    chunk: ActionChunk
    committed: CommittedPlan | None


def _due(recorded: RecordedEpisode, inputs: ChunkInputs, lab: LabConfig, not_compared: Counter[str]) -> list[Due]:
    """The chunks from each reset of the policy on, up to the first whose observation cannot be made again."""
    exposures = {name: set(camera.exposures_ns.tolist()) for name, camera in recorded.cameras.items()}
    due: list[Due] = []
    last, broken = 0, BEFORE_RESET
    for chunk in filter(is_known, inputs.chunks):
        sources = chunk.sources
        if sources.since_reset == 1:
            broken = ""
        elif not broken and sources.since_reset != last + 1:
            broken = AFTER_GAP
        last = sources.since_reset
        missing = _missing(chunk, inputs, exposures, lab)
        if missing or broken:
            not_compared[broken or missing] += 1
            broken = broken or AFTER_GAP
            continue
        due.append(Due(chunk, _committed(chunk, inputs)))
    return due


def _missing(chunk: ActionChunk, inputs: ChunkInputs, exposures: dict[str, set[int]], lab: LabConfig) -> str:
    """What of the chunk's observation is not in the recording; empty: nothing."""
    sources = chunk.sources
    for name, exposure_ns in chunk.exposures_ns.items():
        if name not in lab.cameras:
            raise VipaError(f"replay: camera {name} is none of the laboratory's. Name the right one with --lab")
        if exposure_ns not in exposures.get(name, ()) or inputs.info(name, exposure_ns) is None:
            return f"its frame of camera {name} is not in the recording"
    if sources.arm_state_ns not in inputs.arm or sources.hand_state_ns not in inputs.hand:
        return "the robot's state is not in the recording"
    if sources.plan_ns and sources.plan_ns not in inputs.plans:
        return "the controller's plan is not in the recording"
    return ""


def _committed(chunk: ActionChunk, inputs: ChunkInputs) -> CommittedPlan | None:
    if not chunk.sources.plan_ns:
        return None
    plan = from_plan_message(inputs.plans[chunk.sources.plan_ns])
    return committed_part(plan, chunk.observation_ns, chunk.sources.committed_until_ns)


def _observations(
    due: Iterable[Due], pictures: Iterator[dict[str, Image]], inputs: ChunkInputs, lab: LabConfig
) -> Iterator[tuple[Due, Observation]]:
    for one, images in zip(due, pictures, strict=True):
        chunk, sources = one.chunk, one.chunk.sources
        frames = {
            name: Frame(images[name], exposure_ns, inputs.info(name, exposure_ns))
            for name, exposure_ns in chunk.exposures_ns.items()
        }
        arm, hand = inputs.arm[sources.arm_state_ns], inputs.hand[sources.hand_state_ns]
        observation = make_observation(lab, frames, arm, hand, chunk.instruction)
        yield one, replace(observation, committed=one.committed)
