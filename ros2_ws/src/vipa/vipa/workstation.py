"""Where the policy server of a two-host cell is: read by the robot PC and by the workstation from the same YAML."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkstationConfig:
    """The workstation with the GPU, which runs ``vipa serve``.

    Attributes:
        address: of the workstation, as the robot PC reaches it; a name or a number.
        port: of its policy server.
        token_file: holds the secret that both machines know, at this path on each of them; "": the secret is in the
            environment variable VIPA_POLICY_TOKEN.
        jpeg_quality: of the images on their way, 1 to 100; 0: they travel as they are, 18 times as much.
    """

    address: str
    port: int = 8000
    token_file: str = ""
    jpeg_quality: int = 90

    def __post_init__(self) -> None:
        if not self.address or any(c.isspace() or c in "/[]" for c in self.address):
            raise ValueError(f"address: {self.address!r} is no address like 192.168.1.20")
        if not 0 < self.port < 65536:
            raise ValueError(f"port: {self.port} is outside 1-65535")
        if not 0 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality: {self.jpeg_quality} is not between 0 and 100")

    @property
    def url(self) -> str:
        """Of the policy server."""
        return f"ws://{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"

    def client_options(self) -> dict[str, Any]:
        """The options of the policy ``remote`` on the robot PC."""
        return {"url": self.url, "token_file": self.token_file, "jpeg_quality": self.jpeg_quality}
