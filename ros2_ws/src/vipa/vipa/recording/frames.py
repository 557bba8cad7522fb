"""Pictures of a recorded episode, decoded in order and made small."""

from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa.errors import VipaError
from vipa.recording.cdr import CdrError, CdrReader, read_image
from vipa.recording.images import color_pixels
from vipa.recording.recorded import RecordedEpisode, open_episode

Image = NDArray[np.uint8]  # (height, width, 3) RGB
Times = NDArray[np.int64]


class FrameSource:
    """Gives the frames of rows, in order, and counts those whose picture is that of the frame before.

    Args:
        recorded: the episode.
        exposures_ns: (T,) of the frames that each camera is to give, not decreasing.
        longer_side: px of the pictures; 0: as they were recorded.
    """

    def __init__(self, recorded: RecordedEpisode, exposures_ns: Mapping[str, Times], longer_side: int) -> None:
        self._recorded, self._exposures, self._side = recorded, exposures_ns, longer_side
        self.frozen = dict.fromkeys(exposures_ns, 0)

    def rows(self) -> Iterator[dict[str, Image]]:
        """The pictures of each row, by camera.

        Raises:
            VipaError: a picture cannot be decoded, or is gone.
        """
        cameras = {self._recorded.cameras[name].topic: name for name in self._exposures}
        wanted = {name: set(stamps.tolist()) for name, stamps in self._exposures.items()}
        count = len(next(iter(self._exposures.values())))
        ready: dict[str, dict[int, Image]] = {name: {} for name in self._exposures}
        last: dict[str, bytes] = {}
        row = 0
        with open_episode(self._recorded.folder) as reader:
            for _, channel, message in reader.iter_messages(topics=list(cameras)):
                name = cameras[channel.topic]
                try:
                    stamp = CdrReader(message.data).stamp_ns()
                except CdrError:
                    continue
                if stamp in wanted[name] and stamp not in ready[name]:
                    pixels = bytes(message.data[12:])  # behind the stamp
                    self.frozen[name] += last.get(name) == pixels
                    last[name] = pixels
                    ready[name][stamp] = self._picture(name, channel.topic, message.data)
                while row < count and all(int(self._exposures[n][row]) in ready[n] for n in ready):
                    stamps = {n: int(self._exposures[n][row]) for n in ready}
                    yield {n: ready[n][stamp] for n, stamp in stamps.items()}
                    row += 1
                    for n, stamp in stamps.items():
                        ready[n] = {s: image for s, image in ready[n].items() if s >= stamp}
        if row < count:
            raise VipaError(f"{self._recorded.folder.name}: the frames of row {row} are not in the file any more")

    def _picture(self, camera: str, topic: str, payload: bytes) -> Image:
        try:
            pixels = _decoded(topic, payload)
        except CdrError:
            pixels = None
        if pixels is None:
            raise VipaError(f"{self._recorded.folder.name}: camera {camera}: a frame cannot be decoded")
        return fitted(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), self._side)


def fitted(image: Image, longer_side: int) -> Image:
    """A picture without distortion whose longer side has so many px; both sides even, as videos want it."""
    height, width = image.shape[:2]
    scale = longer_side / max(height, width) if longer_side else 1.0
    size = tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))
    if size == (width, height):
        return image
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False)


def _decoded(topic: str, payload: bytes) -> Image | None:
    """BGR (height, width, 3); None where it is no picture."""
    if topic.endswith("/compressed"):
        reader = CdrReader(payload)
        reader.stamp_ns()
        reader.string()  # frame
        reader.string()  # format
        data = np.frombuffer(reader.octets(), np.uint8)
        found = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        return None if found is None else found.astype(np.uint8, copy=False)
    pixels = color_pixels(read_image(payload))
    if pixels is None:
        return None
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False) if pixels.ndim == 2 else pixels
