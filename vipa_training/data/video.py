"""Videos of one camera in one episode: H.264 in MP4, frame k at k / fps, so that a row finds its frame exactly.

Key frames come five frames apart: reading a frame at random decodes three on average. Measured on one core, noisy
224 x 224 pictures: 650 frames/s at 7 kB each.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vipa_training.data.errors import DatasetError

CODEC, PIXELS = "libx264", "yuv420p"
OPTIONS = {"preset": "superfast", "crf": "20", "g": "5", "bf": "0"}
Image = NDArray[np.uint8]  # (height, width, 3) RGB


class VideoWriter:
    """Encodes pictures as they come.

    Args:
        path: of the new file.
        size: height and width of the pictures, px, both even.
        fps: frames of a second.
        threads: of the encoder.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: int, threads: int = 1) -> None:
        self.size, self.frames = size, 0
        self._container: Any = av.open(str(path), "w", format="mp4")
        self._stream: Any = self._container.add_stream(CODEC, rate=fps, options=OPTIONS)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = PIXELS
        self._stream.codec_context.thread_count = threads

    def add(self, image: Image) -> None:
        """Encode the next picture.

        Raises:
            OSError: the file cannot be written.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = self.frames
        self._mux(frame)
        self.frames += 1

    def close(self) -> None:
        """Write what is left, and the end of the file.

        Raises:
            OSError: the file cannot be written.
        """
        if self.frames:
            self._mux(None)
        self._container.close()

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


class VideoReader:
    """Reads frames by their numbers.

    Args:
        path: of the video.
        fps: frames of a second.

    Raises:
        DatasetError: it is missing, or no video.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self._path, self._fps = path, fps
        try:
            self._container: Any = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except FileNotFoundError:
            raise DatasetError(f"{path}: no such video") from None
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            raise DatasetError(f"{path}: no video that can be read: {error}") from None
        self._stream.codec_context.thread_count = 1
        self._decoder: Iterator[Any] = iter(())
        self._next = -1  # number of the frame that the decoder gives next; -1: unknown

    def __enter__(self) -> "VideoReader":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def key_interval(self) -> int:
        """Frames after which seeking costs less than decoding on."""
        return int(OPTIONS["g"])

    def frames(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """The frames (N, height, width, 3) RGB of these numbers, in any order.

        Raises:
            DatasetError: a frame is missing or cannot be decoded.
        """
        found = {number: self.frame(number) for number in sorted(set(numbers))}
        return np.stack([found[number] for number in numbers])

    def frame(self, number: int) -> Image:
        """One frame (height, width, 3) RGB.

        Raises:
            DatasetError: it is missing or cannot be decoded.
        """
        if not self._next <= number <= self._next + self.key_interval or self._next < 0:
            self._seek(number)
        try:
            for frame in self._decoder:
                shown = self._number(frame)
                self._next = shown + 1
                if shown == number:
                    return frame.to_ndarray(format="rgb24")
                if shown > number:
                    break
        except (av.FFmpegError, OSError, ValueError) as error:
            self._next = -1
            raise DatasetError(f"{self._path}: frame {number} cannot be decoded: {error}") from None
        self._next = -1
        raise DatasetError(f"{self._path}: has no frame {number}")

    def in_order(self) -> Iterator[tuple[float, Image]]:
        """Every frame from the first on, and the time (s) at which it is shown.

        Raises:
            DatasetError: one cannot be decoded.
        """
        self._seek(0)
        try:
            for frame in self._decoder:
                yield float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DatasetError(f"{self._path}: cannot be decoded: {error}") from None
        finally:
            self._next = -1

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _seek(self, number: int) -> None:
        try:
            self._container.seek(round(number / self._fps / self._stream.time_base), stream=self._stream)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DatasetError(f"{self._path}: cannot be read at frame {number}: {error}") from None
        self._decoder, self._next = self._container.decode(self._stream), number

    def _number(self, frame: Any) -> int:
        return round(frame.pts * frame.time_base * self._fps)
