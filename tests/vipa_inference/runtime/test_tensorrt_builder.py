"""Real engines of a very small model, and what the builder says when there can be none."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vipa_inference.runtime.rtx import bindings_or_skip, needs_gpu
from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.gpu import find_gpu
from vipa_inference.runtime.graphs import ACTION_HEAD, VLM_PREFILL
from vipa_inference.runtime.tensorrt_bindings import TENSORRT, TENSORRT_RTX, Bindings
from vipa_inference.runtime.tensorrt_builder import (
    PRECISIONS,
    BuildConfig,
    BuildProgress,
    build_engine,
    compute_capabilities,
)
from vipa_inference.runtime.tensorrt_graph import prepare_graph


@pytest.fixture(scope="module")
def rtx() -> Bindings:
    return bindings_or_skip(TENSORRT_RTX)


def _prepared(graphs: Path, name: str, precision: str, config: VipaVlaConfig, folder: Path) -> Path:
    prepare_graph(graphs / f"{name}.onnx", folder / "graph.onnx", precision, config.prompt_length)
    return folder / "graph.onnx"


def _unsupported(file: Path) -> None:
    """A graph with two operators that nobody knows."""
    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        graph (float[4] x) => (float[4] y) {
            [first] a = Improve(x)
            [second] b = Improve(a)
            [third] y = Invert(b)
        }
    """
    onnx.save(onnx.parser.parse_model(text), file)


class TestBuild:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_without_a_gpu(
        self, rtx: Bindings, graphs: Path, micro: VipaVlaConfig, tmp_path: Path, precision: str
    ) -> None:
        told: list[float] = []
        graph = _prepared(graphs, ACTION_HEAD, precision, micro, tmp_path)
        report = build_engine(rtx, graph, tmp_path / "engine", precision, BuildConfig(("8.9",)), told.append)
        assert report.engine_bytes == (tmp_path / "engine").stat().st_size > 100_000
        assert report.layers > 100
        assert min(report.parse_s, report.build_s) > 0
        assert told[-1] == 1.0
        assert all(a < b for a, b in pairwise(told))

    def test_takes_half_the_bytes_in_half_the_precision(
        self, rtx: Bindings, tmp_path: Path, graphs: Path, micro: VipaVlaConfig
    ) -> None:
        weights = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
        graph = "graph (float[8, 1024] x) => (float[8, 1024] y) { y = MatMul(x, w) }"
        text = f'<ir_version: 10, opset_import: ["" : 20]> {graph}'
        model = onnx.parser.parse_model(text)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        onnx.save(model, tmp_path / "wide.onnx")
        sizes: dict[str, int] = {}
        for precision in PRECISIONS:
            prepare_graph(tmp_path / "wide.onnx", tmp_path / "graph.onnx", precision, 8)
            report = build_engine(rtx, tmp_path / "graph.onnx", tmp_path / "engine", precision, BuildConfig(("8.9",)))
            sizes[precision] = report.engine_bytes
        assert sizes["fp16"] < 0.6 * sizes["fp32"]
        assert sizes["bf16"] < 0.6 * sizes["fp32"]

    @pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
    def test_of_tensorrt_needs_a_gpu(self, rtx: Bindings, tmp_path: Path) -> None:
        tensorrt = Bindings(TENSORRT, rtx.module, rtx.logger)
        with pytest.raises(RuntimeUnavailableError, match=r"no CUDA device, .*--runtime tensorrt_rtx"):
            build_engine(tensorrt, tmp_path / "graph.onnx", tmp_path / "engine", "bf16")

    @needs_gpu
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_of_tensorrt(self, graphs: Path, micro: VipaVlaConfig, tmp_path: Path, precision: str) -> None:
        tensorrt = bindings_or_skip(TENSORRT)
        graph = _prepared(graphs, ACTION_HEAD, precision, micro, tmp_path)
        report = build_engine(tensorrt, graph, tmp_path / "engine", precision)
        assert report.engine_bytes == (tmp_path / "engine").stat().st_size > 0


