"""A very small model, its checkpoint and its exported graphs, made once; one thread of torch."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.vipa_inference.runtime.micro import MICRO, micro_graphs
from vipa_inference.checkpoint import Checkpoint, load_checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.statistics import Statistics
from vipa_inference.untrained import save_untrained_checkpoint


@pytest.fixture(autouse=True)
def _few_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def micro() -> VipaVlaConfig:
    """Every part of the model, with one layer in each."""
    return MICRO


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, micro: VipaVlaConfig) -> Path:
    """The folder of an untrained checkpoint without engines; tests do not write into it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_untrained_checkpoint(folder, micro)
    return folder


@pytest.fixture(scope="session")
def checkpoint(source: Path) -> Checkpoint:
    """The checkpoint, loaded; tests do not change it."""
    return load_checkpoint(source)


@pytest.fixture(scope="session")
def statistics(checkpoint: Checkpoint) -> Statistics:
    """Of the checkpoint."""
    assert checkpoint.statistics is not None
    return Statistics.from_mapping(checkpoint.statistics)


@pytest.fixture(scope="session")
def graphs() -> Path:
    """The folder of the exported graphs; tests do not write into it."""
    return micro_graphs()
