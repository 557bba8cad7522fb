"""Settings for all tests."""

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("shared cores", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("shared cores")

GROUPS = ("alone", "idle", "long", "protocol", "ros")
"""Marks whose tests `make test` runs apart; it finds their files by the text "mark.NAME"."""


SHARED_FOLDER = "VIPA_SHARED_TEST_FOLDER"
"""Names in the environment where the processes of one run keep what they make once for all."""


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of pytest's own temporary folders, so pytest removes it."""
    own = tmp_path_factory.getbasetemp()
    os.environ[SHARED_FOLDER] = str(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark that its file does not name: `make test` would run that test in no group."""
    for item in items:
        for name in GROUPS:
            if item.get_closest_marker(name) and f"mark.{name}" not in _text(item.path):
                raise pytest.UsageError(f"{item.nodeid}: name pytest.mark.{name} in the file itself")


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
