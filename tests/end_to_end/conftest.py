"""A cell of its own for each end-to-end test."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from end_to_end.cell import Cell, processes_of

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")


@pytest.fixture
def cell(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cell]:
    instance = Cell(tmp_path)
    yield instance
    if getattr(request.node, "failed", False):
        for log in sorted((instance.logs / "latest").glob("*.log")):
            print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-15:], sep="\n")
    for pid in processes_of(instance):
        os.kill(pid, signal.SIGKILL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report
