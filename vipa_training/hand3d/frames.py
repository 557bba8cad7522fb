"""The pictures of a clip, decoded when they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.data.errors import DatasetError
from vipa_training.data.video import VideoReader
from vipa_training.hand3d.errors import Rejection

Image = NDArray[np.uint8]  # (height, width, 3) RGB


class Frames(Protocol):
    """Pictures by their numbers in the clip."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def picture(self, number: int) -> Image:
        """One picture (height, width, 3) RGB.

        Raises:
            Rejection: it is missing or broken.
        """
        ...


class ImageFiles:
    """One file for each picture."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.paths)

    def picture(self, number: int) -> Image:
        """One picture (height, width, 3) RGB.

        Raises:
            Rejection: it is missing or broken.
        """
        path = self.paths[number]
        if not path.is_file():
            raise Rejection(f"frame {number} is missing: {path}")
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise Rejection(f"frame {number} is broken: {path}")
        return image.astype(np.uint8, copy=False)


class VideoFile:
    """Frames of a video.

    Args:
        path: of the video; opened when the first picture is asked for.
        numbers: of the clip's frames in the video.
        fps: frames of a second.
    """

    def __init__(self, path: Path, numbers: Sequence[int], fps: int) -> None:
        self.path, self.numbers, self.fps = path, tuple(numbers), fps

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def picture(self, number: int) -> Image:
        """One picture (height, width, 3) RGB.

        Raises:
            Rejection: the video is missing or broken, or has no such frame.
        """
        try:
            with VideoReader(self.path, self.fps) as video:
                return video.frame(self.numbers[number])
        except DatasetError as error:
            raise Rejection(str(error)) from None


class KeptFrames:
    """Pictures of others that are decoded once only.

    Args:
        frames: the others.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._kept: dict[int, Image] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._frames)

    def picture(self, number: int) -> Image:
        """One picture (height, width, 3) RGB.

        Raises:
            Rejection: it is missing or broken.
        """
        if number not in self._kept:
            self._kept[number] = self._frames.picture(number)
        return self._kept[number]