class TestRefusal:
    def test_lists_every_error_of_the_parser(self, rtx: Bindings, tmp_path: Path) -> None:
        _unsupported(tmp_path / "graph.onnx")
        with pytest.raises(PolicyError, match=r"graph\.onnx: cannot be parsed: 3 errors") as caught:
            build_engine(rtx, tmp_path / "graph.onnx", tmp_path / "engine", "fp32")
        message = str(caught.value)
        assert "\n" not in message
        for word in ("Improve: ", "first, second", "Invert: ", "third"):
            assert word in message
        assert not (tmp_path / "engine").exists()

    @pytest.mark.parametrize("content", [b"", b"no graph at all", None])
    def test_of_a_damaged_graph(
        self, rtx: Bindings, graphs: Path, micro: VipaVlaConfig, tmp_path: Path, content: bytes | None
    ) -> None:
        graph = _prepared(graphs, VLM_PREFILL, "fp32", micro, tmp_path)
        graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2] if content is None else content)
        with pytest.raises(PolicyError, match=r"graph\.onnx: cannot be parsed|no engine can be built") as caught:
            build_engine(rtx, graph, tmp_path / "engine", "fp32")
        assert "\n" not in str(caught.value)

    def test_gives_the_reason_of_the_library(
        self, rtx: Bindings, graphs: Path, micro: VipaVlaConfig, tmp_path: Path
    ) -> None:
        graph = _prepared(graphs, ACTION_HEAD, "bf16", micro, tmp_path)
        with pytest.raises(PolicyError, match=r"no engine can be built: .*sm75"):
            build_engine(rtx, graph, tmp_path / "engine", "fp32", BuildConfig(("7.5",)))  # said to be fp32, but is not

    def test_of_a_folder_that_is_not_there(
        self, rtx: Bindings, graphs: Path, micro: VipaVlaConfig, tmp_path: Path
    ) -> None:
        graph = _prepared(graphs, ACTION_HEAD, "fp16", micro, tmp_path)
        with pytest.raises(OSError, match="nowhere"):
            build_engine(rtx, graph, tmp_path / "nowhere" / "engine", "fp16", BuildConfig(("8.9",)))


class TestComputeCapabilities:
    def test_are_all_that_have_the_precision(self, rtx: Bindings) -> None:
        in_fp16 = compute_capabilities(rtx, "fp16", BuildConfig())
        assert {"7.5", "8.6", "8.9", "12.0"} <= set(in_fp16)
        assert set(in_fp16) - set(compute_capabilities(rtx, "bf16", BuildConfig())) == {"7.5"}
        assert compute_capabilities(rtx, "bf16", BuildConfig(("8.9",))) == ("8.9",)

    @pytest.mark.parametrize(("precision", "asked"), [("bf16", "7.5"), ("fp16", "9.0"), ("fp32", "sm89")])
    def test_that_rtx_does_not_have_are_refused(self, rtx: Bindings, precision: str, asked: str) -> None:
        with pytest.raises(
            RuntimeUnavailableError, match=rf"no {precision} engine for compute capability {asked}; known"
        ):
            compute_capabilities(rtx, precision, BuildConfig(("8.9", asked)))


class TestProgress:
    @given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.integers(0, 9)), max_size=60))
    def test_only_grows_from_0_to_1(self, events: list[tuple[str, int, int]]) -> None:
        told: list[float] = []
        progress = BuildProgress(told.append)
        progress.start("whole", None, 4)
        for phase, kind, number in events:
            if kind == 0:
                progress.start(phase, "whole", number)
            elif kind == 1:
                progress.finish(phase)
            else:
                progress.step(phase, number)
        for step in range(4):
            progress.step("whole", step)
        for phase in (*"abcd", "whole"):
            progress.finish(phase)
        assert told[-1] == 1.0
        assert all(0.0 < value <= 1.0 for value in told)
        assert all(a <= b for a, b in pairwise(told))

    def test_counts_phases_inside_phases(self) -> None:
        told: list[Any] = []
        progress = BuildProgress(told.append)
        progress.start("whole", None, 2)
        progress.start("half", "whole", 4)
        progress.step("half", 0)
        progress.step("half", 3)
        progress.finish("half")
        progress.step("whole", 0)
        progress.step("whole", 1)
        progress.finish("whole")
        assert told == [0.125, 0.5, 1.0]
