"""What waits for one connected page: never more than the newest of each kind, however slowly the page takes it."""

import asyncio
from collections.abc import Awaitable, Callable


class ConnectedPage:
    """Decouples one page from the rest; used in the event loop only.

    A picture is kept only for a page that asked for one, and it asks again when it has drawn the last: so pictures
    come as fast as the page takes them, and none waits in a queue.

    Args:
        send: sends one message and returns when it may send the next.
    """

    def __init__(self, send: Callable[[str | bytes], Awaitable[None]]) -> None:
        self._send = send
        self._texts: dict[str, str] = {}
        self._frames: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self.awaited: set[str] = set()
        """Cameras of which the page can take a picture."""

    @property
    def waiting(self) -> int:
        """How many messages wait for the page."""
        return len(self._texts) + len(self._frames)

    def offer(self, kind: str, text: str) -> None:
        """Send a text when the page can take it, unless a newer one of this kind comes first."""
        self._texts[kind] = text
        self._wake.set()

    def offer_frame(self, camera: str, message: bytes) -> None:
        """Send a picture if the page asked for one of this camera."""
        if camera in self.awaited:
            self.awaited.discard(camera)
            self._frames[camera] = message
            self._wake.set()

    async def feed(self) -> None:
        """Send what is offered, texts first, until cancelled or the connection is closed."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._texts or self._frames:
                if self._texts:
                    await self._send(self._texts.pop(next(iter(self._texts))))
                else:
                    await self._send(self._frames.pop(next(iter(self._frames))))
