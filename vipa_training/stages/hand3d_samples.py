"""Items of Hand3D data sets as samples of stages 1 and 2."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vipa_inference.model.motion_tokens import MotionTokenizer
from vipa_inference.policy import PolicyError
from vipa_training.engine.loader import Batch
from vipa_training.engine.order import numpy_generator
from vipa_training.hand3d.dataset import ActionItem, ActionItems, VisualItem, VisualItems
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.stages.conversations import Conversation, ConversationEncoder, Turn, training_batch

READ_ERRORS = (Hand3DError, PolicyError, OSError, ValueError)
"""What reading items may raise."""
Encode = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def turn_of(item: VisualItem | ActionItem, tokenizer: MotionTokenizer) -> Turn:
    """The question of an item and its answer.

    Raises:
        ValueError: the model has other motion tokens than the item.
    """
    motions = item.sequences(tokenizer) if isinstance(item, ActionItem) else ()
    return Turn(item.question, item.answer, [motion.tolist() for motion in motions])


def groups_of(items: VisualItems | ActionItems, turns: int) -> list[list[int]]:
    """Numbers of the items that show the same pictures, so that they may be in one conversation; of one turn: each.

    A group is there as often as it takes to ask all its questions.
    """
    if turns == 1:
        return [[number] for number in range(len(items))]
    groups: dict[tuple[Any, ...], list[int]] = {}
    names = ("source", "clip", "shard", "offsets")
    for number, values in enumerate(zip(*(items.column(name) for name in names), strict=True)):
        groups.setdefault((*values[:-1], tuple(values[-1])), []).append(number)
    return [group for group in groups.values() for _ in range(-(-len(group) // turns))]


class Hand3DSamples:
    """Samples of stages 1 and 2: conversations of some turns about the same pictures.

    No two turns are about the same hand and object, whose answers would be alike.

    Args:
        items: questions or motions.
        encoder: of the model.
        turns: of a conversation at most, chosen by chance.
        seed: of that chance.
        features: what frozen encoders see of pixels (1, F, ...). It is kept in memory, so that each picture is seen
            once, and the samples cannot be shared by processes; None: samples hold pixels.
        filled: see ``seen_batch``.
    """

    def __init__(
        self,
        items: VisualItems | ActionItems,
        encoder: ConversationEncoder,
        turns: int = 1,
        seed: int = 0,
        features: Encode | None = None,
        filled: int | None = None,
    ) -> None:
        self._items, self._encoder, self._turns, self._seed = items, encoder, turns, seed
        self._features, self._filled = features, filled
        self._groups = groups_of(items, turns)
        self._known: dict[int, Turn] = {}
        self._kept: dict[int, Conversation] = {}

    def __len__(self) -> int:
        """Groups of items with the same pictures."""
        return len(self._groups)

    def sample(self, number: int, position: int) -> Conversation:
        """A conversation about the pictures of a group.

        Raises:
            Hand3DError: its pictures cannot be read.
            ValueError, PolicyError: see ``ConversationEncoder.encode`` and ``turn_of``.
        """
        group = self._groups[number]
        chance = numpy_generator(self._seed, position)
        chosen = [group[k] for k in chance.permutation(len(group))]
        turns: dict[object, Turn] = {}
        for one in chosen:
            item = self._items.row(one)[1]
            subject = (item["hand"], item["object"]) if self._turns > 1 else one
            if subject not in turns and len(turns) < self._turns:
                turns[subject] = self._turn(one)
        seen = self._seen(number)
        ids, learned = self._encoder.ids(len(seen.semantic), list(turns.values()))
        return Conversation(seen.semantic, seen.spatial, ids, learned)

    def collate(self, samples: Sequence[Conversation]) -> Batch:
        """See ``training_batch``."""
        return training_batch(samples, self._filled)

    def _turn(self, number: int) -> Turn:
        if number not in self._known:
            self._known[number] = turn_of(self._items[number], self._encoder.motion_tokenizer)
        return self._known[number]

    def _seen(self, number: int) -> Conversation:
        """What is seen in a group; no turns."""
        first = self._groups[number][0]
        if first in self._kept:
            return self._kept[first]
        seen = self._encoder.encode(list(self._items[first].frames), [])
        if self._features is None:
            return seen
        spatial = None if seen.spatial is None else torch.from_numpy(seen.spatial)[None]
        semantic, spatial = self._features(torch.from_numpy(seen.semantic)[None], spatial)
        kept = None if spatial is None else spatial[0].cpu().numpy()
        self._kept[first] = Conversation(semantic[0].cpu().numpy(), kept, [], [])
        return self._kept[first]
