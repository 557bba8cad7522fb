"""Simulated time in shared memory: across processes, while it is written, broken pages."""

import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from vipa.clock_page import ClockReader, ClockWriter, page_path

SECOND_NS = 10**9


def _write(path: Path, stop: Event) -> None:
    writer, now_ns = ClockWriter(path), 0
    while not stop.is_set():
        for _ in range(100):
            now_ns += SECOND_NS
            writer.write(now_ns)
    writer.close()


def test_another_process_never_reads_half_a_write(tmp_path: Path) -> None:
    path = tmp_path / "page"
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_write, args=(path, stop))
    process.start()
    try:
        reader, changes, last = ClockReader(path), 0, 0
        deadline = time.monotonic() + 30.0
        while changes < 50 and time.monotonic() < deadline:
            now_ns = reader.now_ns()
            if now_ns is not None:
                second, rest = divmod(now_ns, SECOND_NS)
                assert second >= last
                assert rest <= SECOND_NS // 1000, "neither a time that was written nor one just after it"
                changes, last = changes + (second > last), second
        assert changes == 50
    finally:
        stop.set()
        process.join(timeout=10.0)
    assert not path.exists()


def test_without_a_page_there_is_no_time(tmp_path: Path) -> None:
    assert ClockReader(tmp_path / "page").now_ns() is None


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 4096, b"\x01" * 32])
def test_a_broken_page_is_no_time(tmp_path: Path, content: bytes) -> None:
    page = tmp_path / "page"
    page.write_bytes(content.ljust(4096 if content else 0, b"\0"))
    assert ClockReader(page).now_ns() is None


def test_each_ros_domain_has_its_own_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    default = page_path()
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    assert page_path() == page_path("7") != default == page_path("0")


def test_only_the_user_may_read_it(tmp_path: Path) -> None:
    writer = ClockWriter(tmp_path / "page")
    assert os.stat(tmp_path / "page").st_mode & 0o077 == 0
    writer.close()
    writer.close()  # twice is no error
