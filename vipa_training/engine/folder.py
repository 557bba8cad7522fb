"""The folder of a training: its configuration, which must stay the same while it goes on, and a lock."""

import fcntl
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError

CONFIG, LOCK = "training.json", ".lock"
FREE = (
    *("engine.workers", "engine.device", "engine.log_every", "engine.save_every"),
    *("pictures_gb", "dataset.folder"),
)
"""What may differ when a training goes on: it changes neither the data nor their order nor the result."""


class TrainingFolder:
    """One training's folder; only one process may hold it.

    Args:
        folder: is made where it does not exist.
        description: of the training, as JSON.
        free: what may differ from the description that is there, "key.key".

    Raises:
        TrainingError: the folder holds something else or another training, is in use, or cannot be written.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any], free: Collection[str] = FREE) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            strange = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
            self._lock = (folder / LOCK).open("a")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise TrainingError(
                    f"training {folder}: another process trains there. Wait for it, or end it"
                ) from None
            if (folder / CONFIG).exists():
                self._compare(description, free)
            elif strange:
                raise TrainingError(f"training {folder}: holds {strange[0]}; name a new or empty folder")
            self._write(description)
        except OSError as error:
            raise TrainingError(f"training {folder}: cannot be written: {error.strerror or error}") from None

    def __enter__(self) -> "TrainingFolder":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others use it."""
        self._lock.close()

    def _compare(self, description: Mapping[str, Any], free: Collection[str]) -> None:
        path = self.folder / CONFIG
        try:
            known = _flat(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError) as error:
            raise TrainingError(f"{path}: cannot be read: {error}. Name another folder") from None
        wanted = _flat(json.loads(json.dumps(description)))
        for key in (*known, *wanted):
            if key not in free and known.get(key) != wanted.get(key):
                raise TrainingError(
                    f"training {self.folder}: {key} was {known.get(key)!r}, now it is {wanted.get(key)!r}. "
                    "Name another folder, or go on with the same options"
                )

    def _write(self, description: Mapping[str, Any]) -> None:
        partial = self.folder / f"{CONFIG}.partial"
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self.folder / CONFIG)


class _NoFolder:
    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def held(folder: Path, description: Mapping[str, Any], world: World) -> TrainingFolder | _NoFolder:
    """The training's folder, which the first process holds for all.

    Raises:
        TrainingError: see ``TrainingFolder``.
    """
    found = TrainingFolder(folder, description) if world.is_first else _NoFolder()
    world.wait()
    return found


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= _flat(cast(dict[str, Any], value), f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
