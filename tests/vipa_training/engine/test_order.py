"""The order of samples: every one once in each epoch, and the same for any number of processes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_training.engine.order import Order, numpy_generator, torch_generator


@given(count=st.integers(1, 50), seed=st.integers(0, 2**32), epoch=st.integers(0, 3))
def test_each_epoch_has_every_sample_once(count: int, seed: int, epoch: int) -> None:
    order = Order(count, seed)
    samples = [order.sample(position) for position in range(epoch * count, (epoch + 1) * count)]
    assert sorted(samples) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    first, second = Order(50, 0), Order(50, 1)
    epochs = [[order.sample(start + k) for k in range(50)] for order in (first, second) for start in (0, 50)]
    assert len({tuple(epoch) for epoch in epochs}) == 4


@given(size=st.integers(1, 4), processes=st.integers(1, 4), parts=st.integers(1, 3), first=st.integers(0, 4))
def test_processes_and_parts_share_each_step(size: int, processes: int, parts: int, first: int) -> None:
    order, batch = Order(9, 0), size * processes * parts
    shares = [list(order.positions(batch, first, 6, rank, processes, parts)) for rank in range(processes)]
    for step in range(first, 6):
        of_step = [share[(step - first) * parts + part] for share in shares for part in range(parts)]
        assert sorted(itertools.chain.from_iterable(of_step)) == list(range(step * batch, (step + 1) * batch))


def test_chance_follows_from_the_position() -> None:
    assert numpy_generator(1, 2).random() == numpy_generator(1, 2).random() != numpy_generator(1, 3).random()
    seeds = {torch_generator(seed, position).initial_seed() for seed in range(10) for position in range(100)}
    assert len(seeds) == 1000


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="samples: none"):
        Order(0, 0)
