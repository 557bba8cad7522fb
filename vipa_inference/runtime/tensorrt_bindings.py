"""NVIDIA's packages: TensorRT 10 and 11, and TensorRT-RTX, which builds engines without a GPU."""

import functools
import importlib
import logging
from dataclasses import dataclass
from typing import Any

from vipa_inference.runtime.base import RuntimeUnavailableError

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt_rtx"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Package:
    modules: tuple[str, ...]  # the first that imports is taken
    majors: tuple[int, ...]  # versions that the builder and the runtime are written for
    install: str


_PACKAGES = {
    TENSORRT: _Package(("tensorrt",), (10, 11), "pip install 'tensorrt>=10,<12'"),
    TENSORRT_RTX: _Package(("tensorrt_rtx", "tensorrt_rtx_bindings"), (1,), "pip install 'tensorrt-rtx>=1.7,<2'"),
}


@dataclass(frozen=True)
class Bindings:
    """One of the packages, imported."""

    name: str  # TENSORRT or TENSORRT_RTX
    module: Any
    logger: Any  # its messages; a process has one, since the library takes only the first

    @property
    def version(self) -> str:
        """Of the package."""
        return str(self.module.__version__)

    @property
    def builds_without_gpu(self) -> bool:
        """Whether engines are compiled for given compute capabilities instead of measured on the GPU at hand."""
        return self.name == TENSORRT_RTX

    def clear_errors(self) -> None:
        """Forget what the library has reported."""
        self.logger.errors.clear()

    def errors(self) -> str:
        """What the library has reported since then, in one line."""
        return "; ".join(dict.fromkeys(self.logger.errors)) or "the library gives no reason"


@functools.cache
def load_bindings(name: str) -> Bindings:
    """Import a package.

    Args:
        name: ``TENSORRT`` or ``TENSORRT_RTX``.

    Raises:
        RuntimeUnavailableError: it is not installed, its libraries cannot be loaded, or it has another version.
    """
    package = _PACKAGES[name]
    reasons: list[str] = []
    for candidate in package.modules:
        try:
            module: Any = importlib.import_module(candidate)
            version = str(module.__version__)
            break
        except (ImportError, OSError, AttributeError) as error:
            reasons.append(str(error).strip().splitlines()[0])
    else:
        raise RuntimeUnavailableError(f"runtime {name}: cannot be imported ({'; '.join(reasons)}). {package.install}")
    if int(version.partition(".")[0]) not in package.majors:
        known = " or ".join(map(str, package.majors))
        raise RuntimeUnavailableError(f"runtime {name}: version {version}, expected {known}. {package.install}")
    return Bindings(name, module, _make_logger(module, name))


def version(name: str) -> str:
    """Version of an installed package.

    Raises:
        RuntimeUnavailableError: see ``load_bindings``.
    """
    return load_bindings(name).version


def _make_logger(module: Any, name: str) -> Any:
    """Errors are kept for the exception that follows them; warnings, too, go to Python's log."""
    errors = {module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR}
    logged = {*errors, module.ILogger.Severity.WARNING}

    class Messages(module.ILogger):  # type: ignore[reportUntypedBaseClass]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            line = " ".join(message.split())
            if severity in errors:
                self.errors.append(line)
            if severity in logged:
                _log.debug("%s: %s", name, line)

    return Messages()
