"""Hand3D-action: wrist trajectories as motion tokens, and the three kinds of tasks made of them (paper Sec. 3.2.1).

Waypoints are in the camera's frame at the first frame of a chunk, for the model sees that picture only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vipa_inference.config import MotionTokenConfig
from vipa_inference.model.motion_tokens import MotionTokenizer
from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.geometry import in_world, transformed
from vipa_training.hand3d.joints import WRIST, Side

Array = NDArray[np.float64]
Kind = Literal["instructional_motion_generation", "contextual_motion_prediction", "motion_translation"]
KINDS: tuple[Kind, Kind, Kind] = (
    "instructional_motion_generation",
    "contextual_motion_prediction",
    "motion_translation",
)
MOTION = "<motion>"
"""Stands in a text for the next of the sample's motions."""


@dataclass(frozen=True)
class MotionConfig:
    """How clips become motions. The paper gives the bins, the bounds and the length; the rest is ours."""

    tokens: MotionTokenConfig = field(default_factory=MotionTokenConfig)
    seconds: float = 10.0  # of a chunk
    shortest: float = 2.0  # s, of the last chunk of a clip
    rate: float = 5.0  # waypoints a second
    longest_gap: float = 0.5  # s without a known hand that is bridged
    least_movement: float = 0.05  # m, farthest from the first waypoint; less is insignificant
    most_outside: float = 0.1  # of the waypoints that may lie outside the bounds, where tokens cannot say where
    context: float = 0.4  # of a chunk that is given in contextual motion prediction

    def __post_init__(self) -> None:
        if min(self.seconds, self.shortest, self.rate) <= 0.0 or self.shortest > self.seconds:
            raise ValueError("seconds, shortest, rate: have to be positive, and shortest no longer than seconds")
        if not 0.0 < self.context < 1.0:
            raise ValueError(f"context: {self.context} is outside 0-1")


@dataclass(frozen=True, eq=False)
class Motion:
    """A wrist's way through one chunk.

    Attributes:
        side: of the hand.
        first: number of the frame whose picture the model sees.
        last: number of the last frame.
        waypoints: (N, 3) m, in the camera's frame at the first frame.
    """

    side: Side
    first: int
    last: int
    waypoints: Array


@dataclass(frozen=True, eq=False)
class MotionSample:
    """A question with its answer; each ``<motion>`` in them stands for one of the motions, in order.

    Attributes:
        kind: of the task.
        frame: number of the picture.
        side: of the hand.
        question: text.
        answer: text.
        motions: (N, 3) bins of x, y, z each.
    """

    kind: Kind
    frame: int
    side: Side
    question: str
    answer: str
    motions: tuple[NDArray[np.int64], ...]

    def record(self, identifier: str, clip: Clip) -> dict[str, Any]:
        """The sample in the form in which VQA data sets are kept."""
        return {
            "id": identifier,
            "data_source": clip.source,
            "video": clip.video,
            "frames": [self.frame],
            "question_type": self.kind,
            "conversations": [
                {"from": "human", "value": f"<image>\n{self.question}"},
                {"from": "gpt", "value": self.answer},
            ],
            "motions": [motion.tolist() for motion in self.motions],
        }


def bins_of(waypoints: Array, config: MotionTokenConfig) -> NDArray[np.int64]:
    """Bins (N, 3) of positions (N, 3) m, clipped to the bounds.

    Raises:
        ValueError: a position is not finite.
    """
    return _tokenizer(config).encode(torch.tensor(waypoints)).numpy()


def positions_of(bins: NDArray[np.int64], config: MotionTokenConfig) -> Array:
    """The centres (N, 3) m of bins (N, 3).

    Raises:
        ValueError: there is no such bin.
    """
    return _tokenizer(config).decode(torch.tensor(bins)).numpy()


def motions_of(clip: Clip, config: MotionConfig | None = None) -> tuple[list[Motion], list[str]]:
    """The motions of a clip's hands in chunks, and the reasons for which others were dropped.

    Args:
        clip: valid, and with the joints of its hands.
        config: how.
    """
    settings = config or MotionConfig()
    found: list[Motion] = []
    reasons: list[str] = []
    for side, hand in clip.hands.items():
        if hand.joints is None:
            reasons.append(f"{side} hand: has no joints yet, only MANO parameters")
            continue
        wrists = in_world(hand.joints[:, WRIST : WRIST + 1], hand.frame, clip.camera)[:, 0]
        for first, last in chunks(clip.times, settings):
            try:
                found.append(_motion(clip, side, wrists, hand.valid, first, last, settings))
            except Rejection as reason:
                reasons.append(f"{side} hand, frames {first}-{last}: {reason}")
    return found, reasons


