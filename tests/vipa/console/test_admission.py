"""Who may talk to the console."""

import pytest

from vipa.console.admission import check_address, is_known_host, is_own_origin, is_token
from vipa.errors import ConfigurationError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.4.5", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    check_address(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "robot"])
def test_an_address_that_others_reach_needs_one(host: str) -> None:
    check_address(host, "secret")
    with pytest.raises(ConfigurationError, match="VIPA_CONSOLE_TOKEN"):
        check_address(host, None)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST"])
def test_loopback_names_are_known(host: str) -> None:
    assert is_known_host([host], has_token=False)


@pytest.mark.parametrize("hosts", [["evil.example:8080"], ["192.168.1.5:8080"], [], ["127.0.0.1", "127.0.0.1"],
                                   ["127.0.0.1.evil.example"], ["[::1"], [""]])  # fmt: skip
def test_other_names_are_not(hosts: list[str]) -> None:
    assert not is_known_host(hosts, has_token=False)


def test_with_a_token_the_machine_may_have_any_name() -> None:
    assert is_known_host(["robot.lab:8080"], has_token=True)


@pytest.mark.parametrize(("origin", "is_own"), [
    ("http://127.0.0.1:8080", True),
    ("https://127.0.0.1:8080", True),
    ("http://127.0.0.1:8081", False),
    ("http://evil.example", False),
    ("http://evil.example/127.0.0.1:8080", False),
    ("http://127.0.0.1:8080@evil.example", False),
    ("file://", False),
    ("null", False),
    ("", False),
])  # fmt: skip
def test_only_pages_of_this_server_may_connect(origin: str, is_own: bool) -> None:
    assert is_own_origin([origin], ["127.0.0.1:8080"]) is is_own


def test_no_origin_or_two_are_refused() -> None:
    assert not is_own_origin([], ["127.0.0.1:8080"])
    assert not is_own_origin(["http://127.0.0.1:8080"] * 2, ["127.0.0.1:8080"])


@pytest.mark.parametrize("shown", ["wrong", "", "secre", "secrets", None, 3, ["secret"], "\ud800", "sécret"])
def test_only_the_token_is_the_token(shown: object) -> None:
    assert is_token("secret", "secret")
    assert not is_token(shown, "secret")
    assert is_token(shown, None)
