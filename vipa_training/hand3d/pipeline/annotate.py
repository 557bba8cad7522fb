"""One clip after another: from the source to items and the pictures that they show."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d import motion_tokens, visual_samples
from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.frames import KeptFrames
from vipa_training.hand3d.mano.hands import HandModels, with_joints
from vipa_training.hand3d.motion_tokens import Motion, MotionSample, motions_of
from vipa_training.hand3d.observation import Observation, observe
from vipa_training.hand3d.pipeline.config import BuildConfig, Places
from vipa_training.hand3d.pipeline.gemini import GeminiWriter
from vipa_training.hand3d.pipeline.pointmaps import EncoderPointmaps, KnowsDepth, Maps, Pointmaps, TruePointmaps
from vipa_training.hand3d.pipeline.proposals import DETECTOR, Annotated, GroundingDino, Proposals
from vipa_training.hand3d.sources.base import Source
from vipa_training.hand3d.sources.registry import make_source
from vipa_training.hand3d.templates import TemplateWriter, Writer
from vipa_training.hand3d.visual import one_per_second
from vipa_training.hand3d.visual_samples import VisualSample

Array = NDArray[np.float64]
_FAULTS = (OSError, ValueError, LookupError, TypeError, ArithmeticError, cv2.error)


@dataclass(frozen=True, eq=False)
class AnnotatedClip:
    """What a clip gives.

    Attributes:
        clip: with joints and objects.
        observations: of the frames that are stored.
        scale: m of a unit of the pointmaps; None where none had to be found.
        depths: (h, w) m by frame, calibrated.
        visual: questions.
        action: motions, with the motion that each is about.
        dropped: reasons for which facts and motions of it were not used.
    """

    clip: Clip
    observations: list[Observation]
    scale: float | None
    depths: dict[int, Array]
    visual: list[VisualSample]
    action: list[tuple[Motion, MotionSample]]
    dropped: list[str]


class Annotator:
    """Makes items of clips. Models are loaded when the first clip needs them.

    Args:
        config: how.
        places: where things are.
        workers: that share the limits of Gemini.
    """

    def __init__(self, config: BuildConfig, places: Places, workers: int = 1) -> None:
        self.config, self.places, self.workers = config, places, workers
        self.source: Source = make_source(config.source, places.root, config.clips, config.seed, config.size)

    @cached_property
    def pointmaps(self) -> Pointmaps:
        """Where pointmaps come from.

        Raises:
            Hand3DError: there is no checkpoint.
        """
        if self.config.pointmaps == "truth":
            return TruePointmaps()
        if self.places.checkpoint is None:
            raise Hand3DError("pointmaps: cut3r needs --checkpoint, of VIPA-VLA or a converted file of CUT3R")
        return EncoderPointmaps(self.places.checkpoint, self.config.encoder_side, self.places.device)

    @cached_property
    def proposals(self) -> Proposals:
        """Where objects come from."""
        if self.config.objects == "annotation":
            return Annotated()
        return GroundingDino(self.places.detector or DETECTOR, self.config.detector_threshold, self.places.device)

    @cached_property
    def writer(self) -> Writer:
        """Of questions."""
        if self.config.writer == "templates":
            return TemplateWriter(self.config.visual, self.config.seed)
        return GeminiWriter(self.config.gemini, self.config.visual, self.places.cache, self.workers)

    @cached_property
    def _hands(self) -> HandModels:
        if self.places.mano is None:
            raise Hand3DError(f"{self.config.source}: gives MANO's parameters; name the folder of its files by --mano")
        return HandModels(self.places.mano)

    def annotate(self, identifiers: Sequence[str]) -> Iterator[tuple[str, AnnotatedClip | Rejection]]:
        """For each clip what it gives, or why it is not used.

        Raises:
            Hand3DError: nothing can go on.
        """
        step = self.config.together if self.config.pointmaps == "cut3r" else 1
        for start in range(0, len(identifiers), step):
            yield from self._together(identifiers[start : start + step])

    def _together(self, identifiers: Sequence[str]) -> Iterator[tuple[str, AnnotatedClip | Rejection]]:
        read: dict[str, tuple[Clip, list[int]]] = {}
        rejected: dict[str, Rejection] = {}
        for identifier in identifiers:
            try:
                read[identifier] = self._read(identifier)
            except (Rejection, *_FAULTS) as error:
                rejected[identifier] = _rejection(error)
        clips, numbers = [clip for clip, _ in read.values()], [chosen for _, chosen in read.values()]
        maps = dict(zip(read, self.pointmaps.of(clips, numbers), strict=True))
        for identifier in identifiers:
            if identifier in rejected:
                yield identifier, rejected[identifier]
                continue
            try:
                yield identifier, self._items(*read[identifier], maps[identifier])
            except (Rejection, *_FAULTS) as error:
                yield identifier, _rejection(error)

    def _read(self, identifier: str) -> tuple[Clip, list[int]]:
        clip = self.source.read(identifier)
        if not isinstance(clip.frames, KnowsDepth):
            clip = replace(clip, frames=KeptFrames(clip.frames))
        if any(hand.joints is None for hand in clip.hands.values()):
            clip = with_joints(clip, self._hands)
        numbers = one_per_second(clip.times)
        for number in numbers:
            clip.frames.picture(number)
        return self.proposals.found(clip, numbers), numbers

    def _items(self, clip: Clip, numbers: list[int], maps: Maps) -> AnnotatedClip:
        config = self.config
        observations, scale = observe(clip, numbers, maps, config.observation, self.pointmaps.is_metric)
        found, dropped = visual_samples.samples_of(clip, observations, self.writer, config.visual)
        kept = visual_samples.without_doubles(found)
        dropped += ["visual: a double"] * (len(found) - len(kept))
        motions, reasons = motions_of(clip, config.motion)
        action = [
            (motion, sample)
            for motion in motions
            for sample in motion_tokens.samples_of(motion, clip.text, config.motion, _variant(clip, motion))
        ]
        if not kept and not action:
            raise Rejection("nothing to ask: no hand moves, and none is near an object")
        unit = 1.0 if scale is None else scale.value
        depths = {number: maps[number][..., 2] * unit for number in maps}
        value = None if scale is None else scale.value
        return AnnotatedClip(clip, observations, value, depths, kept, action, dropped + reasons)


def chosen_clips(config: BuildConfig, root: Path) -> list[str]:
    """The clips that a data set is made of, sorted.

    Raises:
        Hand3DError: the source has none.
    """
    every = make_source(config.source, root, config.clips, config.seed, config.size).identifiers()
    if not config.clips or config.clips >= len(every):
        return every
    chance = np.random.default_rng([config.seed, len(every)])
    return [every[int(place)] for place in sorted(chance.permutation(len(every))[: config.clips])]


def _variant(clip: Clip, motion: Motion) -> int:
    return zlib.crc32(f"{clip} {motion.side} {motion.first}".encode())


def _rejection(error: Exception) -> Rejection:
    if isinstance(error, Rejection):
        return error
    return Rejection(f"cannot be used: {type(error).__name__}: {' '.join(str(error).split())}")
