"""A cell of its own for each end-to-end test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from end_to_end.cell import Cell, processes_of

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    instance = Cell(tmp_path)
    yield instance
    for pid in processes_of(instance):
        os.kill(pid, signal.SIGKILL)
