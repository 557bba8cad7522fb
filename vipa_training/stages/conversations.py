"""Pictures, questions and answers as ids: what the language model reads, and what it learns to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vipa_inference.config import VipaVlaConfig
from vipa_inference.model.motion_tokens import MotionTokenizer
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.processing import PADDING_ID, Image, image_pixels, template_ids
from vipa_inference.tokenizers import Tokenizer
from vipa_training.engine.loader import COUNT, Batch
from vipa_training.hand3d.motion_tokens import MOTION

IGNORED = -100  # label of a place that is not learned
PIXEL_DIMENSIONS = 5  # (b, F, 3, S, S); features have one less
Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Turn:
    """A question and its answer; each ``<motion>`` in them stands for the next of the motions, as ids."""

    question: str
    answer: str
    motions: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, eq=False)
class Conversation:
    """Some turns about the same pictures.

    Attributes:
        semantic: (F, 3, S, S) pixels, or (F, N_v, d_v) features.
        spatial: (F, 3, R, R), or (F, N_s, d_s); None without a spatial encoder.
        ids: with the places of the F images, and an end after each answer.
        learned: whether each of them is part of an answer.
    """

    semantic: Numbers
    spatial: Numbers | None
    ids: list[int]
    learned: list[bool]

    @property
    def prompt(self) -> list[int]:
        """The ids before the first answer."""
        return self.ids[: self.learned.index(True)]


class ConversationEncoder:
    """Makes conversations for one model.

    Args:
        config: of the model.
        tokenizer: of its language model.
    """

    def __init__(self, config: VipaVlaConfig, tokenizer: Tokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.motion_tokenizer = MotionTokenizer(config.motion, config.language.vocabulary)

    def encode(self, images: Sequence[Image], turns: Sequence[Turn]) -> Conversation:
        """A conversation about some images.

        Raises:
            ValueError: a text has another number of marks than motions.
            PolicyError: a text cannot be encoded.
        """
        semantic, spatial = image_pixels(self.config, images)
        ids, learned = self.ids(len(images), turns)
        return Conversation(semantic, spatial, ids, learned)

    def ids(self, images: int, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
        """``Conversation.ids`` and ``.learned`` of turns about so many images."""
        before, after = template_ids(self.config, self.tokenizer, images)
        next_turn = self.tokenizer.encode("\n" + self.config.prompt.template.partition("{images}")[0], special=True)
        ids: list[int] = []
        learned: list[bool] = []
        for number, turn in enumerate(turns):
            asked = turn.question.count(MOTION)
            question = self._text(turn.question, turn.motions[:asked])
            answer = [*self._text(turn.answer, turn.motions[asked:]), self.tokenizer.end_id]
            shown = [*(next_turn if number else before), *question, *after]
            ids += shown + answer
            learned += [False] * len(shown) + [True] * len(answer)
        return ids, learned

    def _text(self, text: str, motions: Sequence[Sequence[int]]) -> list[int]:
        parts = text.split(MOTION)
        if len(parts) != len(motions) + 1:
            raise ValueError(f"{text[:60]!r}: {len(parts) - 1} marks for motions, but {len(motions)} motions")
        ids = self.tokenizer.encode(parts[0])
        for motion, part in zip(motions, parts[1:], strict=True):
            ids += [*motion, *self.tokenizer.encode(part)]
        return ids


def training_batch(samples: Sequence[Conversation], filled: int | None = None) -> Batch:
    """A batch: ``input_ids``, ``attention_mask`` and ``labels`` (B, L), padded on the right, ``COUNT``, and what is
    seen (see ``seen_batch``), whose order the rows have.

    The label of a place is the id that follows it, where that belongs to an answer.
    """
    ordered = in_order(samples)
    length = max(len(sample.ids) for sample in ordered)
    ids = torch.full((len(ordered), length), PADDING_ID)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, sample in enumerate(ordered):
        known, count = torch.tensor(sample.ids), len(sample.ids)
        ids[row, :count] = known
        mask[row, :count] = 1
        labels[row, : count - 1] = known.where(torch.tensor(sample.learned), IGNORED)[1:]
    learned = (labels != IGNORED).sum()
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, COUNT: learned} | seen_batch(ordered, filled)


def prompt_batch(samples: Sequence[Conversation]) -> Batch:
    """A batch of questions: ``input_ids`` and ``attention_mask`` (B, L), padded on the left; rows ``in_order``."""
    ordered = in_order(samples)
    prompts = [sample.prompt for sample in ordered]
    length = max(map(len, prompts))
    ids = [[PADDING_ID] * (length - len(prompt)) + prompt for prompt in prompts]
    padding = torch.tensor([length - len(prompt) for prompt in prompts])
    mask = torch.arange(length)[None] >= padding[:, None]
    return {"input_ids": torch.tensor(ids), "attention_mask": mask.long()} | seen_batch(ordered)


def in_order(samples: Sequence[Conversation]) -> list[Conversation]:
    """Conversations by their number of images, fewest first."""
    return sorted(samples, key=lambda sample: len(sample.semantic))


def seen_batch(ordered: Sequence[Conversation], filled: int | None = None) -> Batch:
    """What is seen in conversations ``in_order``.

    The images of one conversation are one sequence for the spatial encoder; those with as many images are computed
    together.

    Args:
        ordered: conversations.
        filled: images to which every conversation is filled up with its last one, so that all are computed together and
            all processes of a training compute alike; None: they are not.

    Returns:
        ``semantic_F``, ``spatial_F`` (b, F, ...) and ``shown_F`` (b, F) bool, whether the image is one of the prompt's,
        of the b conversations with F images.
    """
    batch: Batch = {}
    for images in [filled] if filled else sorted({len(sample.semantic) for sample in ordered} - {0}):
        alike = ordered if filled else [sample for sample in ordered if len(sample.semantic) == images]
        counts = torch.tensor([len(sample.semantic) for sample in alike])
        batch[f"shown_{images}"] = torch.arange(images)[None] < counts[:, None]
        batch[f"semantic_{images}"] = _stacked([sample.semantic for sample in alike], images)
        spatial = [sample.spatial for sample in alike if sample.spatial is not None]
        if spatial:
            batch[f"spatial_{images}"] = _stacked(spatial, images)
    return batch


def image_tokens_of(model: VipaVla, batch: Batch) -> Tensor:
    """Image tokens (images of the prompts, N, D) in the order of the rows."""
    found: list[Tensor] = []
    for name in sorted(name for name in batch if name.startswith("shown_")):
        images = name.removeprefix("shown_")
        semantic, spatial = batch[f"semantic_{images}"], batch.get(f"spatial_{images}")
        is_pixels = semantic.dim() == PIXEL_DIMENSIONS
        tokens = model.encode_images(semantic, spatial) if is_pixels else model.image_tokens(semantic, spatial)
        found.append(tokens[batch[name]])
    return torch.cat(found)


def answer_loss(model: VipaVla, batch: Batch) -> Tensor:
    """Mean cross entropy () of the answers' ids, each given all ids before."""
    return loss_of(model, batch, image_tokens_of(model, batch))


def loss_of(model: VipaVla, batch: Batch, image_tokens: Tensor | None) -> Tensor:
    """``answer_loss`` with image tokens (images of the prompts, N, D); None: there are no images."""
    chosen = batch["labels"] != IGNORED
    tokens = image_tokens if image_tokens is not None else torch.zeros(0, device=chosen.device)
    logits = model.logits(batch["input_ids"], batch["attention_mask"], tokens, chosen)
    return functional.cross_entropy(logits.float(), batch["labels"][chosen])


def _stacked(values: Sequence[Numbers], images: int) -> Tensor:
    numbers = np.arange(images)
    return torch.from_numpy(np.stack([value[np.minimum(numbers, len(value) - 1)] for value in values])).float()
