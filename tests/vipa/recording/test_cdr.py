"""The wire format of the messages that the recorder reads or makes, against an independent implementation."""

import numpy as np
import pytest
from fabricated_recordings import DEFINITIONS
from hypothesis import given
from hypothesis import strategies as st
from mcap_ros2._dynamic import generate_dynamic

from vipa.recording.cdr import CdrError, CdrReader, CdrWriter, compressed_image_payload, image_payload, read_image
from vipa.recording.events import Event, outcome_of, warnings_of

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
stamps = st.integers(0, 2**31 * 10**9 - 1)


def decode(name, payload):
    return generate_dynamic(name, DEFINITIONS[name])[name](payload)


@given(stamps, text, st.integers(1, 9), st.integers(1, 9))
def test_an_image_round_trip(stamp_ns, frame_id, height, width):
    pixels = np.random.default_rng(height * width).integers(0, 2**16, (height, width), np.uint16)
    payload = image_payload(stamp_ns, frame_id, (height, width), "16UC1", pixels.tobytes())
    image = read_image(payload)
    assert (image.stamp_ns, image.frame_id, image.height, image.width) == (stamp_ns, frame_id, height, width)
    assert (image.encoding, image.step) == ("16UC1", 2 * width)
    np.testing.assert_array_equal(np.frombuffer(image.data, np.uint16).reshape(height, width), pixels)
    other = decode("sensor_msgs/msg/Image", payload)
    assert (other.header.stamp.sec, other.header.stamp.nanosec) == divmod(stamp_ns, 10**9)
    assert (other.header.frame_id, other.height, other.width) == (frame_id, height, width)
    assert (other.encoding, other.step, bytes(other.data)) == ("16UC1", 2 * width, pixels.tobytes())


@given(stamps, text, st.binary(max_size=50))
def test_a_compressed_image_keeps_the_header(stamp_ns, frame_id, data):
    image = read_image(image_payload(stamp_ns, frame_id, (1, 1), "mono8", b"x"))
    other = decode("sensor_msgs/msg/CompressedImage", compressed_image_payload(image, "mono8; jpeg compressed", data))
    assert (other.header.stamp.sec, other.header.stamp.nanosec) == divmod(stamp_ns, 10**9)
    assert (other.header.frame_id, other.format) == (frame_id, "mono8; jpeg compressed")
    assert bytes(other.data) == data


@given(st.sampled_from(["started", "sub_task", "note", "success", "warning"]), text, text, stamps)
def test_an_event_round_trip(kind, what, episode, time_ns):
    event = Event(kind, what, episode, time_ns)
    assert Event.read(event.payload) == event
    other = decode("vipa_msgs/msg/TrialEvent", event.payload)
    assert (other.trial, other.event) == (episode, kind)
    assert (other.sub_task if kind == "sub_task" else other.detail) == what


@given(st.integers(0, 60))
def test_a_payload_that_ends_early_is_refused(length):
    payload = image_payload(7, "front", (2, 3), "rgb8", bytes(18))
    if length < len(payload):
        with pytest.raises(CdrError):
            read_image(payload[:length])
    else:
        assert read_image(payload[:length]).height == 2


def test_other_encodings_of_the_wire_are_refused():
    payload = image_payload(7, "front", (1, 1), "mono8", b"x")
    with pytest.raises(CdrError, match="no plain little-endian CDR"):
        read_image(b"\x00\x00\x00\x00" + payload[4:])


def test_pixels_that_do_not_fit_the_header_are_refused():
    payload = CdrWriter().header(0).unsigned(2).unsigned(3).string("mono8").byte(0).unsigned(3).octets(bytes(5)).payload
    with pytest.raises(CdrError, match="5 bytes of pixels for 2 rows of 3 bytes"):
        read_image(payload)


def test_doubles_are_aligned():
    payload = CdrWriter().unsigned(1).doubles((1.5, -2.0)).string("after").payload
    assert len(payload) == 4 + 4 + 4 + 16 + 4 + 6
    reader = CdrReader(payload)
    assert (reader.unsigned(), reader.unsigned()) == (1, 2)


def test_what_events_say_together():
    said = [("started", ""), ("warning", "slow"), ("success", ""), ("warning", "lost"), ("failure", "")]
    events = [Event(kind, text, "e", 0) for kind, text in (*said, ("warning", "slow"))]
    assert outcome_of(events) == "failure"
    assert outcome_of(events[:3]) == "success"
    assert outcome_of(events[:1]) == ""
    assert warnings_of(events) == ("slow", "lost")


def test_an_event_of_another_program_is_refused():
    payload = CdrWriter().header(0).string("e").string("exploded").string("").string("").payload
    with pytest.raises(ValueError, match="event 'exploded'"):
        Event.read(payload)