def chunks(times: Array, config: MotionConfig) -> Iterator[tuple[int, int]]:
    """First and last frame of each chunk; what is left at the end is one too, unless it is too short."""
    first = 0
    while first < len(times):
        last = int(np.searchsorted(times, times[first] + config.seconds + 1e-6, side="right")) - 1
        if times[last] - times[first] >= config.shortest:
            yield first, last
        first = max(last, first + 1) if last < len(times) - 1 else len(times)


def samples_of(motion: Motion, text: str, config: MotionConfig | None = None, variant: int = 0) -> list[MotionSample]:
    """The three tasks of a motion.

    Args:
        motion: of one hand.
        text: what is done; without it there is only contextual motion prediction.
        config: how.
        variant: chooses among the phrasings.
    """
    settings = config or MotionConfig()
    bins = bins_of(motion.waypoints, settings.tokens)
    told = " ".join(text.split()).replace("<", "(").replace(">", ")").rstrip(".")
    hand = f"{motion.side} hand"
    context = max(1, round(settings.context * len(bins)))

    def sample(kind: Kind, question: str, answer: str, *motions: NDArray[np.int64]) -> MotionSample:
        return MotionSample(kind, motion.first, motion.side, question, answer, motions)

    known = f"The task is: {told}. " if told else ""
    ahead = _phrase(_PREDICTION, variant).format(known=known, hand=hand)
    found = [sample("contextual_motion_prediction", ahead, MOTION, bins[:context], bins[context:])]
    if told:
        wanted = _phrase(_GENERATION, variant).format(told=told, hand=hand)
        found.insert(0, sample("instructional_motion_generation", wanted, MOTION, bins))
        seen = _phrase(_TRANSLATION, variant).format(hand=hand)
        found.append(sample("motion_translation", seen, f"{told}.", bins))
    return found


_GENERATION = (
    "{told}. Show how the {hand} moves.",
    "Give the motion of the {hand} for this task: {told}.",
    "How should the {hand} move to do the following? {told}.",
)
_PREDICTION = (
    "{known}The {hand} has moved like this so far: <motion> How does it go on?",
    "{known}Continue the motion of the {hand}: <motion>",
    "{known}Given the beginning <motion> of the {hand}'s motion, predict the rest.",
)
_TRANSLATION = (
    "The {hand} moves like this: <motion> What is it doing?",
    "Describe in words the motion <motion> of the {hand}.",
    "Which task does the {hand} carry out with the motion <motion>?",
)


def _phrase(phrases: Sequence[str], variant: int) -> str:
    return phrases[variant % len(phrases)]


def _tokenizer(config: MotionTokenConfig) -> MotionTokenizer:
    shared = MotionTokenConfig(config.bins, config.lower, config.upper, shared_ids=True)
    return MotionTokenizer(shared, first_id=0)


def _motion(
    clip: Clip, side: Side, wrists: Array, valid: NDArray[np.bool_], first: int, last: int, config: MotionConfig
) -> Motion:
    rows = np.arange(first, last + 1)
    known = rows[valid[first : last + 1]]
    if not len(known):
        raise Rejection("the hand is not known")
    edges = np.concatenate([[clip.times[first]], clip.times[known], [clip.times[last]]])
    gap = float(np.diff(edges).max())
    if gap > config.longest_gap:
        raise Rejection(f"the hand is not known for {gap:.1f} s")
    moments = np.arange(clip.times[first], clip.times[last] + 1e-9, 1.0 / config.rate)
    world = np.stack([np.interp(moments, clip.times[known], wrists[known, axis]) for axis in range(3)], axis=1)
    waypoints = transformed(clip.camera.extrinsics[first], world)
    movement = float(np.linalg.norm(waypoints - waypoints[0], axis=1).max())
    if movement < config.least_movement:
        raise Rejection("insignificant movement")
    lower, upper = np.array(config.tokens.lower), np.array(config.tokens.upper)
    outside = float(((waypoints < lower) | (waypoints > upper)).any(axis=1).mean())
    if outside > config.most_outside:
        raise Rejection("the wrist is outside the bounds of the motion tokens")
    return Motion(side, first, last, waypoints)
