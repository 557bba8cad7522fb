"""TensorRT engines on a CUDA device: every stage of fixed shape, captured as a CUDA graph.

Buffers are shared between the stages by their names, so what the vision encoder and the prefill give stays on the
device for the stage that takes it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import Array, Batch, RuntimeDescription, RuntimeUnavailableError
from vipa_inference.runtime.gpu import NO_GPU, find_gpu
from vipa_inference.runtime.graph_runtime import GraphRuntime
from vipa_inference.runtime.graphs import VISION_ENCODER, VLM_PREFILL, GraphPorts, Port, graph_ports
from vipa_inference.runtime.tensorrt_bindings import Bindings, load_bindings

_log = logging.getLogger(__name__)


class Device(Protocol):
    """Memory and one stream of work."""

    stream: int  # handle of the CUDA stream

    def buffer(self, port: Port) -> torch.Tensor:
        """Memory of the device."""
        ...

    def host_buffer(self, port: Port) -> torch.Tensor:
        """Memory of the host from which and to which copies run beside the program."""
        ...

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy when what is in the stream before is done."""
        ...

    def synchronise(self) -> None:
        """Wait until all that is in the stream is done."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work as one launch; where it cannot be captured, the work itself."""
        ...


class CudaDevice:
    """The current CUDA device, with a stream of its own.

    Raises:
        RuntimeUnavailableError: there is none.
    """

    def __init__(self) -> None:
        if find_gpu() is None:
            raise RuntimeUnavailableError(f"runtime tensorrt: {NO_GPU}. Use another runtime on this machine")
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self._device)
        self.stream: int = self._stream.cuda_stream

    def buffer(self, port: Port) -> torch.Tensor:
        """A tensor on the device, filled in the stream."""
        with torch.cuda.stream(self._stream):
            return torch.zeros(port.shape, dtype=_torch_type(port), device=self._device)

    def host_buffer(self, port: Port) -> torch.Tensor:
        """A pinned tensor."""
        return torch.zeros(port.shape, dtype=_torch_type(port), pin_memory=True)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy in the stream."""
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def synchronise(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph of the work."""
        work()  # what happens only the first time must not be captured
        self.synchronise()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                work()
        except RuntimeError as error:
            _log.warning("CUDA graph: %s; the stage is launched kernel by kernel", str(error).splitlines()[0])
            return work

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        return replay


def plan_buffers(stages: Mapping[str, GraphPorts]) -> dict[str, Port]:
    """The buffers of all stages by name; those of one name are one.

    Raises:
        PolicyError: two stages mean different things by a name.
    """
    plan: dict[str, Port] = {}
    for stage, ports in stages.items():
        for port in (*ports.inputs, ports.output):
            if plan.setdefault(port.name, port) != port:
                raise PolicyError(f"runtime tensorrt: {stage}: {port} does not fit {plan[port.name]} of another stage")
    return plan


