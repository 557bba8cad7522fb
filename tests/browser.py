"""A headless Chromium for tests of pages; a test that asks for it skips, with the reason, where there is none."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from vipa.scheduling import OPERATOR_PRIORITY

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's, driving the system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def new_page(browser: Any, width: int = 1280, height: int = 900, has_touch: bool = False) -> Iterator[Any]:
    """A page in a profile of its own; an error of its scripts fails the test."""
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=has_touch)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert not errors, errors


def put_first() -> None:
    """Let the browsers of this process run before everything that can wait, where the machine permits it.

    An operator's browser has a machine of its own; beside a laboratory and a graph on two cores it has none.
    """
    for process in psutil.Process().children(recursive=True):
        if "chrom" in process.name():
            for thread in process.threads():
                with contextlib.suppress(PermissionError, ProcessLookupError):
                    os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(OPERATOR_PRIORITY))
