"""The newest episodes of the recorder's folder, for the page's list."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from vipa.console.pictures import episode_picture
from vipa.errors import ConfigurationError
from vipa.recording.bag import FILE_NAME, Episode, read_bag
from vipa.recording.store import episode_folders

SHOWN = 50
PICTURES_KEPT = 2 * SHOWN


class EpisodeList:
    """Reads what is new in the folder; used by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, dict[str, Any]]] = {}
        self._pictures: OrderedDict[Path, bytes] = OrderedDict()
        self._shown: dict[str, Path] = {}

    def read(self, folder: Path) -> list[dict[str, Any]]:
        """The newest episodes, newest first; one that has not ended is left out."""
        folders = episode_folders(folder)[-SHOWN:]
        known = {path: entry for path in folders if (entry := self._entry(path)) is not None}
        self._known, self._shown = known, {path.name: path for path in known}
        return [known[path][1] for path in reversed(folders) if path in known]

    def picture(self, name: str) -> bytes:
        """A JPEG of an episode that was listed; empty where there is none."""
        path = self._shown.get(name)
        if path is None:
            return b""
        if path not in self._pictures:
            self._pictures[path] = episode_picture(path)
            while len(self._pictures) > PICTURES_KEPT:
                self._pictures.popitem(last=False)
        return self._pictures[path]

    def _entry(self, path: Path) -> tuple[int, dict[str, Any]] | None:
        try:
            changed = (path / FILE_NAME).stat().st_mtime_ns
        except OSError:
            return None
        if path in self._known and self._known[path][0] == changed:
            return self._known[path]
        return changed, _summary(path)


def _summary(path: Path) -> dict[str, Any]:
    try:
        episode = read_bag(path)
    except ConfigurationError as error:
        episode = Episode(path.name, warnings=(str(error),))
    return {
        "name": episode.name,
        "instruction": episode.instruction,
        "outcome": episode.outcome,
        "duration": round(episode.duration, 1),
        "frames": sum(episode.frames.values()),
        "warnings": list(episode.warnings),
    }
