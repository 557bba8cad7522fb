"""A file of lines that only grows and survives a crash of the process or the machine."""

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from vipa.errors import VipaError


@dataclass(frozen=True)
class Lines:
    """What a journal holds: whole lines with their numbers from 1, and what a crash left of a last one."""

    whole: tuple[tuple[int, str], ...]
    torn: str = ""


class Journal:
    """Lines of JSON, appended to a file and forced to the disk.

    A last line that a crash cut off is kept apart when reading, and cut away by the next append.

    Args:
        path: the file; made by the first append.
        title: what it is, for messages ("trial log").
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title

    @property
    def name(self) -> str:
        """Title and path, for messages."""
        return f"{self._title} {self._path}"

    def append(self, line: str) -> None:
        """Add a line; it is on the disk when this returns, and the file is as before where this raises.

        Raises:
            VipaError: the file cannot be written (no space, no permission).
        """
        content = (line + "\n").encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # two trial runners may share the log
                size = _mended_size(file.fileno())
                try:
                    if os.write(file.fileno(), content) != len(content):
                        raise OSError("no space left for the line")
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):  # the next append mends what this leaves
                        os.ftruncate(file.fileno(), size)
                    raise
            sync_folder(self._path.parent)  # the name of a new file
        except OSError as error:
            raise VipaError(f"{self.name}: {error.strerror or error}. The result was not kept: {line}") from None

    def read(self) -> Lines:
        """All lines, oldest first; none where there is no file yet.

        Raises:
            VipaError: the file cannot be read, or a line is no text; the message names the line.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Lines(())
        except OSError as error:
            raise VipaError(f"{self.name}: {error.strerror}") from None
        *lines, last = content.split(b"\n")
        whole: list[tuple[int, str]] = []
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                raise self.damaged(number, error) from None
            if text:
                whole.append((number, text))
        if _is_whole(last):
            whole.append((len(lines) + 1, last.decode().strip()))
            last = b""
        return Lines(tuple(whole), last.decode(errors="replace"))

    def damaged(self, number: int, error: object) -> VipaError:
        """The error for a line that cannot be used."""
        return VipaError(f"{self.name}, line {number}: {error}. Correct or remove the line")


def write_durably(path: Path, text: str) -> None:
    """Write a file so that, whatever happens, it is there as a whole or not at all.

    Raises:
        VipaError: it cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise VipaError(f"{path}: cannot be written: {error.strerror or error}") from None


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk.

    Raises:
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:  # no JSON, no text
        return False
    return True


def _mended_size(file: int) -> int:
    """Size of the file after its last line, if a crash cut it off, was completed or removed."""
    size = os.fstat(file).st_size
    content = os.pread(file, size, 0)
    if content and not content.endswith(b"\n"):
        tail_start = content.rfind(b"\n") + 1
        if not _is_whole(content[tail_start:]):
            os.ftruncate(file, tail_start)
            return tail_start
        return size + os.write(file, b"\n")
    return size
