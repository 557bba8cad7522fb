"""Greedy decoding gives what the logits of the whole sequence say, with a cache and in batches."""

import pytest
import torch
from torch import Tensor

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.model.decoding import decode_greedily, motion_grammar
from vipa_inference.model.vipa_vla import VipaVla

END = 0
LENGTH = 9


@pytest.fixture(scope="module")
def model() -> VipaVla:
    torch.manual_seed(3)
    model = VipaVla(TINY)
    model.add_motion_tokens()
    with torch.no_grad():  # one that does not say the same all the time
        for name, parameter in model.internvl.model.language_model.named_parameters():
            if "proj" in name:
                parameter.mul_(3.0)
    return model.eval()


def prompt(text: str) -> Tensor:
    image = [256, *[258] * TINY.semantic.tokens, 257]
    return torch.tensor([image + list(text.encode())])


def images(seed: int) -> Tensor:
    return torch.randn(1, TINY.semantic.tokens, TINY.language.width, generator=torch.Generator().manual_seed(seed))


def one_by_one(model: VipaVla, ids: Tensor, tokens: Tensor) -> list[int]:
    """Without a cache."""
    found: list[int] = []
    with torch.no_grad():
        while len(found) < LENGTH:
            logits = model.logits(ids, torch.ones_like(ids), tokens)[0, -1]
            found.append(int(logits.argmax()))
            if found[-1] == END:
                return found[:-1]
            ids = torch.cat([ids, torch.tensor([[found[-1]]])], dim=1)
    return found


def test_a_batch_with_a_cache_gives_what_each_gives_alone_without_one(model: VipaVla) -> None:
    texts = ("where is it?", "how?", "where does the hand go?")
    prompts, tokens = [prompt(text) for text in texts], [images(seed) for seed in range(3)]
    length = max(one.shape[1] for one in prompts)
    ids = torch.cat([torch.nn.functional.pad(one, (length - one.shape[1], 0)) for one in prompts])
    mask = torch.stack([(torch.arange(length) >= length - one.shape[1]).long() for one in prompts])
    found = decode_greedily(model, ids, mask, torch.cat(tokens), END, LENGTH)
    wanted = [one_by_one(model, one, seen) for one, seen in zip(prompts, tokens, strict=True)]
    assert found == wanted
    assert len({tuple(one) for one in wanted}) == 3
    assert any(len(set(one)) > 1 for one in wanted)


def test_an_answer_ends_where_its_end_is(model: VipaVla) -> None:
    ids = prompt("where is it?")
    said = one_by_one(model, ids, images(0))
    place = next(k for k, one in enumerate(said) if one not in said[:k] and k)
    found = decode_greedily(model, ids, torch.ones_like(ids), images(0), end_id=said[place], most=LENGTH)
    assert found == [said[:place]]


def test_motions_keep_to_their_grammar(model: VipaVla) -> None:
    ids = prompt("reach").repeat(2, 1)
    grammar = motion_grammar(model.motion_tokens, [3, 1], END)
    found = decode_greedily(
        model, ids, torch.ones_like(ids), torch.cat([images(0), images(1)]), END, 3 * 3 + 3, grammar
    )
    tracks = [model.motion_tokens.parse(torch.tensor(one)) for one in found]
    assert [tuple(track.shape) for track in tracks] == [(3, 3), (1, 3)]
    assert all(
        torch.equal(model.motion_tokens.sequence(track), torch.tensor(one))
        for track, one in zip(tracks, found, strict=True)
    )
