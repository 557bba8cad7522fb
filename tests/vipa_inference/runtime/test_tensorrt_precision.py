"""Graphs in fp16 and bf16 compute what they computed in fp32, nearly; what must stay fp32 does."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from vipa_inference.checkpoint import Checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime import onnx_runtime
from vipa_inference.runtime.base import RuntimeDescription
from vipa_inference.runtime.graph_runtime import Execute, GraphRuntime
from vipa_inference.runtime.graphs import ACTION_HEAD, GRAPHS, VLM_PREFILL, graph_ports
from vipa_inference.runtime.parity import assumed_statistics, measure_parity
from vipa_inference.runtime.precision import TYPES, PrecisionError, in_precision, kept_in_fp32
from vipa_inference.runtime.tensorrt_graph import prepare_graph
from vipa_inference.runtime.torch_runtime import TorchRuntime

FLOATS = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}


@pytest.fixture(scope="module")
def prepared(graphs: Path, micro: VipaVlaConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs as TensorRT takes them, in every precision."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in GRAPHS:
        for precision in ("fp32", *TYPES):
            prepare_graph(graphs / f"{name}.onnx", folder / f"{name}.{precision}.onnx", precision, micro.prompt_length)
    return folder


def _square_root(weight: float) -> ir.Model:
    """The output is the square root of the mean of (input * weight) ** 2, plus the input."""
    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        graph (float[1, 4] x) => (float[1, 4] y) {
            scaled = MatMul(x, weight)
            squared = Mul(scaled, scaled)
            mean = ReduceMean<keepdims = 1>(squared, axes)
            root = Sqrt(mean)
            y = Add(x, root)
        }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    for name, values in {"weight": np.eye(4, dtype=np.float32) * np.float32(weight), "axes": np.array([-1])}.items():
        tensor = ir.tensor(values, name=name)
        value = next(v for node in model.graph for v in node.inputs if v is not None and v.name == name)
        value.const_value, value.type, value.shape = tensor, ir.TensorType(tensor.dtype), tensor.shape
        model.graph.register_initializer(value)
    return model


def _execute(file: Path) -> Execute:
    """ONNX Runtime on the CPU knows no bf16, the reference of ONNX does."""
    if ".bf16." not in file.name:
        return onnx_runtime.load_graph(file, "fp32")
    evaluator = ReferenceEvaluator(str(file))
    return lambda inputs: evaluator.run(None, inputs)[0]


class TestGraphs:
    @pytest.mark.parametrize(("precision", "millimetres"), [("fp32", 1e-4), ("fp16", 0.05), ("bf16", 0.4)])
    def test_compute_what_the_model_computes(
        self, prepared: Path, checkpoint: Checkpoint, precision: str, millimetres: float
    ) -> None:
        config = checkpoint.config
        graphs = {name: _execute(prepared / f"{name}.{precision}.onnx") for name in GRAPHS}
        candidate = GraphRuntime(config, RuntimeDescription("", precision, ""), graphs, config.prompt_length)
        parity = measure_parity(TorchRuntime(checkpoint.model), candidate, assumed_statistics())
        assert parity.broken == ()
        assert parity.translation_mm < millimetres

    @pytest.mark.parametrize("precision", TYPES)
    @pytest.mark.parametrize("name", GRAPHS)
    def test_are_valid_and_keep_inputs_and_outputs(
        self, prepared: Path, micro: VipaVlaConfig, name: str, precision: str
    ) -> None:
        model = onnx.load(prepared / f"{name}.{precision}.onnx")
        onnx.checker.check_model(model, full_check=True)
        ports = graph_ports(micro, micro.prompt_length)[name]
        found = [(v.name, v.type.tensor_type) for v in (*model.graph.input, *model.graph.output)]
        for (label, tensor), port in zip(found, (*ports.inputs, ports.output), strict=True):
            assert label == port.name
            assert tensor.elem_type == (onnx.TensorProto.INT64 if port.integer else onnx.TensorProto.FLOAT)
            assert tuple(dim.dim_value for dim in tensor.shape.dim) == port.shape
        products = [node for node in ir.from_proto(model).graph if node.op_type in {"MatMul", "Gemm", "Conv"}]
        assert {value.dtype for node in products for value in node.inputs if value is not None} == {TYPES[precision]}
        assert any(one.data_type == FLOATS[precision] for one in model.graph.initializer)


class TestKept:
    def test_angles_and_squares_of_the_prefill(self, prepared: Path, micro: VipaVlaConfig) -> None:
        kept = [node.op_type for node in kept_in_fp32(ir.load(prepared / f"{VLM_PREFILL}.fp32.onnx").graph)]
        assert {"Sin", "Cos", "CumSum"} <= set(kept)
        norms = 4 * micro.language.layers + 1
        assert (kept.count("Pow"), kept.count("ReduceMean"), kept.count("Sqrt")) == (norms,) * 3
        assert not {"MatMul", "Softmax", "Sigmoid"} & set(kept)

    def test_the_chunk_while_it_is_integrated(self, prepared: Path, micro: VipaVlaConfig) -> None:
        kept = [node.op_type for node in kept_in_fp32(ir.load(prepared / f"{ACTION_HEAD}.fp32.onnx").graph)]
        steps = micro.action.denoising_steps
        assert set(kept) == {"Add", "Where", "LayerNormalization"}
        assert (kept.count("Add"), kept.count("Where")) == (steps, steps + 1)

    def test_squares_beyond_what_fp16_holds(self) -> None:
        inputs = {"x": np.array([[300.0, -400.0, 500.0, 600.0]], np.float32)}
        expected = inputs["x"] + np.sqrt(np.mean(inputs["x"] ** 2))
        model = ir.to_proto(in_precision(_square_root(1.0), "fp16"))
        np.testing.assert_allclose(ReferenceEvaluator(model).run(None, inputs)[0], expected, rtol=2e-3)


class TestRefusal:
    @given(st.floats(0.0, 2.0**127, width=32))
    def test_of_a_weight_that_fp16_cannot_hold(self, weight: float) -> None:
        in_precision(_square_root(weight), "bf16")
        if weight < 65520.0:
            in_precision(_square_root(weight), "fp16")
        else:
            with pytest.raises(PrecisionError, match=r"weight reaches .* cannot hold\. Use bf16"):
                in_precision(_square_root(weight), "fp16")

    def test_of_an_unknown_precision(self) -> None:
        with pytest.raises(PrecisionError, match="precision int4: unknown; known: fp16, bf16"):
            in_precision(_square_root(1.0), "int4")

    def test_of_control_flow(self) -> None:
        text = """
            <ir_version: 10, opset_import: ["" : 20]>
            graph (bool c, float[1] x) => (float[1] y) {
                y = If (c) <then_branch = a () => (float[1] p) { p = Identity(x) },
                            else_branch = b () => (float[1] q) { q = Neg(x) }>
            }
        """
        with pytest.raises(PrecisionError, match=r"If .*control flow"):
            in_precision(ir.from_proto(onnx.parser.parse_model(text)), "fp16")

    @pytest.mark.parametrize("content", [None, b"no graph at all"])
    def test_of_a_file_that_is_no_graph(self, tmp_path: Path, content: bytes | None) -> None:
        source = tmp_path / "graph.onnx"
        if content is not None:
            source.write_bytes(content)
        with pytest.raises(PolicyError, match=r"graph\.onnx: cannot be prepared") as caught:
            prepare_graph(source, tmp_path / "out.onnx", "bf16", 8)
        assert "\n" not in str(caught.value)
