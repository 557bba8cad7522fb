"""A checkpoint answers the questions of a Hand3D data set, in words and in motions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vipa_inference.checkpoint import load_checkpoint
from vipa_inference.model.decoding import decode_greedily, motion_grammar
from vipa_inference.tokenizers import make_tokenizer
from vipa_training.hand3d.dataset import ActionItem, VisualItem
from vipa_training.hand3d.motion_tokens import MOTION
from vipa_training.stages.conversations import Conversation, ConversationEncoder, image_tokens_of, prompt_batch
from vipa_training.stages.hand3d_samples import turn_of

Array = NDArray[np.float64]
T = TypeVar("T")
Progress = Callable[[Iterable[int]], Iterable[int]]
MOST_TEXT = 96  # ids of an answer in words


class Answerer:
    """A model that was pretrained.

    Args:
        folder: of its checkpoint.
        device: where it computes.
        batch: questions at a time.

    Raises:
        PolicyError: the checkpoint or its tokenizer cannot be read.
    """

    def __init__(self, folder: Path, device: str | torch.device = "cpu", batch: int = 32) -> None:
        checkpoint = load_checkpoint(folder, device)
        self.model, self.device, self.batch = checkpoint.model, torch.device(device), batch
        self._encoder = ConversationEncoder(checkpoint.config, make_tokenizer(checkpoint.config.language, folder))

    @property
    def knows_motions(self) -> bool:
        """Whether its vocabulary has motion tokens, as after stage 2."""
        size = self.model.internvl.get_input_embeddings().num_embeddings
        return int(size) >= self.model.config.language.vocabulary + self.model.motion_tokens.count

    def answers(self, items: Sequence[VisualItem], progress: Progress = iter) -> list[str]:
        """An answer to each question.

        Raises:
            Hand3DError: a picture cannot be read.
        """
        tokenizer, found = self._encoder.tokenizer, [""] * len(items)
        for numbers in self._batches(len(items), progress):
            asked = [self._asked(items[number]) for number in numbers]
            order = sorted(range(len(asked)), key=lambda k: len(asked[k].semantic))
            for k, ids in zip(order, self._decode(asked, MOST_TEXT), strict=True):
                found[numbers[k]] = tokenizer.decode(ids)
        return found

    def tracks(self, items: Sequence[ActionItem], progress: Progress = iter) -> list[Array]:
        """The motion (N, 3) m that answers each item, with as many waypoints as the true one has.

        Raises:
            Hand3DError: a picture cannot be read.
            ValueError: the model has other motion tokens, or an answer is no motion.
        """
        tokenizer, end = self._encoder.motion_tokenizer, self._encoder.tokenizer.end_id
        found: list[Array] = []
        for numbers in self._batches(len(items), progress):
            chosen = [items[number] for number in numbers]
            if any(item.answer != MOTION for item in chosen):
                raise ValueError("motions: an item asks for words")
            waypoints = [len(item.motions[-1]) for item in chosen]
            asked = [self._asked(item) for item in chosen]
            grammar = motion_grammar(tokenizer, waypoints, end)
            for ids in self._decode(asked, 3 * max(waypoints) + 3, grammar):
                found.append(tokenizer.parse(torch.tensor(ids)).numpy())
        return found

    def _asked(self, item: VisualItem | ActionItem) -> Conversation:
        return self._encoder.encode(list(item.frames), [turn_of(item, self._encoder.motion_tokenizer)])

    def _decode(
        self,
        asked: Sequence[Conversation],
        most: int,
        allowed: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
    ) -> list[list[int]]:
        """Ids of the answers, in the order of ``in_order``."""
        batch = {name: tensor.to(self.device) for name, tensor in prompt_batch(asked).items()}
        with torch.inference_mode():
            tokens = image_tokens_of(self.model, batch)
            end = self._encoder.tokenizer.end_id
            return decode_greedily(self.model, batch["input_ids"], batch["attention_mask"], tokens, end, most, allowed)

    def _batches(self, count: int, progress: Progress) -> Iterator[list[int]]:
        for start in progress(range(0, count, self.batch)):
            yield list(range(start, min(start + self.batch, count)))
