"""The key ``console`` of a laboratory."""

from pathlib import Path

import pytest

from vipa.config import from_mapping
from vipa.console.config import ConsoleConfig
from vipa.errors import ConfigurationError


def test_the_address_is_what_a_browser_takes() -> None:
    assert ConsoleConfig().address == "http://127.0.0.1:8080"
    assert ConsoleConfig(host="::1", port=1).address == "http://[::1]:1"
    assert from_mapping(ConsoleConfig, {"token_file": "/etc/token"}).token_file == Path("/etc/token")


@pytest.mark.parametrize("values", [{"port": 70000}, {"camera_rate": 0.0}, {"camera_width": 1}, {"jpeg_quality": 0},
                                    {"max_pages": 0}, {"hosts": "x"}])  # fmt: skip
def test_what_cannot_be_is_named(values: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        from_mapping(ConsoleConfig, values, "console")
