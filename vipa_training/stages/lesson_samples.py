"""Lessons as samples of stage 0: what is read and answered, and where the points of the pictures are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vipa_inference.model.vipa_vla import VipaVla
from vipa_training.engine.loader import Batch
from vipa_training.engine.order import numpy_generator
from vipa_training.hand3d.joints import SIDES
from vipa_training.stages.conversations import Conversation, ConversationEncoder, loss_of, training_batch
from vipa_training.stages.geometry_loss import geometry_loss, in_first_camera, pointmap_targets
from vipa_training.stages.lessons import Lesson
from vipa_training.stages.word_loss import word_loss, words_shown

TARGETS = ("points", "world", "poses")


@dataclass(frozen=True, eq=False)
class _Sample:
    conversation: Conversation
    words: NDArray[np.float32]  # (F, N, W)
    targets: tuple[NDArray[np.floating[Any]], ...]  # as TARGETS, (F, ...)


class LessonSamples:
    """Samples of stage 0.

    Args:
        lessons: what is learned from.
        encoder: of the model, which has a spatial encoder.
        turns: of a conversation at most, chosen by chance, each about something else.
        measured: share of the lessons with pictures whose points are learned.
        seed: of that chance.
    """

    def __init__(
        self, lessons: Sequence[Lesson], encoder: ConversationEncoder, turns: int, measured: float, seed: int
    ) -> None:
        self._lessons, self._encoder, self._turns, self._seed = lessons, encoder, turns, seed
        self._measured = measured
        known = {word for lesson in lessons if lesson.clip for name in lesson.clip.objects for word in name.split()}
        self._words = {word: number for number, word in enumerate(sorted({*known, *SIDES}))}

    @property
    def word_ids(self) -> list[list[int]]:
        """The ids of each word that image tokens show."""
        return [self._encoder.tokenizer.encode(word) for word in self._words]

    def __len__(self) -> int:
        """Lessons."""
        return len(self._lessons)

    def sample(self, number: int, position: int) -> _Sample:
        """A lesson.

        Raises:
            Hand3DError: its pictures cannot be read.
        """
        lesson, spatial = self._lessons[number], self._encoder.config.spatial
        assert spatial is not None
        clip, places, chance = lesson.clip, lesson.places, numpy_generator(self._seed, position)
        subjects = [list(lesson.turns)[k] for k in chance.permutation(len(lesson.turns))[: self._turns]]
        turns = [lesson.turns[one][int(chance.integers(len(lesson.turns[one])))] for one in subjects]
        images = [] if clip is None else [clip.picture(place) for place in places]
        conversation = self._encoder.encode(images, turns)
        side = round(self._encoder.config.semantic.tokens**0.5)
        words = np.zeros((0, side * side, len(self._words)), np.float32)
        if clip is not None:
            words = words_shown(clip, places, self._words, side)
        if clip is None or chance.random() >= self._measured:
            return _Sample(conversation, words, ())
        points, poses = pointmap_targets(clip, places, spatial.image_size)
        return _Sample(conversation, words, (points, in_first_camera(points, poses), poses))

    def collate(self, samples: Sequence[_Sample]) -> Batch:
        """A batch as of ``training_batch`` with ``words`` (images, N, W), and without ``spatial_F``.

        Instead ``seen_F``, ``points_F``, ``world_F`` and ``poses_F`` (b, F, ...) are of those conversations with F
        images whose points are learned.
        """
        plain = training_batch([sample.conversation for sample in samples])
        batch = {name: tensor for name, tensor in plain.items() if not name.startswith("spatial_")}
        ordered = sorted(samples, key=lambda sample: len(sample.conversation.semantic))
        batch["words"] = torch.from_numpy(np.concatenate([sample.words for sample in ordered]))
        measured = [sample for sample in samples if sample.targets]
        for images in sorted({len(sample.conversation.semantic) for sample in measured}):
            alike = [sample for sample in measured if len(sample.conversation.semantic) == images]
            pixels = [one.conversation.spatial for one in alike if one.conversation.spatial is not None]
            batch[f"seen_{images}"] = torch.from_numpy(np.stack(pixels))
            for k, name in enumerate(TARGETS):
                values = np.stack([sample.targets[k] for sample in alike]).astype(np.float32)
                batch[f"{name}_{images}"] = torch.from_numpy(values)
        return batch


def lesson_loss(model: VipaVla, batch: Batch, words: Sequence[Sequence[int]], word: float, geometry: float) -> Tensor:
    """Loss () of the answers and of the image tokens, both without the spatial encoder, and of its geometry.

    Args:
        model: with a spatial encoder that has heads; its fusion is left out.
        batch: of ``LessonSamples``.
        words: ids of each word that image tokens show.
        word: weight of the image tokens' loss.
        geometry: weight of the spatial encoder's.
    """
    assert model.spatial_encoder is not None
    seen = [
        model.image_tokens(model.semantic_features(batch[name]), None).flatten(0, 1)
        for name in sorted(name for name in batch if name.startswith("semantic_"))
    ]
    tokens = torch.cat(seen) if seen else None
    loss = loss_of(model, batch, tokens)
    if tokens is not None:
        known = model.internvl.get_input_embeddings().weight
        embeddings = torch.stack([known[list(ids)].mean(dim=0) for ids in words])
        loss = loss + word * word_loss(tokens, embeddings, batch["words"])
    errors: list[Tensor] = []
    count = 0
    for name in sorted(name for name in batch if name.startswith("seen_")):
        points, world, poses = (batch[name.replace("seen", target)] for target in TARGETS)
        errors.append(geometry_loss(model.spatial_encoder(batch[name]), points, world, poses) * len(points))
        count += len(points)
    return loss + geometry * torch.stack(errors).sum() / count if errors else loss
