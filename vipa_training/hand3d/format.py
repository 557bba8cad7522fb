"""What a Hand3D data set is on the disk.

    hand3d.json              what it is: version, how it was built, motion tokens, counts, reasons of rejections
    visual-train.parquet     questions about space; also visual-test.parquet
    action-train.parquet     motions; also action-test.parquet
    rejected.parquet         clips that are not used, and why
    clips.parquet            each clip: camera, hands, objects and scale at its stored frames
    shards/00000.tar         pictures: <clip>/<frame>.jpg, and <clip>/<frame>.depth.png where a depth is known

A row names its pictures by shard, offset and size in bytes, so that one picture is one read; any ``tar`` unpacks them,
too. No video is in both splits, in visual nor in action items. Rows are in the order of shards, clips and facts.
Units are metres, radians and seconds; frames of reference are those of README.md. Depth pictures hold z in millimetres,
16 bits, 0 where none is known, and may be smaller than the picture.
"""

from typing import Literal

from vipa_training.data.arrow import DataType, Schema, pa

VERSION = 1
Kind = Literal["visual", "action"]
Split = Literal["train", "test"]
KINDS: tuple[Kind, Kind] = ("visual", "action")
SPLITS: tuple[Split, Split] = ("train", "test")
DESCRIPTION = "hand3d.json"
CLIPS = "clips.parquet"
REJECTIONS = "rejected.parquet"
SHARDS = "shards"


def items_name(kind: Kind, split: Split) -> str:
    """Name of the file with the items of a kind and split."""
    return f"{kind}-{split}.parquet"


def shard_name(number: int) -> str:
    """Name of a shard's file within ``SHARDS``."""
    return f"{number:05d}.tar"


def _list(kind: DataType) -> DataType:
    return pa.list_(kind)


_ORIGIN = [
    ("id", pa.string()),  # <source>/<clip>/<v or a><number>
    ("source", pa.string()),
    ("video", pa.string()),
    ("clip", pa.string()),
    ("shard", pa.int32()),
    ("frames", _list(pa.int32())),  # numbers in the clip of the pictures that are shown, in order
    ("offsets", _list(pa.int64())),  # of each picture in the shard, bytes
    ("sizes", _list(pa.int32())),  # bytes
    ("category", pa.string()),  # visual.CATEGORIES or motion_tokens.KINDS
    ("hand", pa.string()),  # left, right; null: the question is about the camera
    ("question", pa.string()),
    ("answer", pa.string()),
]
VISUAL: Schema = pa.schema(
    [
        *_ORIGIN,
        ("object", pa.string()),  # empty: about none
        ("vector", _list(pa.float32())),  # (3,) m, in the frame of the camera
        ("direction", pa.string()),  # in words, of the vector
        ("distance", pa.float32()),  # m, of the vector
        ("rotation", _list(pa.float32())),  # (3,) rad, of the camera; null for other categories
        ("contact", pa.bool_()),  # null: not known
        ("writer", pa.string()),  # who put it into words: templates or a model's name
    ]
)
ACTION: Schema = pa.schema(
    [
        *_ORIGIN,  # in question and answer each <motion> stands for the next of the motions
        ("instruction", pa.string()),  # what is done; empty: not known
        ("motions", _list(_list(pa.int16()))),  # bins x y z x y z ... of each motion
        ("track", _list(pa.float32())),  # x y z x y z ... m, the wrist through the whole chunk, before binning
        ("rate", pa.float32()),  # waypoints a second
        ("last_frame", pa.int32()),  # of the chunk
    ]
)
CLIP: Schema = pa.schema(
    [
        ("source", pa.string()),
        ("video", pa.string()),
        ("clip", pa.string()),
        ("split", pa.string()),
        ("text", pa.string()),
        ("shard", pa.int32()),
        ("frames", _list(pa.int32())),  # stored ones
        ("offsets", _list(pa.int64())),
        ("sizes", _list(pa.int32())),
        ("depth_offsets", _list(pa.int64())),  # -1: no depth of that frame
        ("depth_sizes", _list(pa.int32())),
        ("times", _list(pa.float64())),  # s
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("intrinsics", _list(pa.float32())),  # (frames, 3, 3) px
        ("extrinsics", _list(pa.float32())),  # (frames, 4, 4) world to camera
        ("scale", pa.float32()),  # m in one unit of the pointmaps; null: there were none
        ("left", _list(pa.float32())),  # (frames, 21, 3) m in the camera's frame; NaN: not in view
        ("right", _list(pa.float32())),
        ("objects", _list(pa.string())),  # (objects,) names
        ("boxes", _list(pa.float32())),  # (frames, objects, 4) px: left, top, right, bottom; NaN: not known
        ("positions", _list(pa.float32())),  # (frames, objects, 3) m in the camera's frame; NaN: not known
        ("pointmaps", pa.string()),  # whose they are: truth or a model's name; empty: none
        ("proposals", pa.string()),  # whose the objects are: annotation or a model's name
    ]
)
REJECTED: Schema = pa.schema([("source", pa.string()), ("clip", pa.string()), ("reason", pa.string())])
