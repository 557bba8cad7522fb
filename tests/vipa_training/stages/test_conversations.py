"""What the language model reads, and what it is to write."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_hand3d import write_hand3d

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.tokenizers import ByteTokenizer
from vipa_training.hand3d.dataset import ActionItems, VisualItems
from vipa_training.stages.conversations import (
    IGNORED,
    Conversation,
    ConversationEncoder,
    Turn,
    answer_loss,
    image_tokens_of,
    in_order,
    prompt_batch,
    training_batch,
)
from vipa_training.stages.hand3d_samples import Hand3DSamples, groups_of, turn_of

ENCODER = ConversationEncoder(TINY, ByteTokenizer())
IMAGE = [256, *[258] * TINY.semantic.tokens, 257]


def conversation(images: int, *turns: Turn, seed: int = 0) -> Conversation:
    chance = np.random.default_rng(seed)
    return ENCODER.encode([chance.integers(0, 255, (20, 30, 3), np.uint8) for _ in range(images)], turns)


def test_only_answers_are_learned_and_each_ends() -> None:
    found = conversation(2, Turn("where?", "left"), Turn("how far?", "2 m"))
    assert bytes(found.prompt[len(2 * IMAGE) :]) == b"where?"
    assert found.prompt[: len(2 * IMAGE)] == 2 * IMAGE
    batch = training_batch([found, conversation(1, Turn("a long question, what is it?", "x"))])
    rows = [row[row != IGNORED].tolist() for row in batch["labels"]]
    assert [bytes(row) for row in rows] == [b"x\0", b"left\x002 m\0"]
    assert int(batch["count"]) == 11
    follows = batch["input_ids"].roll(-1, dims=1)
    learned = batch["labels"] != IGNORED
    assert torch.equal(follows[learned], batch["labels"][learned])


def test_motions_stand_where_their_marks_are() -> None:
    first, second = [300, 301, 302], [303, 304, 305]
    found = conversation(1, Turn("Continue <motion>!", "<motion>", [first, second]))
    assert found.prompt[len(IMAGE) :] == [*b"Continue ", *first, *b"!"]
    assert found.ids[len(found.prompt) :] == [*second, 0]
    with pytest.raises(ValueError, match="1 marks for motions, but 0 motions"):
        conversation(1, Turn("Continue <motion>!", "no"))


def test_conversations_with_other_numbers_of_images_and_filled_up_ones_are_computed_alike() -> None:
    torch.manual_seed(0)
    model = VipaVla(TINY).eval()
    samples = [conversation(count, Turn("where?", f"{count}"), seed=count) for count in (3, 1, 2, 1)]
    with torch.no_grad():
        alone = [float(answer_loss(model, training_batch([one]))) for one in samples]
        together = float(answer_loss(model, training_batch(samples)))
        filled = float(answer_loss(model, training_batch(samples, filled=4)))
        seen = image_tokens_of(model, prompt_batch(samples))
    assert together == pytest.approx(np.mean(alone), rel=1e-4)
    assert filled == pytest.approx(together, rel=1e-4)
    assert [len(one.semantic) for one in in_order(samples)] == [1, 1, 2, 3]
    assert seen.shape == (7, TINY.semantic.tokens, TINY.language.width)


def test_items_about_the_same_pictures_share_a_conversation(tmp_path: Path) -> None:
    root = write_hand3d(tmp_path / "data")
    items = VisualItems([root], "train")
    assert groups_of(items, 1) == [[number] for number in range(len(items))]
    groups = groups_of(items, 2)
    for group in groups:
        assert len({(items[number].clip, items[number].numbers) for number in group}) == 1
    samples = Hand3DSamples(items, ENCODER, turns=2)
    first = samples.sample(0, 5)
    assert first.ids == samples.sample(0, 5).ids
    assert sorted(number for group in groups for number in set(group)) == list(range(len(items)))


def test_kept_features_are_those_of_the_pictures_and_each_is_seen_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, seen = VipaVla(TINY).eval(), []

    @torch.no_grad()
    def encode(semantic: torch.Tensor, spatial: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        seen.append(len(semantic))
        return model.visual_features(semantic, spatial)

    items = VisualItems([write_hand3d(tmp_path / "data")], "train")
    plain, kept = Hand3DSamples(items, ENCODER), Hand3DSamples(items, ENCODER, features=encode)
    with torch.no_grad():
        losses = [
            float(answer_loss(model, samples.collate([samples.sample(number, 0) for number in (0, 4, 0)])))
            for samples in (plain, kept)
        ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(seen) == 2


def test_motions_of_another_kind_are_refused(tmp_path: Path) -> None:
    items = ActionItems([write_hand3d(tmp_path / "data", bins=8)], "train")
    with pytest.raises(ValueError, match="motion tokens: the data set has"):
        turn_of(items[0], ENCODER.motion_tokenizer)
