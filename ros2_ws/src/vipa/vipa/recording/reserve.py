"""Disk space that is put by while an episode is recorded, so that the file can be finished on a full disk."""

import os
from pathlib import Path

NAME = ".reserve"


def put_by(folder: Path, size: int) -> None:
    """Make a file of ``size`` bytes in an episode's folder.

    Raises:
        OSError: there is not even as much space.
    """
    with (folder / NAME).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def release(folder: Path) -> None:
    """Give the space free.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / NAME).unlink(missing_ok=True)
