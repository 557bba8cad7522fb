"""Samples of Hand3D-visual: checked, without doubles, and divided by video."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.observation import Observation
from vipa_training.hand3d.templates import Question, Writer, is_true
from vipa_training.hand3d.visual import Measurement, VisualConfig, measurements


@dataclass(frozen=True, eq=False)
class VisualSample:
    """One question about a video.

    Attributes:
        source: of the video.
        video: that it is about.
        clip: of that video.
        measurement: which the answer puts into words.
        text: question and answer.
    """

    source: str
    video: str
    clip: str
    measurement: Measurement
    text: Question

    def record(self, identifier: str) -> dict[str, Any]:
        """The sample in the form in which VQA data sets are kept, with the figures for its evaluation."""
        fact = self.measurement
        pictures = "\n".join(["<image>"] * len(fact.frames))
        return {
            "id": identifier,
            "data_source": self.source,
            "video": self.video,
            "clip": self.clip,
            "frames": list(fact.frames),
            "question_type": fact.category,
            "conversations": [
                {"from": "human", "value": f"{pictures}\n{self.text.question}"},
                {"from": "gpt", "value": self.text.answer},
            ],
            "vector": fact.vector.tolist(),
            "rotation": None if fact.rotation is None else fact.rotation.tolist(),
            "contact": fact.contact,
        }


def samples_of(
    clip: Clip, observations: Sequence[Observation], writer: Writer, config: VisualConfig | None = None
) -> tuple[list[VisualSample], list[str]]:
    """The samples of a clip, and the reasons for which others were dropped.

    Args:
        clip: they are about.
        observations: of it, at 1 frame a second.
        writer: puts facts into words; what it writes is checked.
        config: what is worth a question.

    Raises:
        Rejection: the writer could write nothing.
    """
    settings = config or VisualConfig()
    samples: list[VisualSample] = []
    reasons: list[str] = []
    facts = list(measurements(observations, clip.text, settings, seed=_number(str(clip)) % 2**32))
    for fact, text in zip(facts, writer.write(facts), strict=True):
        if is_true(text.answer, fact, settings):
            samples.append(VisualSample(clip.source, clip.video, clip.identifier, fact, text))
        else:
            reasons.append(f"{fact.category}: the answer does not say what was measured: {text.answer}")
    return samples, reasons


def without_doubles(samples: Iterable[VisualSample]) -> list[VisualSample]:
    """The samples but those that ask the same of the same frames, or ask and answer the same in the same video."""
    seen: set[tuple[object, ...]] = set()
    kept: list[VisualSample] = []
    for sample in samples:
        fact, video = sample.measurement, (sample.source, sample.video)
        subject = (*video, sample.clip, fact.category, fact.frames, fact.side, fact.target)
        words = (*video, sample.text.question, sample.text.answer)
        if subject not in seen and words not in seen:
            kept.append(sample)
        seen |= {subject, words}
    return kept


class OfVideo(Protocol):
    """What is about a video."""

    @property
    def source(self) -> str:
        """Of the video."""
        ...

    @property
    def video(self) -> str:
        """Its name."""
        ...


Sample = TypeVar("Sample", bound=OfVideo)


def divided(samples: Iterable[Sample], test: int, seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """Training and test; no video is in both.

    Videos go to the test one after another, in an order that depends on their names and the seed only, until it has
    enough samples; what is too much is dropped, not trained on.

    Args:
        samples: of any videos.
        test: how many samples it should have; Hand3D-test of the paper has 2000.
        seed: of the order.

    Raises:
        ValueError: so many would leave no video for training.
    """
    videos: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        videos.setdefault((sample.source, sample.video), []).append(sample)
    order = sorted(videos, key=lambda name: _number(f"{seed} {name[0]} {name[1]}"))
    chosen: list[Sample] = []
    for place, name in enumerate(order):
        if len(chosen) >= test:
            return [sample for rest in order[place:] for sample in videos[rest]], chosen[:test]
        chosen += videos[name]
    raise ValueError(f"test: {test} samples would take all {len(order)} videos, none is left for training")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
