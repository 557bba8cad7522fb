"""One shard: the pictures of some clips in a tar file, and the rows of their items. A shard is whole or not there."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.data.arrow import Schema, pa
from vipa_training.data.files import move, write_json, write_table
from vipa_training.hand3d.directions import direction_words
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.format import ACTION, CLIP, REJECTED, SHARDS, VISUAL, shard_name
from vipa_training.hand3d.joints import SIDES
from vipa_training.hand3d.pipeline.annotate import AnnotatedClip, Annotator

PARTS = "parts"
Array = NDArray[np.float64]
Row = dict[str, Any]
_SCHEMAS: Mapping[str, Schema] = {"visual": VISUAL, "action": ACTION, "clips": CLIP, "rejected": REJECTED}


@dataclass(frozen=True)
class ShardReport:
    """What a shard holds.

    Attributes:
        clips: that were looked at.
        rejected: of these.
        items: visual and action ones.
        dropped: facts and motions that were not used, by reason.
    """

    clips: int
    rejected: int
    items: int
    dropped: dict[str, int] = field(default_factory=dict[str, int])


def part_path(out: Path, number: int, name: str) -> Path:
    """Where a shard's rows are until the data set is put together."""
    return out / PARTS / f"{number:05d}.{name}"


def is_done(out: Path, number: int) -> bool:
    """Whether a shard is there."""
    return part_path(out, number, "json").is_file()


