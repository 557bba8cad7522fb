"""Messages as bytes: the same as openpi's, without loss, and nothing else is let through."""

import contextlib
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vipa_inference.serving.codec import MAX_CONTAINERS, MAX_ITEMS, MAX_TEXT_BYTES, MessageError, pack, unpack

msgpack_numpy = pytest.importorskip(
    "openpi_client.msgpack_numpy", reason="openpi-client: see requirements-no-deps.lock"
)

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
SCALARS = DTYPES.map(lambda dtype: dtype.newbyteorder("=")).flatmap(
    lambda dtype: hnp.from_dtype(dtype).filter(lambda value: not isinstance(value, float))  # float64 is a float, too
)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
MESSAGES = st.recursive(
    PLAIN | ARRAYS | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes() or np.array_equal(found, expected, equal_nan=True)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected or (found != found and expected != expected)  # noqa: PLR0124 - NaN


@given(MESSAGES)
@settings(max_examples=80, deadline=None)
def test_what_is_packed_is_unpacked_and_openpi_reads_and_writes_the_same_bytes(message: Any) -> None:
    data = pack(message)
    assert data == msgpack_numpy.packb(message)
    assert_same(unpack(data), message)
    assert_same(unpack(bytearray(data)), message)
    assert_same(msgpack_numpy.unpackb(data), message)


def unpack_or_complain(data: bytes) -> None:
    """Any other exception than the one fails the test."""
    with contextlib.suppress(MessageError):
        assert len(pack(unpack(data))) > 0


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
@example(b"")
@example(b"\x81\xc0\xc0")
@example(b"\xd9\x01\xff")
@example(b"\x91" * 2000)
@example(b"\xdd\xff\xff\xff\xff")
def test_any_bytes_are_a_message_or_one_error(data: bytes) -> None:
    unpack_or_complain(data)


@given(MESSAGES.map(pack).filter(len), st.data())
@settings(max_examples=100, deadline=None)
def test_a_changed_or_cut_message_is_a_message_or_one_error(packed: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(packed) - 1))
    changed = bytearray(packed)
    changed[position] = data.draw(st.integers(0, 255))
    for attempt in (bytes(changed), packed[:position]):
        unpack_or_complain(attempt)


def ndarray(**changes: Any) -> dict[bytes, Any]:
    array = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    return {**array, **{key.encode(): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (ndarray(dtype="|O"), "'|O' are not allowed"),
        (ndarray(dtype="|V8"), "not allowed"),
        (ndarray(dtype="<U2"), "not allowed"),
        (ndarray(dtype="<c8"), "not allowed"),
        (ndarray(dtype="<M8[s]"), "not allowed"),
        (ndarray(dtype="f4,f4"), "not allowed"),
        (ndarray(dtype="<f4\n"), "not allowed"),
        (ndarray(dtype=b"<f4"), "not allowed"),
        (ndarray(dtype=["<f4"]), "not allowed"),
        (ndarray(shape=[3]), "has 8 bytes instead of 12"),
        (ndarray(shape=[-2]), "with the shape"),
        (ndarray(shape=[True, 2]), "with the shape"),
        (ndarray(shape=[2.0]), "with the shape"),
        (ndarray(shape=2), "with the shape"),
        (ndarray(shape=[1] * 9), "with the shape"),
        (ndarray(shape=[2**62, 2**62]), "instead of"),
        (ndarray(data="text"), "has str instead of 8"),
        (ndarray(data=[0, 0]), "has list"),
        (ndarray(dtype="|b1", data=b"\1\2", shape=[2]), "other bytes than 0 and 1"),
        (ndarray(more=1), "keys that are no text"),
        ({b"__npgeneric__": True, b"data": 1, b"dtype": "<f4"}, "a scalar of float32 holds int"),
        ({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}, "out of bounds"),
        ({b"__npgeneric__": True, b"data": 1e300, b"dtype": "<f2"}, "overflow"),
        ({b"__npgeneric__": True, b"data": [1], b"dtype": "|u1"}, "holds list"),
        ({b"key": 1}, "keys that are no text"),
        ({1: 1}, "int is not allowed for map key"),
        (msgpack.ExtType(5, b"x"), "extension type 5"),
        ("a" * (MAX_TEXT_BYTES + 1), "exceeds max_str_len"),
        ([0] * (MAX_ITEMS + 1), "exceeds max_array_len"),
        ({str(i): 0 for i in range(MAX_ITEMS + 1)}, "exceeds max_map_len"),
        ([[[] for _ in range(MAX_ITEMS)]] * 2, f"more than {MAX_CONTAINERS} lists"),
        ([[{} for _ in range(MAX_ITEMS)]] * 2, f"more than {MAX_CONTAINERS} lists"),
    ],
)
def test_what_the_format_has_not_is_refused(message: Any, complaint: str) -> None:
    with pytest.raises(MessageError, match=r"message: .*") as caught:
        unpack(msgpack.packb(message))
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "value",
    [object(), np.array([object()]), np.array(["text"]), np.array([1j]), np.zeros(1, np.longdouble), {1, 2}, 2**64],
)
def test_what_is_no_number_is_not_packed(value: Any) -> None:
    with pytest.raises(MessageError, match="message: "):
        pack({"value": value})


def test_arrays_are_read_only() -> None:
    assert not unpack(pack(np.arange(6.0).reshape(2, 3))).flags.writeable
