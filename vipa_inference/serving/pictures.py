"""Images of a request as JPEG: a twentieth of the bytes, which a network that loses packets carries in time."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_inference.serving.codec import MessageError

MAX_PIXELS = 1 << 23
"""Of one image: a few bytes of JPEG can claim to be any size."""
_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_LENGTHLESS = {0x01, *range(0xD0, 0xD8)}


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """An RGB image (height, width, 3) as JPEG of a quality from 1 to 100.

    Raises:
        MessageError: the image is empty or too large for JPEG.
    """
    try:
        is_encoded, data = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
    except cv2.error:
        is_encoded, data = False, np.zeros(0, np.uint8)
    if not is_encoded:
        raise MessageError(f"request: an image {image.shape} cannot be encoded as JPEG")
    return data.tobytes()


def decode_jpeg(data: bytes, key: str) -> NDArray[np.uint8]:
    """The RGB image (height, width, 3) in the bytes of a JPEG file.

    Raises:
        MessageError: they are no such file, or the image is larger than ``MAX_PIXELS``; the message names ``key``.
    """
    height, width = _size(data)
    if not 0 < height * width <= MAX_PIXELS:
        raise MessageError(f"request: {key}: no JPEG of 1 to {MAX_PIXELS} pixels")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    # What is cut off somewhere becomes grey without a word.
    if image is None or image.shape != (height, width, 3) or not data.endswith(_END):
        raise MessageError(f"request: {key}: a JPEG that is damaged")
    return np.asarray(image, np.uint8)


def _size(data: bytes) -> tuple[int, int]:
    """Height and width that the header claims, px; (0, 0) where it is no JPEG."""
    for marker, content in _segments(data):
        if marker in _FRAMES and len(content) >= 5:
            return int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    return 0, 0


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers before the picture itself, each with what belongs to it."""
    at = 2 if data.startswith(_START) else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _LENGTHLESS:
            at += 2
        elif marker == _SCAN:
            return
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + length
