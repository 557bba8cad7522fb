"""``vipa bench policy`` on a very small model: every figure is there; how large they are is no matter of tests."""

from dataclasses import replace

import pytest

from tests.vipa_inference.runtime.micro import MICRO, copy_micro_graphs
from vipa.benchmarks import policy
from vipa.benchmarks.policy import POLICY_BOUNDS, PolicyBenchmarkConfig, run_policy_benchmark
from vipa.errors import VipaError
from vipa_inference.runtime import engines
from vipa_inference.runtime.base import RuntimeUnavailableError


class TestPolicyBenchmark:
    @pytest.mark.long
    def test_measures_every_runtime_beside_eager_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines, "export_graphs", copy_micro_graphs)
        said: list[str] = []
        large = replace(MICRO, name="large")
        config = PolicyBenchmarkConfig(nano=MICRO, large=large, rounds=2, large_rounds=1, large_layers=1)
        result = run_policy_benchmark(config, said.append)
        figures, details = result.figures, result.details
        assert set(POLICY_BOUNDS) <= set(figures)
        for runtime in ("eager", "onnxruntime_fp32", "openvino_fp32"):
            for prefix in ("nano", "large_1_layers"):
                for stage in ("vision", "prefill", "head", "whole"):
                    p50, p99 = (figures[f"{prefix}_{runtime}_{stage}_p{percentile}_ms"] for percentile in (50, 99))
                    assert 0.0 < p50 <= p99
        assert 0.0 < figures["nano_best_share_of_matmul_limit"] < 1.0
        assert 0.0 < figures["nano_best_share_of_memory_limit"] < 1.0
        assert figures["peak_memory_mb"] > 100.0
        assert figures["nano_chunks_per_second"] > 0.0
        best = details["nano_best"]
        end = "_whole_p50_ms"
        whole = {
            key[5 : -len(end)]: value for key, value in figures.items() if key[:5] == "nano_" and key.endswith(end)
        }
        del whole["eager"]
        assert best == min(whole, key=whole.__getitem__)
        assert figures["nano_best_to_eager_ratio"] == pytest.approx(
            whole[best] / figures["nano_eager_whole_p50_ms"], rel=0.05
        )
        assert details["nano_openvino_fp32_parity"]["broken"] == []
        assert details["large_extrapolated"]["meaning"].startswith("not measured")
        assert details["large_extrapolated"]["eager_s"] > 0.0
        assert not any("extrapolated" in name for name in figures)
        assert "exporting nano" in said

    def test_without_any_runtime_there_is_nothing_to_compare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> str:
            raise RuntimeUnavailableError("runtime: not installed")

        monkeypatch.setattr(engines, "export_graphs", lambda *_: None)
        for name, backend in engines.BACKENDS.items():
            monkeypatch.setitem(engines.BACKENDS, name, replace(backend, version=missing))
        with pytest.raises(VipaError, match="bench policy: no runtime to compare with eager torch"):
            run_policy_benchmark(PolicyBenchmarkConfig(nano=MICRO, large=None), lambda _: None)


def test_the_example_is_an_observation_of_every_camera() -> None:
    observation = policy.example_observation(("front", "side"))
    assert set(observation.views) == {"front", "side"}
    assert len(observation.instruction) == 35
