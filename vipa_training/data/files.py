"""Files that are there as a whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vipa_training.data.arrow import Table, pq


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk.

    Raises:
        OSError: it cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Give a whole file its place; it is there after a crash, too.

    Raises:
        OSError: it cannot be moved.
    """
    sync(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    sync(target.parent)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write or replace a JSON file.

    Raises:
        OSError: it cannot be written; the old one is as it was.
        ValueError: a number is not finite.
    """
    partial = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    move(partial, path)


def write_table(path: Path, table: Table) -> None:
    """Write or replace a parquet file.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    partial = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, partial)
    move(partial, path)
