"""Where the operator console listens, and how much it sends."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ConsoleConfig:
    """The key ``console`` of a laboratory's YAML.

    Attributes:
        host: address to listen on; one that other machines can reach needs a token.
        port: 0: any free one.
        token_file: holds what a page must show; None: the environment variable VIPA_CONSOLE_TOKEN, without it nothing.
        camera_rate: pictures of one camera per second, at most.
        camera_width: of the pictures sent, pixels.
        jpeg_quality: of the pictures sent, 1 to 100.
        max_pages: open at the same time.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None
    camera_rate: float = 10.0
    camera_width: int = 480
    jpeg_quality: int = 70
    max_pages: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is outside 0-65535")
        if not 0.1 <= self.camera_rate <= 30.0:
            raise ValueError(f"camera_rate: {self.camera_rate} is not between 0.1 and 30 Hz")
        if not 16 <= self.camera_width <= 4096:
            raise ValueError(f"camera_width: {self.camera_width} is not between 16 and 4096")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality: {self.jpeg_quality} is not between 1 and 100")
        if self.max_pages < 1:
            raise ValueError(f"max_pages: {self.max_pages} is less than 1")

    @property
    def address(self) -> str:
        """What a browser is given."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
