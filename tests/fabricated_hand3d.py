"""A small Hand3D data set on the disk: a red hand and a blue thing before a grey wall, drawn as squares.

How far things are shows in their size, so that there is something to learn.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vipa_inference.config import MotionTokenConfig
from vipa_training.data.arrow import pa, pq
from vipa_training.hand3d.directions import direction_words, distance_words
from vipa_training.hand3d.format import (
    ACTION,
    CLIP,
    CLIPS,
    DESCRIPTION,
    SHARDS,
    VERSION,
    VISUAL,
    items_name,
    shard_name,
)
from vipa_training.hand3d.motion_tokens import MOTION, bins_of

SIZE = (36, 48)  # height and width, px
FOCAL = 40.0  # px
HALF = 0.05  # m, of the squares
WAYPOINTS = 4
COLOURS = ((200, 40, 40), (40, 40, 200))  # of the hand, of the thing; RGB
INTRINSICS = np.array([[FOCAL, 0.0, SIZE[1] / 2], [0.0, FOCAL, SIZE[0] / 2], [0.0, 0.0, 1.0]])


def write_hand3d(root: Path, videos: int = 6, tested: int = 2, frames: int = 3, bins: int = 16, seed: int = 0) -> Path:
    """Write a data set of some videos of one clip each, of which the first are the test; returns its folder."""
    chance = np.random.default_rng(seed)
    tokens = MotionTokenConfig(bins=bins)
    shard = bytearray()
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    actions: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    clips: list[dict[str, Any]] = []
    for video in range(videos):
        split = "test" if video < tested else "train"
        places = np.stack([_place(chance) for _ in range(2 * frames)]).reshape(frames, 2, 3)
        pieces = [[_add(shard, data) for data in _pictures(pair)] for pair in places]
        origin = {"source": "fabricated", "video": f"v{video}", "clip": f"c{video}", "shard": 0}
        for number, (hand, thing) in enumerate(places):
            shown = range(max(0, number - video % 2), number + 1)
            vector = thing - hand
            told = f"It is {distance_words(float(np.linalg.norm(vector)))} from the right hand, in the direction "
            rows[split].append(
                origin
                | _frames(shown, [pieces[k][0] for k in shown])
                | {
                    "id": f"c{video}/v{number}",
                    "category": "spatial_relationship",
                    "hand": "right",
                    "question": "Describe where the box is with respect to the right hand in the last frame.",
                    "answer": f"{told}{direction_words(vector)}. They are not in contact.",
                    "object": "box",
                    "vector": vector,
                    "direction": direction_words(vector),
                    "distance": float(np.linalg.norm(vector)),
                    "rotation": None,
                    "contact": False,
                    "writer": "templates",
                }
            )
            track = np.linspace(hand, thing, WAYPOINTS)
            motion = bins_of(track, tokens)
            kinds = (
                ("instructional_motion_generation", "Show how the right hand moves.", MOTION, [motion]),
                ("contextual_motion_prediction", f"Continue: {MOTION}", MOTION, [motion[:2], motion[2:]]),
                ("motion_translation", f"Describe {MOTION}.", "reach the box.", [motion]),
            )
            for kind, question, answer, motions in kinds:
                actions[split].append(
                    origin
                    | _frames([number], [pieces[number][0]])
                    | {
                        "id": f"c{video}/{kind}{number}",
                        "category": kind,
                        "hand": "right",
                        "question": question,
                        "answer": answer,
                        "instruction": "reach the box",
                        "motions": [one.ravel() for one in motions],
                        "track": track.ravel(),
                        "rate": 5.0,
                        "last_frame": number,
                    }
                )
        clips.append(origin | _clip(places, pieces) | {"split": split})
    _write(root, shard, rows, actions, clips, tokens)
    return root


def _place(chance: np.random.Generator) -> Any:
    depth = chance.uniform(0.4, 0.8)
    return np.array([chance.uniform(-0.35, 0.35) * depth, chance.uniform(-0.25, 0.25) * depth, depth])


def _pictures(places: Any) -> list[bytes]:
    picture, depth = np.full((*SIZE, 3), 120, np.uint8), np.full(SIZE, 900, np.uint16)
    for place, colour in sorted(zip(places, COLOURS, strict=True), key=lambda pair: -pair[0][2]):
        left, top, right, bottom = np.round(_box(place)).astype(int)
        picture[max(0, top) : bottom, max(0, left) : right] = colour
        depth[max(0, top) : bottom, max(0, left) : right] = round(1000 * place[2])
    return [cv2.imencode(".png", picture[..., ::-1])[1].tobytes(), cv2.imencode(".png", depth)[1].tobytes()]


def _box(place: Any) -> Any:
    u, v = (INTRINSICS @ place)[:2] / place[2]
    half = FOCAL * HALF / place[2]
    return np.array([u - half, v - half, u + half, v + half])


def _add(shard: bytearray, data: bytes) -> tuple[int, int]:
    shard += data
    return len(shard) - len(data), len(data)


def _frames(numbers: Any, pieces: Any) -> dict[str, Any]:
    return {"frames": list(numbers), "offsets": [one[0] for one in pieces], "sizes": [one[1] for one in pieces]}


def _clip(places: Any, pieces: Any) -> dict[str, Any]:
    count = len(places)
    return _frames(range(count), [one[0] for one in pieces]) | {
        "text": "reach the box",
        "depth_offsets": [one[1][0] for one in pieces],
        "depth_sizes": [one[1][1] for one in pieces],
        "times": np.arange(float(count)),
        "height": SIZE[0],
        "width": SIZE[1],
        "intrinsics": np.tile(INTRINSICS.ravel(), count),
        "extrinsics": np.tile(np.eye(4).ravel(), count),
        "scale": 1.0,
        "left": [],
        "right": np.repeat(places[:, :1], 21, axis=1).ravel(),
        "objects": ["box"],
        "boxes": np.concatenate([_box(pair[1]) for pair in places]),
        "positions": places[:, 1].ravel(),
        "pointmaps": "truth",
        "proposals": "annotation",
    }


def _write(root: Path, shard: bytearray, rows: Any, actions: Any, clips: Any, tokens: MotionTokenConfig) -> None:
    (root / SHARDS).mkdir(parents=True)
    (root / SHARDS / shard_name(0)).write_bytes(bytes(shard))
    for split in rows:
        pq.write_table(pa.Table.from_pylist(rows[split], VISUAL), root / items_name("visual", split))
        pq.write_table(pa.Table.from_pylist(actions[split], ACTION), root / items_name("action", split))
    pq.write_table(pa.Table.from_pylist(clips, CLIP), root / CLIPS)
    described = {"bins": tokens.bins, "lower": tokens.lower, "upper": tokens.upper}
    content = {"version": VERSION, "motion_tokens": described}
    (root / DESCRIPTION).write_text(json.dumps(content), encoding="utf-8")
