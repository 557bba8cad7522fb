"""Messages as bytes: msgpack with NumPy arrays, in the format of ``openpi-client``; no pickle.

An array is the map ``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}`` (rows first), a NumPy
scalar the map ``{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}``. What is unpacked is nothing but None,
booleans, numbers, text, bytes, lists, maps with keys of text, and arrays and scalars of booleans, integers and floats.
"""

import functools
import re
from typing import Any, cast

import msgpack
import numpy as np

from vipa_inference.policy import PolicyError

MAX_TEXT_BYTES = 1 << 18
MAX_ITEMS = 1024
"""Of one list or map."""
MAX_CONTAINERS = 1024
"""Lists, maps, arrays and scalars of one message: more would cost far more memory than the message has bytes."""
MAX_DIMENSIONS = 8

_DTYPE = re.compile(r"\|b1|[|<>=](?:[iu][1248]|f[248])")
_ARRAY_KEYS = {b"__ndarray__", b"data", b"dtype", b"shape"}
_SCALAR_KEYS = {b"__npgeneric__", b"data", b"dtype"}


class MessageError(PolicyError):
    """A message that cannot be packed, unpacked or understood; the message says which part of it."""


def pack(message: Any) -> bytes:
    """The bytes of a message.

    Raises:
        MessageError: it holds something that the format has not, such as an array of objects or of text.
    """
    try:
        return cast(bytes, msgpack.packb(message, default=_from_numpy))
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"message: cannot be packed: {error}") from None


def unpack(data: bytes | bytearray) -> Any:
    """The message that ``pack``, or the packer of openpi, made; its arrays are read-only.

    Raises:
        MessageError: the bytes are no such message, or it is nested or long beyond reason.
    """
    counter = _Counter()
    try:
        return msgpack.unpackb(
            data,
            object_hook=functools.partial(_to_numpy, counter),
            list_hook=counter.count,
            ext_hook=_refuse_extension,
            timestamp=0,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_TEXT_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except MessageError:
        raise
    except (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MessageError(f"message: no msgpack of the expected form: {reason[:200]}") from None


class _Counter:
    """Counts the containers of one message."""

    def __init__(self) -> None:
        self._count = 0

    def count(self, container: Any) -> Any:
        self._count += 1
        if self._count > MAX_CONTAINERS:
            raise MessageError(f"message: more than {MAX_CONTAINERS} lists, maps and arrays")
        return container


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        array = cast(np.ndarray[Any, np.dtype[Any]] | np.generic, value)
        _check_dtype(array.dtype.str)
        if isinstance(array, np.generic):
            return {b"__npgeneric__": True, b"data": array.item(), b"dtype": array.dtype.str}
        return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}
    raise TypeError(f"{type(value).__name__} is no number, text, list, map or array")


def _to_numpy(counter: _Counter, content: dict[Any, Any]) -> Any:
    counter.count(content)
    if b"__ndarray__" in content and content.keys() == _ARRAY_KEYS:
        return _array(content[b"data"], content[b"dtype"], content[b"shape"])
    if b"__npgeneric__" in content and content.keys() == _SCALAR_KEYS:
        return _scalar(content[b"data"], content[b"dtype"])
    if not all(isinstance(key, str) for key in content):
        raise MessageError("message: a map has keys that are no text and is no NumPy array")
    return content


def _array(data: Any, dtype: Any, shape: Any) -> np.ndarray[Any, np.dtype[Any]]:
    kind = _check_dtype(dtype)
    sizes = cast(list[Any], shape) if isinstance(shape, list) else None
    if sizes is None or len(sizes) > MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in sizes):
        raise MessageError(f"message: an array with the shape {str(shape)[:80]}")
    expected = kind.itemsize
    for size in sizes:  # of any size, so not with NumPy's integers
        expected *= size
    if not isinstance(data, bytes) or len(data) != expected:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise MessageError(f"message: an array of {kind} {tuple(sizes)} has {found} instead of {expected}")
    if kind.kind == "b" and data.translate(None, b"\x00\x01"):
        raise MessageError("message: an array of booleans holds other bytes than 0 and 1")
    return np.ndarray(tuple(sizes), kind, data)


def _scalar(data: Any, dtype: Any) -> np.generic:
    kind = _check_dtype(dtype)
    if type(data) is not {"b": bool, "i": int, "u": int, "f": float}[kind.kind]:
        raise MessageError(f"message: a scalar of {kind} holds {type(data).__name__}")
    with np.errstate(over="raise"):
        return cast(np.generic, kind.type(data))


def _check_dtype(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise MessageError(f"message: arrays of {str(dtype)[:40]!r} are not allowed, only of booleans and numbers")
    return np.dtype(dtype)


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MessageError(f"message: msgpack extension type {code} is not allowed")
