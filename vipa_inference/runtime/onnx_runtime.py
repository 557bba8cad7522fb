"""ONNX Runtime on the CPU."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import Array, RuntimeUnavailableError
from vipa_inference.runtime.graph_runtime import Execute

PRECISIONS = ("fp32",)
"""ONNX Runtime's CPU provider has no kernels for bf16."""


def version() -> str:
    """Version of the installed package.

    Raises:
        RuntimeUnavailableError: it is not installed.
    """
    return str(_module().__version__)


def load_graph(file: Path, precision: str, threads: int = 0) -> Execute:
    """A graph, ready to run.

    Args:
        file: ONNX.
        precision: one of ``PRECISIONS``.
        threads: 0: as many as the process may use.

    Raises:
        RuntimeUnavailableError: the package is missing, or cannot run the file.
    """
    if precision not in PRECISIONS:
        raise RuntimeUnavailableError(f"runtime onnxruntime: no {precision} on the CPU; known: {', '.join(PRECISIONS)}")
    module = _module()
    options = module.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Each graph has threads of its own; if they waited busily, those of one would take the processor from another.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = module.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions share no base but Exception
        reason = str(error).strip().splitlines()[0]
        raise RuntimeUnavailableError(f"runtime onnxruntime: {file} cannot be loaded: {reason}") from None

    def run(inputs: dict[str, NDArray[np.generic]]) -> Array:
        try:
            return session.run(None, inputs)[0]
        except Exception as error:  # noqa: BLE001 - see above
            reason = str(error).strip().splitlines()[0]
            raise PolicyError(f"runtime onnxruntime: {file.name} failed: {reason}") from None

    return run


def _module() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise RuntimeUnavailableError("runtime onnxruntime: not installed; pip install onnxruntime") from None
    return onnxruntime
