"""A page that takes nothing delays no other and costs no memory; pictures come as fast as a page takes them."""

import asyncio
import json
import socket
import time
import tracemalloc

from serving_console import ask, jpeg, next_picture, next_text, page_of, running, wait_until

from vipa.console.connected_page import ConnectedPage

HANDSHAKE = (
    "GET /live HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def text_frame(content: object) -> bytes:
    """A short masked frame of a client."""
    payload = json.dumps(content).encode()
    assert len(payload) < 126
    return bytes((0x81, 0x80 | len(payload))) + b"\0\0\0\0" + payload


def deaf_page(authority: str) -> socket.socket:
    """A page that asks for pictures all the time and never reads anything."""
    host, _, port = authority.partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(HANDSHAKE.format(authority).encode() + text_frame({"token": ""}))
    return connection


def test_a_picture_comes_only_when_it_is_asked_for() -> None:
    with running() as cell, page_of(cell) as page:
        next_text(page, "state")
        time.sleep(0.2)
        assert cell.pictures_given == 0
        for _ in range(3):
            page.send(json.dumps({"id": 1, "do": "frame", "camera": "front"}))
            assert next_picture(page)[0] == {"kind": "frame", "camera": "front"}
        assert cell.pictures_given <= 6
        page.send(json.dumps({"id": 1, "do": "frame", "camera": "nowhere"}))
        next_text(page, "state")
        assert cell.server.awaited == frozenset()


def test_a_page_that_takes_nothing_delays_no_other_and_costs_no_memory() -> None:
    with running() as cell:
        cell.picture = jpeg(0)[:-2] + bytes(200_000)
        deaf = [deaf_page(cell.authority) for _ in range(3)]
        wait_until(lambda: cell.server.pages == 3)
        tracemalloc.start()
        with page_of(cell) as page:
            began, before = time.monotonic(), tracemalloc.get_traced_memory()[0]
            count = longest = 0.0
            last = began
            while time.monotonic() < began + 2.0:
                for connection in deaf:
                    connection.sendall(text_frame({"id": 1, "do": "frame", "camera": "side"}))
                page.send(json.dumps({"id": 1, "do": "frame", "camera": "front"}))
                assert next_picture(page)[0]["camera"] == "front"
                now = time.monotonic()
                count, longest, last = count + 1, max(longest, now - last), now
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert count > 20
            assert longest < 0.5
            assert grown < 4 * len(deaf) * len(cell.picture)  # at most what is being sent and what comes next
            assert ask(page, "stop")["success"]
        for connection in deaf:
            connection.close()


def test_of_what_a_page_did_not_take_only_the_newest_is_kept() -> None:
    sent: list[str | bytes] = []

    async def scenario() -> None:
        gate = asyncio.Event()

        async def send(message: str | bytes) -> None:
            await gate.wait()
            sent.append(message)

        page = ConnectedPage(send)
        page.awaited |= {"front"}
        feeder = asyncio.create_task(page.feed())
        for number in range(1000):
            page.offer("state", f"state {number}")
            page.offer_frame("front", b"frame %d" % number)
            await asyncio.sleep(0)
            assert page.waiting <= 3
        page.offer("episodes", "episodes")
        gate.set()
        await asyncio.sleep(0.01)
        feeder.cancel()

    asyncio.run(scenario())
    assert sent == ["state 0", "state 999", "episodes", b"frame 0"]
