"""The delayed link: everything arrives, in order, later; ends and refusals are handed on."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.faults.delayed_link import HOST, link_to

DELAY = 0.05  # s each way


async def ask(port: int, blocks: list[bytes]) -> tuple[bytes, float]:
    """Send blocks and the end; everything that comes back, and after how many seconds its first byte came."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(HOST, port)
    begun = loop.time()
    for block in blocks:
        writer.write(block)
        await writer.drain()
    writer.write_eof()
    first = await reader.read(1)
    waited = loop.time() - begun
    answer = first + await reader.read()
    writer.close()
    return answer, waited


async def echoed(blocks: list[bytes], delay: float) -> tuple[bytes, float]:
    """What a far echo makes of it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    far = await asyncio.start_server(echo, HOST, 0)
    near = await asyncio.start_server(link_to(far.sockets[0].getsockname()[1], delay), HOST, 0)
    async with far, near:
        return await ask(near.sockets[0].getsockname()[1], blocks)


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5))
@settings(max_examples=20)
def test_everything_arrives_in_order(blocks: list[bytes]) -> None:
    answer, _ = asyncio.run(echoed(blocks, 0.0))
    assert answer == b"".join(blocks)


def test_it_takes_as_long_as_asked_each_way() -> None:
    answer, waited = asyncio.run(echoed([bytes(200_000)], DELAY))
    assert len(answer) == 200_000
    assert waited >= 2 * DELAY


def test_where_nobody_listens_the_connection_is_closed() -> None:
    async def refused() -> bytes:
        probe = await asyncio.start_server(lambda *_: None, HOST, 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
        near = await asyncio.start_server(link_to(port, 0.0), HOST, 0)
        async with near:
            reader, writer = await asyncio.open_connection(HOST, near.sockets[0].getsockname()[1])
            said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(refused()) == b""


@pytest.mark.parametrize("side", ["near", "far"])
def test_an_end_that_is_cut_ends_the_other(side: str) -> None:
    async def cut() -> bytes:
        connected: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        far = await asyncio.start_server(lambda reader, writer: connected.put((reader, writer)), HOST, 0)
        near = await asyncio.start_server(link_to(far.sockets[0].getsockname()[1], 0.0), HOST, 0)
        async with near:
            reader, writer = await asyncio.open_connection(HOST, near.sockets[0].getsockname()[1])
            far_reader, far_writer = await connected.get()
            ends = {"near": (writer, far_reader), "far": (far_writer, reader)}
            cut_writer, waiting = ends[side]
            cut_writer.transport.abort()
            said = await asyncio.wait_for(waiting.read(), 5.0)
            writer.close()
            far_writer.close()
            far.close()
            return said

    assert asyncio.run(cut()) == b""
