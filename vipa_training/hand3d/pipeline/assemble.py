"""All shards together become a data set: doubles go, videos are divided, rows find their files."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vipa_training.data.arrow import Table, pa, pq
from vipa_training.data.files import write_json, write_table
from vipa_training.hand3d.format import (
    CLIPS,
    DESCRIPTION,
    KINDS,
    REJECTIONS,
    SPLITS,
    VERSION,
    Kind,
    Split,
    items_name,
)
from vipa_training.hand3d.pipeline.config import BuildConfig
from vipa_training.hand3d.pipeline.shards import PARTS, part_path
from vipa_training.hand3d.visual_samples import divided

TEST, TEST_SHARE = 2000, 0.05  # Hand3D-test has 2K; of a small data set no more than a share
_SAME: Mapping[Kind, tuple[str, ...]] = {
    "visual": ("source", "video", "question", "answer"),
    "action": ("source", "video", "question", "answer", "motions"),
}


@dataclass(frozen=True)
class _Row:
    source: str
    video: str
    place: int


def assemble(config: BuildConfig, out: Path, shards: int, clips: int) -> dict[str, Any]:
    """Write the tables and the description; what they were made of goes last.

    Args:
        config: of the data set.
        out: its folder, with all shards.
        shards: how many there are.
        clips: that were looked at.

    Returns:
        The description.

    Raises:
        OSError: a file cannot be written.
    """
    tables: dict[Kind, Table] = {}
    doubles: dict[str, int] = {}
    for kind in KINDS:
        table = _together(out, shards, kind)
        tables[kind] = _without_doubles(table, _SAME[kind])
        doubles[kind] = table.num_rows - tables[kind].num_rows
    test_videos, chosen = _division(config, tables["visual"])
    counts: dict[str, Any] = {}
    for kind, table in tables.items():
        in_test = [pair in test_videos for pair in _videos(table)]
        places: dict[Split, list[int]] = {
            "train": [row for row, is_test in enumerate(in_test) if not is_test],
            "test": chosen if kind == "visual" else [row for row, is_test in enumerate(in_test) if is_test],
        }
        counts[kind] = {}
        for split in SPLITS:
            part = table.take(pa.array(places[split], pa.int64()))
            write_table(out / items_name(kind, split), part)
            counts[kind][split] = part.num_rows
        for column in ("source", "category"):
            counts[kind][column] = dict(sorted(Counter(table.column(column).to_pylist()).items()))
    known = _together(out, shards, "clips")
    of_clip = ["test" if pair in test_videos else "train" for pair in _videos(known)]
    known = known.set_column(known.schema.get_field_index("split"), "split", pa.array(of_clip, pa.string()))
    write_table(out / CLIPS, known)
    rejected = _together(out, shards, "rejected")
    write_table(out / REJECTIONS, rejected)
    description = {
        "version": VERSION,
        "build": config.recorded(),
        "motion_tokens": {
            "bins": config.motion.tokens.bins,
            "lower": list(config.motion.tokens.lower),
            "upper": list(config.motion.tokens.upper),
        },
        "clips": {"looked_at": clips, "used": known.num_rows, "rejected": rejected.num_rows},
        "shards": shards,
        "pictures": sum(len(frames) for frames in known.column("frames").to_pylist()),
        "items": counts,
        "doubles": doubles,
        "rejected": _by_kind(Counter(rejected.column("reason").to_pylist())),
        "dropped": _by_kind(_dropped(out, shards)),
    }
    write_json(out / DESCRIPTION, description)
    shutil.rmtree(out / PARTS)
    return description


def _together(out: Path, shards: int, name: str) -> Table:
    return pa.concat_tables([pq.read_table(part_path(out, number, f"{name}.parquet")) for number in range(shards)])


def _videos(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.column("source").to_pylist(), table.column("video").to_pylist(), strict=True))


def _without_doubles(table: Table, names: Sequence[str]) -> Table:
    seen: set[bytes] = set()
    kept: list[int] = []
    columns = [table.column(name).to_pylist() for name in names]
    for place, values in enumerate(zip(*columns, strict=True)):
        key = hashlib.blake2b(repr(values).encode(), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            kept.append(place)
    return table.take(pa.array(kept, pa.int64()))


def _division(config: BuildConfig, table: Table) -> tuple[set[tuple[str, str]], list[int]]:
    """Videos of the test, and the rows of the visual items that are in it."""
    rows = [_Row(*pair, place) for place, pair in enumerate(_videos(table))]
    wanted = min(TEST, int(TEST_SHARE * len(rows))) if config.test is None else config.test
    if wanted < 1 or len({(row.source, row.video) for row in rows}) < 2:
        return set(), []
    _, chosen = divided(rows, wanted, config.seed)
    return {(row.source, row.video) for row in chosen}, sorted(row.place for row in chosen)


def _dropped(out: Path, shards: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for number in range(shards):
        report = json.loads(part_path(out, number, "json").read_text(encoding="utf-8"))
        found.update(report["dropped"])
    return found


def _by_kind(reasons: Mapping[str, int]) -> dict[str, int]:
    """Counts of reasons that differ in numbers and names of files only."""
    found: Counter[str] = Counter()
    for reason, count in reasons.items():
        plain = re.sub(r"\S*/\S+", "FILE", reason.split("the answer does not say what was measured")[0] or reason)
        found[re.sub(r"\d[\d.]*", "N", plain)[:100].rstrip(": ")] += count
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
