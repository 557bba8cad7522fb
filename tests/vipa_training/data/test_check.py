"""Everything that can be wrong with a dataset is told, in one line that names the place."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fabricated_datasets import LAYOUT, note, numbered_picture, row_at, write_dataset

from vipa_training.data.check import check_dataset
from vipa_training.data.episode import Row
from vipa_training.data.format import ACTION, IMAGES, data_file, episode_file, video_file
from vipa_training.data.video import VideoWriter
from vipa_training.data.writer import DatasetWriter

FRONT = f"{IMAGES}front"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def root(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "copy"))


def with_column(path: Path, key: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index(key)
    kind = table.schema.field(key).type
    values = change(np.array(table.column(key).to_pylist()))
    pq.write_table(table.set_column(place, key, pa.array(values.tolist(), kind)), path)


def missing_video(root: Path) -> str:
    video_file(root, FRONT, 1).unlink()
    return r"episode 1: front: .*no such video"


def torn_video(root: Path) -> str:
    path = video_file(root, FRONT, 2)
    path.write_bytes(path.read_bytes()[:-700])
    return r"episode 2: front: .*no video that can be read"


def damaged_video(root: Path) -> str:
    path = video_file(root, FRONT, 2)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 900
    content[start : start + 600] = b"\xff" * 600
    path.write_bytes(content)
    return r"episode 2: front: "


def short_video(root: Path) -> str:
    path = video_file(root, FRONT, 0)
    writer = VideoWriter(path, (48, 64), 20)
    for k in range(11):
        writer.add(numbered_picture(k, (48, 64)))
    writer.close()
    return "episode 0: front: 11 frames for 12 rows"


def slow_video(root: Path) -> str:
    writer = VideoWriter(video_file(root, FRONT, 0), (48, 64), 19)
    for k in range(12):
        writer.add(numbered_picture(k, (48, 64)))
    writer.close()
    return r"episode 0: front: frame 10 is shown 0.026 s off its row"


def other_pictures(root: Path) -> str:
    writer = VideoWriter(video_file(root, FRONT, 0), (48, 64), 20)
    for k in range(12):
        writer.add(numbered_picture(k, (48, 64), shade=200))
    writer.close()
    return "episode 0: front: stats: mean"


def truncated_rows(root: Path) -> str:
    path = data_file(root, 1)
    path.write_bytes(path.read_bytes()[:-50])
    return r"episode 1: .*data/chunk-000/file-001.parquet: cannot be read"


def lost_rows(root: Path) -> str:
    path = data_file(root, 1)
    pq.write_table(pq.read_table(path, partitioning=None).slice(0, 7), path)
    return "7 rows of episode 1, its entry says 9"


def late_timestamp(root: Path) -> str:
    with_column(data_file(root, 0), "timestamp", lambda t: t + np.where(np.arange(len(t)) == 5, 0.03, 0.0))
    return "episode 0: timestamp: row 5 is off 20 rows/s by 0.03"


def time_goes_back(root: Path) -> str:
    with_column(data_file(root, 0), "time_ns", lambda t: np.concatenate([t[:6], t[4:5], t[7:]]))
    return "episode 0: time_ns: row 6 is not after the row before it"


def repeated_exposure(root: Path) -> str:
    with_column(data_file(root, 0), "exposure_ns.side", lambda t: np.concatenate([t[:4], t[4:5].repeat(3), t[7:]]))
    return "episode 0: side: one frame stands for 3 rows from row 4 on"


def wrong_action(root: Path) -> str:
    with_column(data_file(root, 2), ACTION, lambda a: a + 0.01 * (np.arange(len(a)) == 3)[:, None])
    return "episode 2: action: row 3 does not lead to its target"


def not_a_number(root: Path) -> str:
    with_column(data_file(root, 2), ACTION, lambda a: np.where(np.arange(len(a))[:, None] == 3, np.nan, a))
    return "episode 2: action: row 3 is not finite"


def wrong_statistics(root: Path) -> str:
    path = root / "meta/stats.json"
    content = json.loads(path.read_text())
    content["observation.state"]["mean"][3] += 0.01
    path.write_text(json.dumps(content))
    return r"meta/stats.json: observation.state: mean is .* run: vipa dataset stats"


def no_statistics(root: Path) -> str:
    (root / "meta/stats.json").unlink()
    return r"stats.json: no such file; run: vipa dataset stats"


def wrong_counts(root: Path) -> str:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"total_frames": 40}))
    return "meta/info.json: total_frames is 40, there are 36"


def stray_rows(root: Path) -> str:
    shutil.copyfile(data_file(root, 0), data_file(root, 3))
    return "file-003.parquet: belongs to no episode"


def missing_entry(root: Path) -> str:
    episode_file(root, 1).unlink()
    return "meta/episodes: episode 1 is missing"


def torn_entry(root: Path) -> str:
    path = episode_file(root, 1)
    path.write_bytes(path.read_bytes()[:100])
    return r"file-001.parquet: cannot be read"


FAULTS = (
    missing_video, torn_video, damaged_video, short_video, slow_video, other_pictures, truncated_rows, lost_rows,
    late_timestamp, time_goes_back, repeated_exposure, wrong_action, not_a_number, wrong_statistics, no_statistics,
    wrong_counts, stray_rows, missing_entry, torn_entry,
)  # fmt: skip


def test_a_clean_one(clean: Path) -> None:
    assert not list(check_dataset(clean))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault(root: Path, fault: Callable[[Path], str]) -> None:
    message = fault(root)
    problems = list(check_dataset(root))
    assert any(re.search(message, line) for line in problems), problems
    assert all("\n" not in line for line in problems)


def test_a_frozen_camera(tmp_path: Path) -> None:
    def frozen(row: Row, number: int) -> Row:
        return replace(row, images=row.images | {"side": numbered_picture(min(number, 5), (48, 64))})

    with DatasetWriter(tmp_path, LAYOUT) as writer:
        builder = writer.begin()
        for k in range(10):
            builder.add(frozen(row_at(k), k))
        writer.add(builder.finish(note()))
    (problem,) = check_dataset(tmp_path)
    assert problem.startswith("episode 0: side: frozen: rows 5-9 show the same while the arm moves by 0.0")


def test_a_slow_motion_is_not_frozen(tmp_path: Path) -> None:
    """Each picture has one bright pixel more than the one before."""

    def slow(row: Row, number: int) -> Row:
        picture = np.full((48, 64, 3), 40, np.uint8)
        picture[24, 4 : 4 + 4 * number : 4] = 255
        return replace(row, images=row.images | {"side": picture})

    with DatasetWriter(tmp_path, LAYOUT) as writer:
        builder = writer.begin()
        for k in range(10):
            builder.add(slow(row_at(k), k))
        writer.add(builder.finish(note()))
    assert not list(check_dataset(tmp_path))


def test_an_empty_dataset(tmp_path: Path) -> None:
    DatasetWriter(tmp_path, LAYOUT).close()
    assert list(check_dataset(tmp_path)) == ["the dataset has no episode"]
    assert "no such dataset" in next(check_dataset(tmp_path / "nowhere"))
