"""The TensorRT runtime with the device simulated: what it uploads, launches and downloads, and what it refuses."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.vipa_inference.runtime.rtx import bindings_or_skip
from tests.vipa_inference.runtime.simulated_device import HostDevice, SimulatedContext
from vipa_inference.checkpoint import Checkpoint
from vipa_inference.config import PRESETS, VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import RuntimeDescription, RuntimeUnavailableError
from vipa_inference.runtime.gpu import find_gpu
from vipa_inference.runtime.graphs import ACTION_HEAD, ACTION_STEP, GRAPHS, VLM_PREFILL, GraphPorts, Port, graph_ports
from vipa_inference.runtime.parity import assumed_statistics, measure_parity, random_batch
from vipa_inference.runtime.tensorrt_bindings import TENSORRT_RTX, Bindings
from vipa_inference.runtime.tensorrt_graph import prepare_graph
from vipa_inference.runtime.tensorrt_runtime import (
    CudaDevice,
    TensorRtRuntime,
    check_engine,
    describe_engine,
    deserialise,
    plan_buffers,
)
from vipa_inference.runtime.torch_runtime import TorchRuntime

DESCRIPTION = RuntimeDescription("tensorrt", "fp32", "simulated")


@pytest.fixture(scope="module")
def prepared(graphs: Path, micro: VipaVlaConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for name in GRAPHS:
        prepare_graph(graphs / f"{name}.onnx", folder / f"{name}.onnx", "fp32", micro.prompt_length)
    return folder


@pytest.fixture
def contexts(prepared: Path, micro: VipaVlaConfig) -> dict[str, SimulatedContext]:
    ports = graph_ports(micro, micro.prompt_length)
    return {name: SimulatedContext(prepared / f"{name}.onnx", ports[name]) for name in GRAPHS}


class Engine:
    """Says about itself what an ``ICudaEngine`` says, with the enumerations of the genuine package."""

    def __init__(self, trt: Any, ports: GraphPorts, kind: Any = None) -> None:
        self._trt, self._ports, self._kind = trt, (*ports.inputs, ports.output), kind
        self.num_io_tensors = len(self._ports)

    def get_tensor_name(self, index: int) -> str:
        return self._ports[index].name

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode.OUTPUT if name == self._ports[-1].name else self._trt.TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._kind or (self._trt.DataType.INT64 if self._port(name).integer else self._trt.DataType.FLOAT)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._port(name).shape

    def _port(self, name: str) -> Port:
        return next(port for port in self._ports if port.name == name)


class TestRuntime:
    def test_computes_what_the_model_computes(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext]
    ) -> None:
        runtime = TensorRtRuntime(checkpoint.config, DESCRIPTION, contexts, HostDevice())
        parity = measure_parity(TorchRuntime(checkpoint.model), runtime, assumed_statistics())
        assert parity.broken == ()

    def test_image_tokens_stay_on_the_device(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext]
    ) -> None:
        device = HostDevice()
        runtime = TensorRtRuntime(checkpoint.config, DESCRIPTION, contexts, device)
        batch = random_batch(checkpoint.config, np.random.default_rng(3))
        whole = runtime.condition(batch)
        assert device.copies == 2 + 2 + 1  # pixels for both encoders, ids and mask, context
        np.testing.assert_array_equal(runtime.prefill(batch, runtime.encode_images(batch)), whole)
        assert device.captured == len(GRAPHS)
        assert contexts[VLM_PREFILL].streams == [device.stream] * 2

    def test_gives_arrays_that_the_next_call_leaves_alone(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext]
    ) -> None:
        runtime = TensorRtRuntime(checkpoint.config, DESCRIPTION, contexts, HostDevice())
        first_batch, second_batch = (random_batch(checkpoint.config, np.random.default_rng(i)) for i in (1, 2))
        first = runtime.condition(first_batch)
        kept = first.copy()
        assert np.abs(runtime.condition(second_batch) - first).max() > 1e-3
        np.testing.assert_array_equal(first, kept)

    @pytest.mark.parametrize("shift", [-3, 0, 4])
    def test_takes_prompts_of_any_length_and_padding(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext], shift: int
    ) -> None:
        runtime = TensorRtRuntime(checkpoint.config, DESCRIPTION, contexts, HostDevice())
        batch = random_batch(checkpoint.config, np.random.default_rng(0), checkpoint.config.prompt.text_tokens - 4)
        expected = TorchRuntime(checkpoint.model).condition(batch)
        for name in ("input_ids", "attention_mask"):
            values = batch[name]
            batch[name] = values[:, -shift:] if shift < 0 else np.pad(values, ((0, 0), (shift, 0)))
        np.testing.assert_allclose(runtime.condition(batch), expected, rtol=0, atol=1e-5)

    def test_refuses_a_prompt_that_is_too_long(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext]
    ) -> None:
        config = checkpoint.config
        runtime = TensorRtRuntime(config, DESCRIPTION, contexts, HostDevice())
        batch = random_batch(config, np.random.default_rng(0), config.prompt.text_tokens)
        for name in ("input_ids", "attention_mask"):
            batch[name] = np.pad(batch[name], ((0, 0), (0, 1)), constant_values=1)
        expected = rf"a prompt of {config.prompt_length + 1} tokens, expected {config.prompt_length} at most"
        with pytest.raises(PolicyError, match=expected):
            runtime.condition(batch)

    def test_says_which_stage_could_not_be_launched(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext]
    ) -> None:
        runtime = TensorRtRuntime(checkpoint.config, DESCRIPTION, contexts, HostDevice())
        contexts[VLM_PREFILL].works = False
        with pytest.raises(PolicyError, match=f"{VLM_PREFILL} could not be launched"):
            runtime.condition(random_batch(checkpoint.config, np.random.default_rng(0)))

    def test_refuses_an_engine_that_does_not_take_its_buffers(
        self, checkpoint: Checkpoint, contexts: dict[str, SimulatedContext]
    ) -> None:
        contexts[ACTION_HEAD] = contexts[ACTION_STEP]
        with pytest.raises(PolicyError, match=f"{ACTION_HEAD}: the engine takes no buffer for noise"):
            TensorRtRuntime(checkpoint.config, DESCRIPTION, contexts, HostDevice())


class TestPlan:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_shares_what_goes_from_stage_to_stage(self, preset: str) -> None:
        config = PRESETS[preset]
        stages = graph_ports(config, config.prompt_length)
        plan = plan_buffers(stages)
        names = [port.name for ports in stages.values() for port in (*ports.inputs, ports.output)]
        assert set(plan) == set(names)
        assert {name for name in plan if names.count(name) > 1} == {
            "image_tokens",
            "context",
            "proprioception",
            "actions",
        }
        assert plan["input_ids"] == Port("input_ids", (1, config.prompt_length), integer=True)

    def test_refuses_one_name_for_two_things(self, micro: VipaVlaConfig) -> None:
        stages = graph_ports(micro, micro.prompt_length)
        stages[ACTION_STEP] = dataclasses.replace(stages[ACTION_STEP], output=Port("context", (1, 2)))
        with pytest.raises(PolicyError, match=r"action_step: .*context.* does not fit .* of another stage"):
            plan_buffers(stages)


class TestEngine:
    @pytest.mark.parametrize("name", GRAPHS)
    def test_of_the_model_is_accepted(self, micro: VipaVlaConfig, name: str) -> None:
        bindings = bindings_or_skip(TENSORRT_RTX)
        ports = graph_ports(micro, micro.prompt_length)[name]
        inputs, outputs = describe_engine(bindings, Engine(bindings.module, ports))
        assert (inputs, outputs) == (ports.inputs, (ports.output,))
        check_engine(name, reversed(inputs), outputs, ports)  # in any order

    def test_of_another_model_is_refused_with_every_difference(self, micro: VipaVlaConfig) -> None:
        bindings = bindings_or_skip(TENSORRT_RTX)
        expected, nano = graph_ports(micro, micro.prompt_length), graph_ports(PRESETS["nano"], 100)
        found = dataclasses.replace(nano[VLM_PREFILL], output=Port("context", (1, 16, 257)))
        found = dataclasses.replace(found, inputs=(*found.inputs[:2], Port("extra", (3,))))
        description = describe_engine(bindings, Engine(bindings.module, found))
        with pytest.raises(PolicyError, match="the engine of vlm_prefill is none of this model") as caught:
            check_engine(VLM_PREFILL, *description, expected[VLM_PREFILL])
        message = str(caught.value)
        for words in (
            "input extra is fp32 (3,), expected missing",
            "input image_tokens is missing, expected fp32 (1, ",
            f"input input_ids is int64 (1, 100), expected int64 (1, {micro.prompt_length})",
            "output context is fp32 (1, 16, 257), expected fp32 (1, ",
        ):
            assert words in message

    def test_with_outputs_in_half_precision_is_refused(self, micro: VipaVlaConfig) -> None:
        bindings = bindings_or_skip(TENSORRT_RTX)
        ports = graph_ports(micro, micro.prompt_length)[ACTION_STEP]
        engine = Engine(bindings.module, ports, kind=bindings.module.DataType.HALF)
        with pytest.raises(PolicyError, match=r"context is DataType\.HALF, expected FLOAT or INT64"):
            describe_engine(bindings, engine)

    @pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
    def test_cannot_be_deserialised_without_cuda(self, tmp_path: Path) -> None:
        bindings = bindings_or_skip(TENSORRT_RTX)
        (tmp_path / "some.engine").write_bytes(b"no engine")
        with pytest.raises(
            RuntimeUnavailableError, match=r"some\.engine: cannot be deserialised: .*vipa export"
        ) as caught:
            deserialise(bindings, tmp_path / "some.engine")
        assert "\n" not in str(caught.value)
        with pytest.raises(RuntimeUnavailableError, match=r"other\.engine: cannot be read"):
            deserialise(bindings, tmp_path / "other.engine")

    def test_that_the_library_refuses_gives_its_reason(self, tmp_path: Path) -> None:
        logger = SimpleNamespace(errors=[])

        class Runtime:
            def __init__(self, logger: Any) -> None:
                self.logger = logger

            def deserialize_cuda_engine(self, content: bytes) -> None:
                self.logger.errors.append(f"magic tag of {len(content)} bytes does not match")

        (tmp_path / "some.engine").write_bytes(b"12345")
        bindings = Bindings("tensorrt", SimpleNamespace(Runtime=Runtime), logger)
        with pytest.raises(RuntimeUnavailableError, match="magic tag of 5 bytes does not match"):
            deserialise(bindings, tmp_path / "some.engine")


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
def test_cuda_is_missed_in_one_line() -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"^runtime tensorrt: no CUDA device\."):
        CudaDevice()
