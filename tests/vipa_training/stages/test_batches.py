"""Batches: padding that all prompts share is left out without changing what the model says."""

import numpy as np
import pytest
import torch

from vipa_inference.config import NANO
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.parity import random_batch
from vipa_training.stages.batches import collate


def test_shared_padding_is_left_out_and_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    observations = [random_batch(NANO, generator, tokens) for tokens in (5, 12)]
    whole = {name: torch.from_numpy(np.concatenate([o[name] for o in observations])) for name in observations[0]}
    batch = collate(observations)
    longest = int(whole["attention_mask"].sum(dim=1).max())
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, longest)
    assert longest < NANO.prompt_length
    assert set(batch) == set(whole)
    model = VipaVla(NANO).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.condition(batch), model.condition(whole), atol=2e-5, rtol=1e-4)


def test_no_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="observations: none"):
        collate([])
