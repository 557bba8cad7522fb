"""Reading the pickles of data sets without running what they say.

Only arrays, numbers, texts, lists and dictionaries come out; tensors become arrays. Whatever else a file names is
refused, but for two packages that old files of MANO name: instances of chumpy's and scipy's classes are kept as what
was stored of them.
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.errors import Rejection

_CORES = ("numpy.core", "numpy._core")
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((f"{core}.multiarray", name) for core in _CORES for name in ("_reconstruct", "scalar")),
    *((f"{core}.numeric", "_frombuffer") for core in _CORES),
}


class Kept:
    """What was stored of an instance whose class was not imported."""

    name = ""  # of the class

    def __init__(self, *_: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        """Keep what there is."""
        self.state = dict(cast("dict[str, Any]", state)) if isinstance(state, dict) else {}


def load_pickle(path: Path) -> Any:
    """What a pickle holds, also one of Python 2.

    Raises:
        Rejection: it is missing, broken, or names something that is not data.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, encoding="latin1").load()
    except FileNotFoundError:
        raise Rejection(f"{path}: no such file") from None
    except _REFUSED as error:
        raise Rejection(f"{path}: no pickle of data: {' '.join(str(error).split())}") from None


def load_array(path: Path) -> Any:
    """What a ``.npy`` file holds; what it pickled is read as ``load_pickle`` reads it.

    Raises:
        Rejection: it is missing, broken, or names something that is not data.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if not dtype.hasobject:
                file.seek(0)
                return np.load(file, allow_pickle=False)
            content = _Reader(file, encoding="latin1").load()
    except FileNotFoundError:
        raise Rejection(f"{path}: no such file") from None
    except _REFUSED as error:
        raise Rejection(f"{path}: no array of data: {' '.join(str(error).split())}") from None
    return content.item() if shape == () else content


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> object:
        """The few names that data needs."""
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        if module.split(".", maxsplit=1)[0] == "chumpy" or module.startswith("scipy.sparse"):
            return type(name, (Kept,), {"name": name})
        special = _SPECIAL.get((module, name))
        if special is None:
            raise pickle.UnpicklingError(f"{module}.{name} is refused")
        return special


def _tensor(
    storage: NDArray[np.generic], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> NDArray[np.generic]:
    """A tensor as an array of its own.

    Raises:
        pickle.UnpicklingError: it reaches beyond what is stored.
    """
    if min((*size, *stride, offset), default=0) < 0:
        raise pickle.UnpicklingError("a tensor of negative size")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if np.prod(size) and last >= len(storage):
        raise pickle.UnpicklingError("a tensor beyond its storage")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


def _storage(content: bytes) -> NDArray[np.generic]:
    """The elements of a tensor's storage, which PyTorch wrote into a file of its own within the pickle."""
    import torch

    stored = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return torch.tensor([], dtype=getattr(stored, "dtype", torch.uint8)).set_(stored).numpy().copy()


def _parameter(data: NDArray[np.generic], *_: object) -> NDArray[np.generic]:
    return data


_SPECIAL: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
}
_REFUSED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ImportError,
    RuntimeError,
    OSError,
)
