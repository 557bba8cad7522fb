"""Pictures for the page: live ones of the cameras, and one of each episode."""

from pathlib import Path

import cv2
import numpy as np

from vipa.recording.bag import mcap_name
from vipa.recording.cdr import Bytes, CdrError, CdrReader, read_image
from vipa.recording.images import Pixels, color_pixels

THUMBNAIL_WIDTH = 160
THUMBNAIL_QUALITY = 70
_COLOR_SUFFIX = "/color/image_raw"


def live_picture(payload: Bytes, width: int, quality: int) -> bytes:
    """A JPEG of a colour or grey sensor_msgs/Image, made smaller; empty where the payload is none."""
    try:
        pixels = color_pixels(read_image(payload))
        return b"" if pixels is None else _small_jpeg(pixels, width, quality)
    except (CdrError, cv2.error):
        return b""


def episode_picture(folder: Path) -> bytes:
    """A JPEG of the first colour image of an episode; empty where it has none or cannot be read."""
    from mcap.exceptions import McapError
    from mcap.reader import make_reader

    try:
        with (folder / mcap_name(folder.name)).open("rb") as stream:
            reader = make_reader(stream)
            summary = reader.get_summary()
            names = sorted(channel.topic for channel in summary.channels.values()) if summary is not None else []
            topic = next((name for name in names if f"{_COLOR_SUFFIX}/compressed" in name), None)
            topic = topic or next((name for name in names if name.endswith(_COLOR_SUFFIX)), None)
            if topic is None:
                return b""
            payload = next((message.data for _, _, message in reader.iter_messages(topics=[topic])), b"")
    except (OSError, McapError, CdrError):
        return b""
    if topic.endswith(_COLOR_SUFFIX):
        return live_picture(payload, THUMBNAIL_WIDTH, THUMBNAIL_QUALITY)
    return _compressed_picture(payload)


def _compressed_picture(payload: bytes) -> bytes:
    try:
        reader = CdrReader(payload)
        for read in (reader.stamp_ns, reader.string, reader.string):  # header and format
            read()
        pixels = cv2.imdecode(np.frombuffer(reader.octets(), np.uint8), cv2.IMREAD_COLOR)
        return b"" if pixels is None else _small_jpeg(pixels.astype(np.uint8), THUMBNAIL_WIDTH, THUMBNAIL_QUALITY)
    except (CdrError, cv2.error):
        return b""


def _small_jpeg(pixels: Pixels, width: int, quality: int) -> bytes:
    height, full_width = pixels.shape[:2]
    if full_width > width:
        size = (width, max(1, round(height * width / full_width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    is_encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes() if is_encoded else b""
