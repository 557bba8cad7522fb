"""Carries one TCP port to another on loopback, each way as late as asked: ``python -m vipa.faults.delayed_link``.

Nothing is lost or reordered. It ends with SIGTERM, and both ends of every connection with it.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable

HOST = "127.0.0.1"
BLOCK = 1 << 16  # bytes that are carried together
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
    """Hand on what comes, ``delay`` seconds later, and then that nothing more comes."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                target.write_eof()
                return
            target.write(data)
            await target.drain()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while data := await source.read(BLOCK):
            under_way.put_nowait((loop.time() + delay, data))
    under_way.put_nowait((loop.time() + delay, b""))
    with contextlib.suppress(ConnectionError):
        await delivery


def link_to(port: int, delay: float) -> Serve:
    """What a server does with a connection: carry it to and from a port; one that nobody listens on closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, far_writer, delay), carry(far_reader, writer, delay))
        far_writer.close()
        writer.close()

    return serve


async def run(listen: int, port: int, delay: float) -> None:
    """Carry until cancelled.

    Raises:
        OSError: the port to listen on is taken.
    """
    server = await asyncio.start_server(link_to(port, delay), HOST, listen)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run the link."""
    parser = argparse.ArgumentParser()
    parser.add_argument("listen", type=int, help="TCP port")
    parser.add_argument("port", type=int, help="TCP port to which it leads")
    parser.add_argument("delay", type=float, help="s, each way")
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.port, options.delay))


if __name__ == "__main__":
    main()
