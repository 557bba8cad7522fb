"""NVIDIA's packages are found, and what is wrong with them is said in one line."""

import builtins
import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from tests.vipa_inference.runtime.rtx import bindings_or_skip
from vipa_inference.runtime import tensorrt_bindings
from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.tensorrt_bindings import TENSORRT, TENSORRT_RTX, load_bindings, version


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is remembered from imports before, nor afterwards."""
    monkeypatch.setattr(tensorrt_bindings, "load_bindings", load_bindings.__wrapped__)
    return monkeypatch


def _importing(fresh: pytest.MonkeyPatch, result: Any) -> None:
    def replacement(name: str) -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    fresh.setattr(importlib, "import_module", replacement)


class TestGenuine:
    def test_rtx(self) -> None:
        bindings = bindings_or_skip(TENSORRT_RTX)
        assert bindings.version == version(TENSORRT_RTX)
        assert bindings.version.startswith("1.")
        assert bindings.builds_without_gpu
        assert load_bindings(TENSORRT_RTX) is bindings  # a process has one logger

    def test_tensorrt(self) -> None:
        bindings = bindings_or_skip(TENSORRT)
        assert int(bindings.version.partition(".")[0]) in (10, 11)
        assert not bindings.builds_without_gpu

    def test_errors_are_kept_until_they_are_cleared(self) -> None:
        bindings = bindings_or_skip(TENSORRT_RTX)
        severity = bindings.module.ILogger.Severity
        bindings.clear_errors()
        assert bindings.errors() == "the library gives no reason"
        bindings.logger.log(severity.WARNING, "a warning")
        bindings.logger.log(severity.ERROR, "one\n  error")
        bindings.logger.log(severity.ERROR, "one error")
        bindings.logger.log(severity.INTERNAL_ERROR, "another")
        assert bindings.errors() == "one error; another"


class TestRefusal:
    @pytest.mark.parametrize("name", [TENSORRT, TENSORRT_RTX])
    @pytest.mark.parametrize(
        "error", [ModuleNotFoundError("No module named 'tensorrt'"), OSError("libnvinfer.so.11: cannot open")]
    )
    def test_of_a_package_that_does_not_import(
        self, fresh: pytest.MonkeyPatch, name: str, error: builtins.Exception
    ) -> None:
        _importing(fresh, error)
        with pytest.raises(RuntimeUnavailableError) as caught:
            version(name)
        message = str(caught.value)
        assert message.startswith(f"runtime {name}: cannot be imported ({error!s}")
        assert "pip install" in message
        assert "\n" not in message

    @pytest.mark.parametrize(("name", "found"), [(TENSORRT, "8.6.1"), (TENSORRT, "12.0"), (TENSORRT_RTX, "2.0.0")])
    def test_of_another_version(self, fresh: pytest.MonkeyPatch, name: str, found: str) -> None:
        _importing(fresh, SimpleNamespace(__version__=found))
        with pytest.raises(RuntimeUnavailableError, match=rf"version {found}, expected 1.*pip install"):
            version(name)
