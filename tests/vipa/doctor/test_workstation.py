"""The doctor's checks of a two-host cell."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.vipa_inference.serving.running import running
from vipa.doctor import workstation
from vipa.doctor.workstation import check_congestion_control, check_server, check_token, examine
from vipa.workstation import WorkstationConfig
from vipa_inference.serving.authentication import TOKEN_VARIABLE


@contextmanager
def web_server() -> Iterator[int]:
    """A web server that is no policy server; its port."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        yield server.server_port


@pytest.mark.protocol
def test_a_policy_server_that_answers() -> None:
    with running() as server:
        check = check_server(WorkstationConfig("127.0.0.1", server.port))
    assert check.status == "ok"
    assert "answers, round trip" in check.finding


@pytest.mark.protocol
def test_what_is_no_policy_server_is_told_with_its_cure() -> None:
    with web_server() as port:
        check = check_server(WorkstationConfig("127.0.0.1", port))
    assert (check.status, check.finding) == ("fail", f"ws://127.0.0.1:{port} answered HTTP 501")
    check = check_server(WorkstationConfig("127.0.0.1", 9))
    assert (check.status, check.finding) == ("fail", "ws://127.0.0.1:9: Connection refused")
    assert "vipa serve --lab" in check.cure


@pytest.mark.parametrize(
    ("address", "token", "status", "finding"),
    [
        ("192.168.1.20", None, "fail", "none"),
        ("192.168.1.20", "s3cret", "ok", "found"),
        ("127.0.0.1", None, "ok", "none"),
    ],
)
def test_others_are_served_with_a_token_only(
    monkeypatch: pytest.MonkeyPatch, address: str, token: str | None, status: str, finding: str
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    if token:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    check = check_token(WorkstationConfig(address))
    assert check.status == status
    assert check.finding.startswith(finding)
    assert "s3cret" not in check.line()


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    check = check_token(WorkstationConfig("192.168.1.20", token_file=str(tmp_path / "token")))
    assert check.status == "fail"
    assert f"token {tmp_path / 'token'}: cannot be read" in check.finding


@pytest.mark.parametrize(("allowed", "status"), [("reno bbr", "ok"), ("reno cubic", "warn"), (None, "warn")])
def test_bbr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: str | None, status: str) -> None:
    file = tmp_path / "allowed"
    if allowed:
        file.write_text(f"{allowed}\n")
    monkeypatch.setattr(workstation, "CONGESTION_CONTROL", file)
    assert check_congestion_control().status == status


def test_a_cell_of_one_host_has_nothing_to_check() -> None:
    assert examine(None) == []
