"""Pictures of trials that lie beside their recordings, as text that a page can hold."""

import base64
from pathlib import Path

from vipa.trials.result import TrialResult

LARGEST_BYTES = 400_000
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_SUFFIXES = (".jpg", ".jpeg", ".png")


def find_thumbnail(folder: Path, number: int, result: TrialResult) -> Path | None:
    """The picture of a trial: the recording's path with the suffix of a picture, or ``thumbnails/0012.jpg`` (or .png).

    Args:
        folder: of the trials; a recording's relative path starts there.
        number: of the trial.
        result: of the trial.
    """
    places = [folder / "thumbnails" / f"{number:04d}"]
    if result.recording:
        places.insert(0, (folder / result.recording).with_suffix(""))
    candidates = [place.with_name(place.name + suffix) for place in places for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


def data_uri(path: Path) -> str:
    """The picture as a ``data:`` address; empty where it is neither PNG nor JPEG, too large, or cannot be read."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return ""
        content = path.read_bytes()
    except OSError:
        return ""
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), "")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}" if kind else ""
