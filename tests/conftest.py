"""Settings for all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin first, so that processes that share the tests end together."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
