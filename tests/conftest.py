"""Settings for all tests."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("shared cores", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("shared cores")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin first, so that processes that share the tests end together."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
