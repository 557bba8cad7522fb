"""What is kept beside a trained peer, and what both of its commands share. Needs neither torch nor LeRobot."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

NOTE_FILE = "peer.json"
WEIGHTS_FILE = "model.safetensors"
KINDS = ("act", "smolvla")
IMAGES, STATE, TASK_VECTOR = "observation.images.", "observation.state", "observation.environment_state"
"""Keys of LeRobot's batches."""


class PeerError(Exception):
    """A peer that cannot be trained or served; the message says what is wrong and what to do, in one line."""


@dataclass(frozen=True)
class PeerNote:
    """What a peer was trained for.

    Attributes:
        kind: "act" or "smolvla".
        cameras: that it sees, in this order.
        image_size: (height, width) px of what it sees of each.
        horizon: actions of a chunk.
        step_period: s between two of them.
        instructions: that it learned; ACT reads none, but is told which of them it is.
        seed: of weights and order.
    """

    kind: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    horizon: int
    step_period: float
    instructions: tuple[str, ...]
    seed: int = 0

    def write(self, folder: Path) -> None:
        """Write beside the weights."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        (folder / NOTE_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "PeerNote":
        """Read what ``write`` wrote.

        Raises:
            PeerError: it is missing, or none.
        """
        path = folder / NOTE_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            height, width = content["image_size"]
            return cls(
                str(content["kind"]),
                tuple(str(name) for name in content["cameras"]),
                (int(height), int(width)),
                int(content["horizon"]),
                float(content["step_period"]),
                tuple(str(text) for text in content["instructions"]),
                int(content["seed"]),
            )
        except OSError as error:
            raise PeerError(f"peer {path}: cannot be read: {error.strerror}. Train one with train_peer") from None
        except (ValueError, KeyError, TypeError) as error:
            raise PeerError(f"peer {path}: no note of a trained peer: {error!r}") from None

    def task_number(self, instruction: str) -> int:
        """The place of an instruction among those that were learned.

        Raises:
            PeerError: it was not learned.
        """
        text = instruction.strip()
        if text not in self.instructions:
            raise PeerError(f"peer {self.kind}: did not learn {text!r}, but: {'; '.join(self.instructions)}")
        return self.instructions.index(text)


def fingerprint(folder: Path) -> str:
    """SHA-256 of a trained peer's weights and note.

    Raises:
        PeerError: one is missing.
    """
    digest = hashlib.sha256()
    for name in (NOTE_FILE, WEIGHTS_FILE):
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            raise PeerError(f"peer {folder / name}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