def describe_engine(bindings: Bindings, engine: Any) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of a deserialised engine.

    Raises:
        PolicyError: one is neither fp32 nor int64.
    """
    trt = bindings.module
    found: dict[Any, list[Port]] = {trt.TensorIOMode.INPUT: [], trt.TensorIOMode.OUTPUT: []}
    integer = {trt.DataType.FLOAT: False, trt.DataType.INT64: True}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        kind = engine.get_tensor_dtype(name)
        if kind not in integer:
            raise PolicyError(f"runtime {bindings.name}: {name} is {kind}, expected FLOAT or INT64")
        shape = tuple(int(size) for size in engine.get_tensor_shape(name))
        found[engine.get_tensor_mode(name)].append(Port(name, shape, integer[kind]))
    return tuple(found[trt.TensorIOMode.INPUT]), tuple(found[trt.TensorIOMode.OUTPUT])


def check_engine(stage: str, inputs: Iterable[Port], outputs: Iterable[Port], expected: GraphPorts) -> None:
    """Refuse an engine whose inputs and outputs are not those of the model's graph.

    Raises:
        PolicyError: the message names each difference.
    """
    differences = [
        *_differences("input", inputs, expected.inputs),
        *_differences("output", outputs, (expected.output,)),
    ]
    if differences:
        raise PolicyError(f"runtime tensorrt: the engine of {stage} is none of this model: {'; '.join(differences)}")


def _differences(kind: str, found: Iterable[Port], expected: Iterable[Port]) -> list[str]:
    there, wanted = {port.name: port for port in found}, {port.name: port for port in expected}
    lines: list[str] = []
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            lines.append(f"{kind} {name} is {_shape(there.get(name))}, expected {_shape(wanted.get(name))}")
    return lines


def _shape(port: Port | None) -> str:
    return "missing" if port is None else f"{'int64' if port.integer else 'fp32'} {port.shape}"


@dataclass(frozen=True)
class Buffers:
    """Device and host memory of all stages, by name."""

    device: Device
    on_device: dict[str, torch.Tensor]
    on_host: dict[str, torch.Tensor]

    @classmethod
    def allocate(cls, device: Device, plan: Mapping[str, Port]) -> "Buffers":
        """Memory for a plan."""
        on_device = {name: device.buffer(port) for name, port in plan.items()}
        return cls(device, on_device, {name: device.host_buffer(port) for name, port in plan.items()})

    def upload(self, name: str, values: NDArray[np.generic]) -> None:
        """Start to bring values to the device."""
        host = self.on_host[name]
        if values.shape != tuple(host.shape):
            raise PolicyError(f"runtime tensorrt: {name} has the shape {values.shape}, expected {tuple(host.shape)}")
        host.numpy()[...] = values
        self.device.copy(self.on_device[name], host)

    def download(self, name: str) -> Array:
        """Wait for the stream and bring values to the host."""
        self.device.copy(self.on_host[name], self.on_device[name])
        self.device.synchronise()
        return self.on_host[name].numpy().copy()


class Stage:
    """One engine, bound to its buffers.

    Args:
        name: of the graph.
        ports: of the graph.
        context: execution context of the engine.
        buffers: of all stages.

    Raises:
        PolicyError: the engine does not take its buffers, or cannot be launched.
    """

    def __init__(self, name: str, ports: GraphPorts, context: Any, buffers: Buffers) -> None:
        self.name, self._ports, self._context, self._buffers = name, ports, context, buffers
        for port in (*ports.inputs, ports.output):
            if not context.set_tensor_address(port.name, buffers.on_device[port.name].data_ptr()):
                raise PolicyError(f"runtime tensorrt: {name}: the engine takes no buffer for {port.name}")
        self._run = buffers.device.capture(self._launch)

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Array:
        """Inputs by name to the output, from host to host."""
        self.start(inputs)
        return self.result()

    def start(self, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        """Put the stage into the stream; inputs that are not given are on the device already."""
        for name, values in inputs.items():
            self._buffers.upload(name, values)
        self._run()

    def result(self) -> Array:
        """Wait for the output."""
        return self._buffers.download(self._ports.output.name)

    def _launch(self) -> None:
        if not self._context.execute_async_v3(self._buffers.device.stream):
            raise PolicyError(f"runtime tensorrt: {self.name} could not be launched")


class TensorRtRuntime(GraphRuntime):
    """Engines behind the interface of every runtime.

    Args:
        config: of the model.
        description: of the runtime.
        contexts: execution contexts of the engines, by the names of their graphs.
        device: where they run.

    Raises:
        PolicyError: an engine does not take its buffers, or cannot be launched.
    """

    def __init__(
        self, config: VipaVlaConfig, description: RuntimeDescription, contexts: Mapping[str, Any], device: Device
    ) -> None:
        ports = graph_ports(config, config.prompt_length)
        buffers = Buffers.allocate(device, plan_buffers(ports))
        self._stages = {name: Stage(name, ports[name], context, buffers) for name, context in contexts.items()}
        super().__init__(config, description, self._stages, config.prompt_length)

    def condition(self, batch: Batch) -> Array:
        """Hidden states of the action queries (1, Q, D); the image tokens stay on the device."""
        self._stages[VISION_ENCODER].start(self.vision_inputs(batch))
        return self._stages[VLM_PREFILL](self.prompt_inputs(batch))

    def close(self) -> None:
        """Let go of engines and buffers."""
        self._stages.clear()
        super().close()


def load_runtime(
    folder: Path, engine_files: Mapping[str, str], config: VipaVlaConfig, description: RuntimeDescription
) -> TensorRtRuntime:
    """Deserialise engines and bind them.

    Args:
        folder: of the engines.
        engine_files: names of the files by graph.
        config: of the model.
        description: of the runtime.

    Raises:
        RuntimeUnavailableError: the package or a CUDA device is missing, or an engine cannot be deserialised.
        PolicyError: an engine is none of this model, or cannot be launched.
    """
    bindings, device = load_bindings(description.name), CudaDevice()
    ports = graph_ports(config, config.prompt_length)
    contexts: dict[str, Any] = {}
    for name, file in engine_files.items():
        engine = deserialise(bindings, folder / file)
        check_engine(name, *describe_engine(bindings, engine), ports[name])
        context = engine.create_execution_context()
        if context is None:
            raise RuntimeUnavailableError(
                f"runtime {bindings.name}: {folder / file}: no execution context: {bindings.errors()}"
            )
        contexts[name] = context
    return TensorRtRuntime(config, description, contexts, device)


def deserialise(bindings: Bindings, file: Path) -> Any:
    """The engine of a file.

    Raises:
        RuntimeUnavailableError: it cannot be read or deserialised.
    """
    bindings.clear_errors()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RuntimeUnavailableError(f"{file}: cannot be read: {error.strerror or error}") from None
    engine = bindings.module.Runtime(bindings.logger).deserialize_cuda_engine(content)
    if engine is None:
        raise RuntimeUnavailableError(
            f"runtime {bindings.name}: {file}: cannot be deserialised: {bindings.errors()}. "
            f"Make it anew with: vipa export --checkpoint FOLDER --runtime {bindings.name}"
        )
    return engine


def _torch_type(port: Port) -> torch.dtype:
    return torch.int64 if port.integer else torch.float32
