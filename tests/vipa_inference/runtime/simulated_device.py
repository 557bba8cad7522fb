"""A device for the TensorRT runtime without a GPU: the host's memory, and ONNX Runtime in place of the engines."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from vipa_inference.runtime.graphs import GraphPorts, Port


def array_at(address: int, port: Port) -> np.ndarray:
    """The memory at an address as what a port holds."""
    kind = np.dtype(np.int64 if port.integer else np.float32)
    size = int(np.prod(port.shape)) * kind.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(port.shape)


class HostDevice:
    """Does everything at once, and counts the copies."""

    def __init__(self) -> None:
        self.stream = 7
        self.copies = 0
        self.captured = 0

    def buffer(self, port: Port) -> torch.Tensor:
        return torch.zeros(port.shape, dtype=torch.int64 if port.integer else torch.float32)

    host_buffer = buffer

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self.copies += 1
        target.copy_(source)

    def synchronise(self) -> None:
        return

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        return work


class SimulatedContext:
    """An execution context that computes a prepared graph from and to the addresses that it was given."""

    def __init__(self, file: Path, ports: GraphPorts) -> None:
        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self._ports = ports
        self._addresses: dict[str, int] = {}
        self.streams: list[int] = []
        self.works = True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in {port.name for port in (*self._ports.inputs, self._ports.output)}

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        inputs = {port.name: array_at(self._addresses[port.name], port) for port in self._ports.inputs}
        output = array_at(self._addresses[self._ports.output.name], self._ports.output)
        output[...] = self._session.run(None, inputs)[0]
        return self.works
