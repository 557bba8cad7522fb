"""Strict reading of a message: each value is taken by its key with its type; what is wrong is named by its key."""

from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vipa_inference.serving.codec import MessageError

T = TypeVar("T", bound=np.generic)


class Fields:
    """The fields of one message that have not been taken yet.

    Args:
        message: what was unpacked.
        where: what it is called in messages of errors, "request".

    Raises:
        MessageError: the message is no map.
    """

    def __init__(self, message: Any, where: str) -> None:
        if not isinstance(message, dict):
            raise MessageError(f"{where}: expected a map of keys, found {type(message).__name__}")
        self._left = dict(cast(dict[str, Any], message))
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __len__(self) -> int:
        return len(self._left)

    def names(self, prefix: str) -> tuple[str, ...]:
        """What follows ``prefix`` in the keys that begin with it."""
        return tuple(key[len(prefix) :] for key in self._left if key.startswith(prefix))

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        value = self._left.pop(key, default)
        if not isinstance(value, bool | np.bool_):
            raise self._error(key, "true or false", value)
        return bool(value)

    def text(self, key: str) -> str:
        """Text."""
        value = self._take(key, "text")
        if not isinstance(value, str):
            raise self._error(key, "text", value)
        return value

    def blob(self, key: str) -> bytes:
        """Bytes."""
        value = self._take(key, "bytes")
        if not isinstance(value, bytes):
            raise self._error(key, "bytes", value)
        return value

    def integer(self, key: str) -> int:
        """A whole number of 64 bits that is not negative."""
        value = self._take(key, "a whole number")
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value < 2**63:
            raise self._error(key, "a whole number from 0 to 2^63 - 1", value)
        return int(value)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._take(key, "a number")
        if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
            raise self._error(key, "a number", value)
        if not np.isfinite(value):
            raise self._error(key, "a finite number", value)
        return float(value)

    def array(self, key: str, shape: tuple[int | None, ...], dtype: type[T]) -> NDArray[T]:
        """An array of the given shape, where None is any size; integers and floats become ``dtype`` where that is safe.

        Floats of any precision are taken for floats, everything else must fit without loss.
        """
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        expected = f"an array of {np.dtype(dtype).name} ({sizes})"
        value = self._take(key, expected)
        if not isinstance(value, np.ndarray):
            raise self._error(key, expected, value)
        array = cast(NDArray[Any], value)
        fits = len(shape) == array.ndim and all(s in (None, n) for s, n in zip(shape, array.shape, strict=True))
        if not fits or array.dtype.kind == "b" or not np.can_cast(array.dtype, dtype, "same_kind"):
            raise self._error(key, expected, array)
        if np.dtype(dtype).kind != "f" and not np.can_cast(array.dtype, dtype, "safe"):
            raise self._error(key, expected, array)
        return array.astype(dtype, copy=False)

    def finish(self) -> None:
        """Refuse whatever was not taken.

        Raises:
            MessageError: it names the unknown keys.
        """
        if self._left:
            names = ", ".join(sorted(self._left)[:5])
            raise MessageError(f"{self._where}: unknown keys: {names[:200]}")

    def _take(self, key: str, expected: str) -> Any:
        if key not in self._left:
            raise MessageError(f"{self._where}: {key} is missing, expected {expected}")
        return self._left.pop(key)

    def _error(self, key: str, expected: str, value: Any) -> MessageError:
        if isinstance(value, np.ndarray):
            array = cast(NDArray[Any], value)
            found = f"an array of {array.dtype} {array.shape}"
        else:
            found = repr(value)[:60] if isinstance(value, int | float) else type(value).__name__
        return MessageError(f"{self._where}: {key}: expected {expected}, found {found}")