def build_shard(annotator: Annotator, out: Path, number: int, identifiers: Sequence[str]) -> ShardReport:
    """Make a shard.

    Raises:
        Hand3DError: nothing can go on.
        OSError: it cannot be written.
    """
    rows: dict[str, list[Row]] = {name: [] for name in _SCHEMAS}
    dropped: dict[str, int] = {}
    path = out / SHARDS / shard_name(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        for identifier, found in annotator.annotate(identifiers):
            if isinstance(found, Rejection):
                rows["rejected"].append({"source": annotator.source.name, "clip": identifier, "reason": str(found)})
                continue
            for reason in found.dropped:
                dropped[reason] = dropped.get(reason, 0) + 1
            _add_clip(rows, tar, annotator, number, found)
    move(partial, path)
    for name, schema in _SCHEMAS.items():
        write_table(part_path(out, number, f"{name}.parquet"), pa.Table.from_pylist(rows[name], schema=schema))
    items = len(rows["visual"]) + len(rows["action"])
    report = ShardReport(len(identifiers), len(rows["rejected"]), items, dropped)
    write_json(part_path(out, number, "json"), vars(report))
    return report


def _add_clip(
    rows: dict[str, list[Row]], tar: tarfile.TarFile, annotator: Annotator, shard: int, found: AnnotatedClip
) -> None:
    config, clip = annotator.config, found.clip
    shown = {number for sample in found.visual for number in sample.measurement.frames}
    numbers = sorted(shown | {sample.frame for _, sample in found.action})
    share = min(1.0, config.size[0] / clip.camera.size[0], config.size[1] / clip.camera.size[1])
    size = (round(clip.camera.size[0] * share), round(clip.camera.size[1] * share))
    places: dict[int, tuple[int, int]] = {}
    depths: dict[int, tuple[int, int]] = {}
    for number in numbers:
        name = f"{clip.identifier}/{number:05d}"
        picture = clip.frames.picture(number)
        if share < 1.0:
            picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        places[number] = _store(tar, f"{name}.jpg", _jpeg(picture, config.quality))
        if number in found.depths:
            depths[number] = _store(tar, f"{name}.depth.png", _depth_png(found.depths[number], config.depth_width))
    origin = {"source": clip.source, "video": clip.video, "clip": clip.identifier, "shard": shard}

    def pictures(chosen: Sequence[int]) -> Row:
        offsets, sizes = [places[number][0] for number in chosen], [places[number][1] for number in chosen]
        return {"frames": list(chosen), "offsets": offsets, "sizes": sizes}

    for place, sample in enumerate(found.visual):
        fact = sample.measurement
        rows["visual"].append(
            {
                "id": f"{clip.source}/{clip.identifier}/v{place:03d}",
                **origin,
                **pictures(fact.frames),
                "category": fact.category,
                "hand": fact.side,
                "question": sample.text.question,
                "answer": sample.text.answer,
                "object": fact.target,
                "vector": fact.vector.tolist(),
                "direction": direction_words(fact.vector, config.visual.gamma),
                "distance": float(np.linalg.norm(fact.vector)),
                "rotation": None if fact.rotation is None else fact.rotation.tolist(),
                "contact": fact.contact,
                "writer": annotator.writer.name,
            }
        )
    for place, (motion, item) in enumerate(found.action):
        rows["action"].append(
            {
                "id": f"{clip.source}/{clip.identifier}/a{place:03d}",
                **origin,
                **pictures([item.frame]),
                "category": item.kind,
                "hand": item.side,
                "question": item.question,
                "answer": item.answer,
                "instruction": clip.text,
                "motions": [bins.ravel().tolist() for bins in item.motions],
                "track": motion.waypoints.ravel().tolist(),
                "rate": config.motion.rate,
                "last_frame": motion.last,
            }
        )
    rows["clips"].append(
        {
            **origin,
            **pictures(numbers),
            **_geometry(found, numbers, share, size),
            **_of_depths(depths, numbers),
            "text": clip.text,
            "pointmaps": annotator.pointmaps.name if found.depths else "",
            "proposals": annotator.proposals.name,
        }
    )


def _of_depths(depths: Mapping[int, tuple[int, int]], numbers: Sequence[int]) -> Row:
    found = [depths.get(number, (-1, 0)) for number in numbers]
    return {"depth_offsets": [offset for offset, _ in found], "depth_sizes": [size for _, size in found]}


def _geometry(found: AnnotatedClip, numbers: Sequence[int], share: float, size: tuple[int, int]) -> Row:
    """What is known of a clip's stored frames, for pictures that were shrunk."""
    clip = found.clip
    observed = {item.number: item for item in found.observations}
    hands = {side: np.full((len(numbers), 21, 3), np.nan) for side in SIDES}
    boxes = np.full((len(numbers), len(clip.objects), 4), np.nan)
    positions = np.full((len(numbers), len(clip.objects), 3), np.nan)
    for row, number in enumerate(numbers):
        for place, item in enumerate(clip.objects):
            if item.boxes is not None and item.valid[number]:
                boxes[row, place] = item.boxes[number] * share
            if number in observed and item.name in observed[number].objects:
                positions[row, place] = observed[number].objects[item.name].position
        for side, joints in (observed[number].hands if number in observed else {}).items():
            hands[side][row] = joints
    intrinsics = clip.camera.intrinsics[list(numbers)].copy()
    intrinsics[:, :2] *= share
    intrinsics[:, :2, 2] += (share - 1.0) / 2.0  # pixels have their centre at whole numbers
    return {
        "times": clip.times[list(numbers)].tolist(),
        "height": size[0],
        "width": size[1],
        "intrinsics": intrinsics.ravel().tolist(),
        "extrinsics": clip.camera.extrinsics[list(numbers)].ravel().tolist(),
        "scale": found.scale,
        **{side: hands[side].ravel().tolist() for side in SIDES},
        "objects": [item.name for item in clip.objects],
        "boxes": boxes.ravel().tolist(),
        "positions": positions.ravel().tolist(),
    }


def _store(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Add a file; offset of its content and size, bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
    padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - padded, len(data)


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def _depth_png(depth: Array, width: int) -> bytes:
    """16 bits, mm; 0: not known."""
    step = max(1, -(-depth.shape[1] // width))
    metres = np.nan_to_num(depth[step // 2 :: step, step // 2 :: step], nan=0.0, posinf=0.0, neginf=0.0)
    millimetres = np.where((metres > 0.0) & (metres < 65.0), np.round(metres * 1000.0), 0.0).astype(np.uint16)
    _, data = cv2.imencode(".png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return data.tobytes()
