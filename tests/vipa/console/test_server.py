"""The server: files, who is let in, requests and their replies."""

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from serving_console import TOKEN, ask, next_picture, next_text, page_of, running, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from vipa.console.config import ConsoleConfig
from vipa.console.page_files import FOLDER
from vipa.console.requests import Reply
from vipa.console.server import MAX_REQUESTS, ConsoleServer
from vipa.errors import ConfigurationError


def get(authority: str, path: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://{authority}{path}", headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def raw_get(authority: str, path: bytes) -> bytes:
    host, _, port = authority.partition(":")
    with socket.create_connection((host, int(port)), timeout=5.0) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: " + authority.encode() + b"\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def test_every_file_of_the_page_is_served_under_a_strict_policy() -> None:
    with running() as cell:
        for path in (Path("index.html"), *FOLDER.iterdir()):
            status, headers, content = get(cell.authority, f"/{path.name}")
            assert (status, content) == (200, (FOLDER / path.name).read_bytes())
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert get(cell.authority, "/")[2] == (FOLDER / "index.html").read_bytes()


OUTSIDE = (b"/../server.py", b"/../../../../../../etc/passwd", b"/%2e%2e/server.py", b"//etc/passwd",
           b"/..%2fserver.py", b"/page/../../config.py", b"/console.js/../../server.py", b"/episode_000001",
           b"/index.html%00.js", b"/\\..\\server.py")  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_else_is_served(path: bytes) -> None:
    with running() as cell:
        answer = raw_get(cell.authority, path)
        assert b" 404 " in answer.splitlines()[0]
        assert b"import" not in answer
        assert b"root:" not in answer


def test_another_name_of_this_machine_is_refused_without_a_token() -> None:
    with running() as cell:
        assert get(cell.authority, "/", host="evil.example")[0] == 403
        assert get(cell.authority, "/", host="localhost")[0] == 200


def test_a_page_of_another_site_is_refused() -> None:
    with running() as cell:
        for origin in ("http://evil.example", None, "null"):
            with pytest.raises(InvalidStatus, match="403"), page_of(cell, origin=origin):
                pass


def test_the_token_is_needed_and_a_wrong_one_is_told_so() -> None:
    with running(token=TOKEN) as cell:
        with page_of(cell, TOKEN) as page:
            assert next_text(page, "hello")["lab"] == "test"
            assert ask(page, "stop")["success"]
        for token in ("", "wrong", TOKEN + "x"):
            with page_of(cell, token) as page:
                page.send(json.dumps({"id": 1, "do": "stop", "seen": 0}))
                with pytest.raises(ConnectionClosed) as closed:
                    page.recv(timeout=5.0)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401
    assert len(cell.requests) == 1


def test_without_a_token_other_machines_are_refused_from_the_beginning() -> None:
    with pytest.raises(ConfigurationError, match="need a token"):
        ConsoleServer(ConsoleConfig(host="0.0.0.0"), None, {"cameras": []}, None, None)  # type: ignore[arg-type]


def test_an_address_in_use_is_told() -> None:
    with running() as cell:
        config = ConsoleConfig(port=cell.server.port)
        with pytest.raises(ConfigurationError, match="cannot listen on"), running(config):
            pass


def test_requests_are_carried_out_and_answered() -> None:
    with running() as cell, page_of(cell) as page:
        cell.reply = Reply(False, "recorder: no episode runs")
        reply = ask(page, "mark", kind="sub_task", text="touch red")
        assert (reply["success"], reply["message"]) == (False, "recorder: no episode runs")
        (request,) = cell.requests
        assert (request.action, dict(request.fields)) == ("mark", {"kind": "sub_task", "text": "touch red"})


def test_what_was_asked_for_long_ago_moves_nothing() -> None:
    with running() as cell, page_of(cell) as page:
        reply = ask(page, "reset", seen=time.monotonic() - 10.0)
        assert not reply["success"]
        assert "late" in reply["message"]
        assert cell.requests == []
        assert ask(page, "stop", seen=0.0)["success"]


@pytest.mark.parametrize("message", ["no json", "[]", '{"do": "stop"}', b"\x00", "x" * 20000])
def test_nonsense_ends_only_its_own_connection(message: str | bytes) -> None:
    with running() as cell, page_of(cell) as good, page_of(cell) as bad:
        bad.send(message)
        with pytest.raises(ConnectionClosed):
            next_text(bad, "nothing")
        assert ask(good, "stop")["success"]
    assert len(cell.requests) == 1


def test_a_stop_goes_through_while_everything_else_waits() -> None:
    with running() as cell, page_of(cell) as page:
        cell.delay = 3.0
        for number in range(MAX_REQUESTS):
            page.send(json.dumps({"id": number, "do": "record_stop", "kind": "", "seen": time.monotonic()}))
        wait_until(lambda: len(cell.requests) == MAX_REQUESTS)
        page.send(json.dumps({"id": 99, "do": "stop", "seen": 0}))
        wait_until(lambda: cell.requests[-1].action == "stop", 1.0)


def test_too_many_pages_are_refused() -> None:
    with (
        running(ConsoleConfig(port=0, max_pages=2)) as cell,
        page_of(cell),
        page_of(cell),
        pytest.raises(InvalidStatus, match="503"),
        page_of(cell),
    ):
        pass


def test_a_page_that_comes_later_gets_the_newest_of_everything() -> None:
    with running() as cell:
        cell.thread.call(cell.server.publish, "episodes", {"list": ["a"]})
        with page_of(cell) as page:
            assert next_text(page, "episodes")["list"] == ["a"]


def test_thumbnails_come_on_demand() -> None:
    with running() as cell, page_of(cell) as page:
        page.send(json.dumps({"id": 1, "do": "thumbnail", "episode": "episode_000001"}))
        assert next_picture(page) == ({"kind": "thumbnail", "episode": "episode_000001"}, cell.picture)
        page.send(json.dumps({"id": 2, "do": "thumbnail", "episode": "../secret"}))
        assert next_picture(page) == ({"kind": "thumbnail", "episode": "../secret"}, b"")
