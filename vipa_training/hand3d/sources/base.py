"""What all readers share: listing clips, and turning whatever is wrong with one into a rejection."""

import re
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from numpy.typing import NDArray

from vipa_training.hand3d.clip import Camera, Clip
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.validation import ValidationConfig, validate

Array = NDArray[np.float64]
_FAULTS = (
    OSError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    zipfile.BadZipFile,
    yaml.YAMLError,
)


class Source(ABC):
    """One data set, unpacked as it is published.

    Args:
        root: its folder.
        validation: what counts as a sound clip.
    """

    name: ClassVar[str]
    layout: ClassVar[str]  # where clips are, for the message when there are none

    def __init__(self, root: Path, validation: ValidationConfig | None = None) -> None:
        self.root, self.validation = root, validation or ValidationConfig()

    def identifiers(self) -> list[str]:
        """The clips, sorted.

        Raises:
            Hand3DError: there are none.
        """
        found = sorted(self._identifiers())
        if not found:
            raise Hand3DError(f"{self.root}: no clip of {self.name}; expected {self.layout}")
        return found

    def read(self, identifier: str) -> Clip:
        """One clip that has passed ``validate``.

        Raises:
            Rejection: it cannot be used; with the reason.
        """
        try:
            clip = self._read(identifier)
        except _FAULTS as error:
            text = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise Rejection(f"cannot be read: {text}") from None
        validate(clip, self.validation)
        return clip

    @abstractmethod
    def _identifiers(self) -> list[str]: ...

    @abstractmethod
    def _read(self, identifier: str) -> Clip: ...


def camera_of(intrinsics: Array, extrinsics: Array, size: tuple[int, int]) -> Camera:
    """A camera whose intrinsics (3, 3) stay the same while it moves (T, 4, 4)."""
    return Camera(np.broadcast_to(intrinsics, (len(extrinsics), 3, 3)).astype(np.float64), extrinsics, size)


def homogeneous(poses: Any) -> Array:
    """Poses (..., 4, 4) of (..., 3, 4)."""
    known = np.asarray(poses, np.float64)
    last = np.broadcast_to(np.array([0.0, 0.0, 0.0, 1.0]), (*known.shape[:-2], 1, 4))
    return np.concatenate([known, last], axis=-2)


def load_table(path: Path) -> Array:
    """The numbers of a text file, one row for each line that is not empty.

    Raises:
        OSError, ValueError: it is missing, empty, or no table of numbers.
    """
    rows = [[float(part) for part in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"{path}: no table of numbers")
    return np.array(rows)


def load_yaml(path: Path) -> dict[str, Any]:
    """What a YAML file holds.

    Raises:
        OSError, ValueError, yaml.YAMLError: it is missing, no mapping, or broken.
    """
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path}: no mapping")
    return found


def spoken(name: str) -> str:
    """ "put_tea_bag", "StorageFurniture" or "003_cracker_box" as people say it."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    return " ".join(word.lower() for word in words.split() if not word.isdigit())
