"""Small configurations, one thread, the same random numbers every time."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.vipa_inference.model.tiny import SPATIAL, TINY
from vipa_inference.config import SpatialEncoderConfig, VipaVlaConfig


@pytest.fixture(autouse=True)
def _few_threads() -> Iterator[None]:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def spatial() -> SpatialEncoderConfig:
    """The spatial encoder alone."""
    return SPATIAL


@pytest.fixture
def tiny() -> VipaVlaConfig:
    """The whole model."""
    return TINY


@pytest.fixture
def text_only() -> VipaVlaConfig:
    """Without the spatial encoder and the fusion."""
    return replace(TINY, spatial=None)
