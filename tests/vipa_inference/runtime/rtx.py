"""TensorRT-RTX where it is installed: it builds real engines without a GPU."""

import pytest

from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.gpu import find_gpu
from vipa_inference.runtime.tensorrt_bindings import Bindings, load_bindings


def bindings_or_skip(name: str) -> Bindings:
    """The package, or skip the test with the reason."""
    try:
        return load_bindings(name)
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


needs_gpu = pytest.mark.skipif(find_gpu() is None, reason="no CUDA device")
