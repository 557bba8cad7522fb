"""Images as JPEG: nearly what was sent, and nothing that a stranger sends does harm."""

import dataclasses
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vipa_inference.serving.running import observation, running, url
from vipa_inference.policy import CameraView, Observation, PolicyError
from vipa_inference.scripted import WavePolicy
from vipa_inference.serving.client import RemoteConfig, RemotePolicy
from vipa_inference.serving.codec import MessageError, pack, unpack
from vipa_inference.serving.pictures import MAX_PIXELS, decode_jpeg, encode_jpeg
from vipa_inference.serving.request import JPEGS, make_request, read_request


def scene(height: int = 480, width: int = 640) -> np.ndarray:
    """A red and a blue field, with a shade across: RGB, and no BGR."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = image[:, width // 2 :, 2] = np.linspace(80, 250, height).astype(np.uint8)[:, None]
    return image


def seeing(image: np.ndarray) -> Observation:
    view = CameraView(image, 1_000_000_000, np.eye(3), np.eye(4))
    return dataclasses.replace(observation(), views={"front": view, "side": view})


@given(st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=20, deadline=None)
def test_every_size_arrives(height: int, width: int) -> None:
    image = scene(height, width)
    assert decode_jpeg(encode_jpeg(image, 90), "key").shape == image.shape


def test_the_colours_arrive_and_the_bytes_are_few() -> None:
    image = scene()
    data = encode_jpeg(image, 90)
    found = decode_jpeg(data, "key").astype(int)
    assert np.abs(found - image).mean() < 3
    assert found[240, 100].argmax() == 0
    assert found[240, 500].argmax() == 2
    assert len(data) < image.nbytes / 15


def test_a_request_with_jpegs_is_the_same_observation_but_for_its_images() -> None:
    sent = seeing(scene())
    packed = pack(make_request(sent, jpeg_quality=90))
    assert len(packed) < 0.1 * sum(view.image.nbytes for view in sent.views.values())
    found = read_request(unpack(packed), received_ns=7).observation
    assert found is not None
    for name, view in found.views.items():
        assert view.image.shape == (480, 640, 3)
        np.testing.assert_equal(
            dataclasses.replace(view, image=sent.views[name].image).__dict__, sent.views[name].__dict__
        )


def frame_header(height: int, width: int) -> bytes:
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", f"no JPEG of 1 to {MAX_PIXELS} pixels"),
        (cv2.imencode(".png", scene(4, 4))[1].tobytes(), "no JPEG of 1"),
        (frame_header(65535, 65535), "no JPEG of 1"),
        (frame_header(0, 8), "no JPEG of 1"),
        (frame_header(480, 640), "damaged"),
        (encode_jpeg(scene(), 90)[:300], "no JPEG of 1|damaged"),
        (encode_jpeg(scene(), 90)[:-20], "damaged"),
        ("text", "expected bytes, found str"),
        (np.zeros(3, np.uint8), "expected bytes, found an array"),
    ],
)
def test_what_is_no_jpeg_is_refused_by_its_key(data: object, complaint: str) -> None:
    message = {**make_request(seeing(scene(8, 8)), jpeg_quality=90), JPEGS + "side": data}
    with pytest.raises(MessageError, match=f"^request: {JPEGS}side: .*({complaint})"):
        read_request(message, received_ns=7)


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=100, deadline=None)
def test_no_bytes_do_more_than_be_refused(data: bytes, has_header: bool) -> None:
    try:
        image = decode_jpeg((frame_header(16, 16) if has_header else b"") + data, "key")
    except MessageError:
        return
    assert image.shape == (16, 16, 3)


def test_an_image_in_both_ways_is_refused() -> None:
    message = {**make_request(observation()), **make_request(observation(), jpeg_quality=90)}
    with pytest.raises(MessageError, match="of at least one camera, and one of each"):
        read_request(message, received_ns=7)


@pytest.mark.parametrize("shape", [(0, 4, 3), (70_000, 1, 3)])
def test_what_jpeg_cannot_hold_is_an_error_of_the_client(shape: tuple[int, int, int]) -> None:
    with pytest.raises(MessageError, match="cannot be encoded as JPEG"):
        encode_jpeg(np.zeros(shape, np.uint8), 90)


@pytest.mark.protocol
def test_the_server_sees_the_images_that_the_client_compressed() -> None:
    seen: list[Observation] = []

    class Watcher(WavePolicy):
        def infer(self, observation: Observation) -> object:  # type: ignore[override]
            seen.append(observation)
            return super().infer(observation)

    with running(Watcher()) as server:
        policy = RemotePolicy(RemoteConfig(url(server), time_out=5.0, jpeg_quality=90))
        chunk = policy.infer(seeing(scene()))
        policy.close()
    assert chunk.horizon == 16
    assert np.abs(seen[0].views["front"].image.astype(int) - scene()).mean() < 3


@pytest.mark.protocol
def test_a_server_that_takes_no_jpeg_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from vipa_inference.serving import server as module

    old = module.make_metadata
    monkeypatch.setattr(module, "make_metadata", lambda p: {k: v for k, v in old(p).items() if k != "jpeg"})
    with running() as server:
        with pytest.raises(PolicyError, match=r"takes no JPEG\. Update it, or set jpeg_quality to 0"):
            RemotePolicy(RemoteConfig(url(server), jpeg_quality=90))
        RemotePolicy(RemoteConfig(url(server))).close()
