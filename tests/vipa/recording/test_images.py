"""Which images are compressed, and how well."""

import cv2
import numpy as np
import pytest
from fabricated_recordings import DEFINITIONS
from mcap_ros2._dynamic import generate_dynamic

from vipa.recording.cdr import CdrError, CdrWriter, image_payload
from vipa.recording.images import compress_color

KIND = "sensor_msgs/msg/CompressedImage"


def scene(channels):
    y, x = np.mgrid[0:48, 0:64]
    planes = [128 + 100 * np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(channels)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def decoded(payload):
    message = generate_dynamic(KIND, DEFINITIONS[KIND])[KIND](payload)
    return message, cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize(("encoding", "to_bgr"), [("rgb8", [2, 1, 0]), ("bgr8", [0, 1, 2])])
def test_colour_becomes_jpeg_in_the_right_order(encoding, to_bgr):
    pixels = scene(3)
    message, image = decoded(compress_color(image_payload(9, "front", (48, 64), encoding, pixels.tobytes()), 95))
    assert message.format == f"{encoding}; jpeg compressed bgr8"
    assert np.abs(image.astype(int) - pixels[..., to_bgr]).mean() < 4


def test_grey_becomes_jpeg():
    pixels = scene(1)
    message, image = decoded(compress_color(image_payload(9, "front", (48, 64), "mono8", pixels.tobytes()), 95))
    assert message.format == "mono8; jpeg compressed"
    assert np.abs(image.astype(int) - pixels[..., 0]).mean() < 2


def test_a_lower_quality_is_smaller():
    payload = image_payload(9, "front", (48, 64), "rgb8", scene(3).tobytes())
    assert len(compress_color(payload, 30)) < len(compress_color(payload, 95))


def test_padded_rows_are_cropped():
    pixels = scene(3)
    padded = np.pad(pixels.reshape(48, -1), ((0, 0), (0, 5)), constant_values=255)
    writer = CdrWriter().header(0, "front").unsigned(48).unsigned(64).string("bgr8").byte(0)
    _, image = decoded(compress_color(writer.unsigned(padded.shape[1]).octets(padded.tobytes()).payload, 95))
    assert image.shape == pixels.shape
    assert np.abs(image.astype(int) - pixels).mean() < 4


def test_depth_is_left_alone():
    assert compress_color(image_payload(9, "front", (4, 4), "16UC1", bytes(32)), 95) is None


def test_a_step_that_is_too_short_is_left_alone():
    assert compress_color(image_payload(9, "front", (4, 4), "rgb8", bytes(16)), 95) is None


def test_what_is_no_image_is_refused():
    with pytest.raises(CdrError):
        compress_color(b"\x00\x01\x00\x00abc", 95)
