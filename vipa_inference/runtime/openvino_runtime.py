"""OpenVINO on the CPU; in bf16 or int8 where the processor computes with it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import Array, RuntimeUnavailableError
from vipa_inference.runtime.graph_runtime import Execute
from vipa_inference.runtime.openvino_int8 import EXACT_PRODUCTS, SETTINGS, quantise_weights

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What OpenVINO calls the precision of all that is no product of integers."""
CAPABILITIES = {"bf16": "BF16", "int8": "INT8"}
"""What OpenVINO calls a processor's ability."""
PRECISIONS = tuple(HINTS)
EXACT_GRAPHS = ("vlm_prefill",)
"""Stay in fp32 in every precision: the language model's rounding in bf16 alone moves nano's actions by 1.7 mm and 0.3
degrees, that of all other graphs together by 0.4 mm and 0.1 degrees, and it has a fifth of the time."""
SPECIALISED_BYTES = 1 << 28
"""A graph of open shape up to this size is compiled for each shape that it meets: that takes 12 % less time."""
KEPT_SHAPES = 4


def version() -> str:
    """Version of the installed package.

    Raises:
        RuntimeUnavailableError: it is not installed.
    """
    return str(_module().get_version()).partition("-")[0]


def load_graph(file: Path, precision: str, threads: int = 0) -> Execute:
    """A graph, ready to run.

    Args:
        file: ONNX in fp32, which OpenVINO brings into the precision itself, save ``EXACT_GRAPHS``.
        precision: one of ``PRECISIONS``.
        threads: 0: as many as the process may use.

    Raises:
        RuntimeUnavailableError: the package is missing, cannot run the file, or the processor has no such precision.
    """
    if precision not in HINTS:
        raise RuntimeUnavailableError(f"runtime openvino: no {precision}; known: {', '.join(PRECISIONS)}")
    core = _module().Core()
    ability = CAPABILITIES.get(precision)
    if ability is not None and ability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeUnavailableError(
            f"runtime openvino: this processor computes no {precision} (bf16 needs AVX-512 BF16 or AMX). Use fp32"
        )
    kind = "fp32" if file.stem in EXACT_GRAPHS else precision
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[kind],
        "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
    }
    try:
        model = core.read_model(str(file))
        if kind == "int8":
            quantise_weights(model, EXACT_PRODUCTS.get(file.stem, 0))
            settings |= SETTINGS
        bytes_of_graph = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
        if model.is_dynamic() and bytes_of_graph <= SPECIALISED_BYTES:
            return _SpecialisedGraph(core, model, settings)
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise RuntimeUnavailableError(f"runtime openvino: {file} cannot be loaded: {_reason(error)}") from None
    return lambda inputs: _infer(request, inputs)


class _SpecialisedGraph:
    """A graph of open shape, compiled when it first meets a shape; for nano that takes half a second."""

    def __init__(self, core: Any, model: Any, settings: dict[str, Any]) -> None:
        self._core, self._model, self._settings = core, model, settings
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __call__(self, inputs: dict[str, NDArray[np.generic]]) -> Array:
        key = tuple(values.shape for values in inputs.values())
        if key not in self._requests:
            if len(self._requests) == KEPT_SHAPES:
                del self._requests[next(iter(self._requests))]
            model = self._model.clone()
            try:
                model.reshape({name: list(values.shape) for name, values in inputs.items()})
                compiled = self._core.compile_model(model, "CPU", self._settings)
            except RuntimeError as error:
                raise PolicyError(f"runtime openvino: no graph for inputs of {key}: {_reason(error)}") from None
            self._requests[key] = compiled.create_infer_request()
        return _infer(self._requests[key], inputs)


def _infer(request: Any, inputs: dict[str, NDArray[np.generic]]) -> Array:
    try:
        request.infer(inputs, share_inputs=True)
    except RuntimeError as error:
        raise PolicyError(f"runtime openvino: a graph failed: {_reason(error)}") from None
    return request.get_output_tensor(0).data.copy()


def _reason(error: RuntimeError) -> str:
    """The last line of OpenVINO's report, which says what is wrong; those before say where in its sources."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown reason")


def _module() -> Any:
    try:
        import openvino
    except ImportError:
        raise RuntimeUnavailableError("runtime openvino: not installed; pip install openvino") from None
    return openvino
