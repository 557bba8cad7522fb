"""LeRobotDataset v3.0 as VIPA fills it: keys, features, places of files.

Beside LeRobot's own keys, each row has:

- ``observation.state`` (22): proprioception as ``vipa_inference.processing`` declares it, at ``time_ns``;
- ``action`` (12): what leads from the pose of the row to the target one step later;
- ``target.pose`` (7) and ``target.hand`` (6): that target itself, absolute: position (m) and quaternion x, y, z, w of
  the end effector in the base frame, hand 0 closed to 1 open. Chunks of actions are made of these (``chunks``).
  LeRobot's policies take every key that begins with "action" or "observation" as theirs, so these begin with "target";
- ``time_ns``: ROS time of the row, the oldest exposure; ``exposure_ns.<camera>``: of the frame of each camera.

``timestamp`` is the row's number through the rate, as the format wants it; it says where the row's frames are in the
videos. Every episode has files of its own, so that one that was cut off harms no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vipa_inference.description import ACTION_NAMES, HAND_NAMES
from vipa_inference.processing import PROPRIOCEPTION_NAMES
from vipa_training.data.arrow import DataType, Schema, pa
from vipa_training.data.errors import DatasetError

VERSION = "v3.0"
ROBOT = "fr3_inspire_rh56"
FILES_PER_FOLDER = 1000
STATE, ACTION, TARGET_POSE, TARGET_HAND, TIME = "observation.state", "action", "target.pose", "target.hand", "time_ns"
IMAGES, EXPOSURE = "observation.images.", "exposure_ns."
INFO, STATISTICS, TASKS, EPISODES = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/episodes"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INDEX_KEYS = ("episode_index", "index", "task_index")
"""What a row gets when its episode enters a dataset."""
POSE_NAMES = ("x", "y", "z", "quaternion_x", "quaternion_y", "quaternion_z", "quaternion_w")
Feature = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What the rows of a dataset are.

    Attributes:
        fps: rows of a second.
        features: as in ``info.json``: ``dtype``, ``shape`` and ``names`` by key.
    """

    fps: int
    features: dict[str, Feature]

    @classmethod
    def of_cameras(cls, fps: float, cameras: Mapping[str, tuple[int, int]]) -> "Layout":
        """VIPA's rows, with pictures of (height, width) px from each camera.

        Raises:
            DatasetError: no camera, a rate that is no whole number, or a size that is odd or not positive.
        """
        if not cameras:
            raise DatasetError("dataset: at least one camera is needed")
        if fps < 1 or abs(fps - round(fps)) > 1e-6:
            raise DatasetError(f"dataset: rate {fps:g} Hz: the format wants a whole number of rows a second")
        for name, size in cameras.items():
            if min(size) < 2 or any(side % 2 for side in size) or "/" in name:
                raise DatasetError(f"dataset: camera {name}: size {size} px; both must be even, and its name without /")
        features: dict[str, Feature] = {
            f"{IMAGES}{name}": _video(size, round(fps)) for name, size in cameras.items()
        } | {
            STATE: _vector("float32", PROPRIOCEPTION_NAMES),
            ACTION: _vector("float32", ACTION_NAMES),
            TARGET_POSE: _vector("float64", POSE_NAMES),
            TARGET_HAND: _vector("float64", HAND_NAMES),
            TIME: _scalar("int64"),
            **{f"{EXPOSURE}{name}": _scalar("int64") for name in cameras},
            "timestamp": _scalar("float32"),
            "frame_index": _scalar("int64"),
            **{key: _scalar("int64") for key in INDEX_KEYS},
        }
        return cls(round(fps), features)

    @property
    def video_keys(self) -> tuple[str, ...]:
        """The keys whose values are in videos."""
        return tuple(key for key, feature in self.features.items() if feature["dtype"] == "video")

    @property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """Height and width (px) of the pictures, by camera."""
        shapes = {key: self.features[key]["shape"] for key in self.video_keys}
        return {key.removeprefix(IMAGES): (int(shape[0]), int(shape[1])) for key, shape in shapes.items()}

    @property
    def columns(self) -> dict[str, Feature]:
        """The features whose values are in the rows."""
        return {key: feature for key, feature in self.features.items() if feature["dtype"] != "video"}

    def schema(self) -> Schema:
        """Of the files with rows."""
        return pa.schema([(key, _arrow_type(feature)) for key, feature in self.columns.items()])

    def to_info(self, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
        """The content of ``info.json``."""
        return {
            "codebase_version": VERSION,
            "robot_type": ROBOT,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": tasks,
            "chunks_size": FILES_PER_FOLDER,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": self.features,
        }

    @classmethod
    def from_info(cls, info: Mapping[str, Any], where: str) -> "Layout":
        """What ``info.json`` says.

        Raises:
            DatasetError: it is of another version, or not what it should be; the message begins with ``where``.
        """
        version = info.get("codebase_version")
        if version != VERSION:
            raise DatasetError(f"{where}: LeRobotDataset {version}, expected {VERSION}. Convert it with LeRobot")
        try:
            features = {
                str(key): {**feature, "dtype": str(feature["dtype"]), "shape": [int(n) for n in feature["shape"]]}
                for key, feature in info["features"].items()
            }
            fps = float(info["fps"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"{where}: no description of a dataset: {error!r}") from None
        if fps < 1 or fps != round(fps):
            raise DatasetError(f"{where}: fps: {fps:g} is no whole number of rows a second")
        return cls(round(fps), features)


def place(number: int) -> dict[str, int]:
    """Folder and file of an episode's files."""
    return {"chunk_index": number // FILES_PER_FOLDER, "file_index": number % FILES_PER_FOLDER}


def data_file(root: Path, number: int) -> Path:
    """The rows of an episode that VIPA wrote."""
    return root / DATA_PATH.format(**place(number))


def episode_file(root: Path, number: int) -> Path:
    """The entry of an episode that VIPA wrote; the episode counts once it is there."""
    return root / EPISODES_PATH.format(**place(number))


def video_file(root: Path, key: str, number: int) -> Path:
    """The video of an episode that VIPA wrote."""
    return root / VIDEO_PATH.format(video_key=key, **place(number))


def _vector(dtype: str, names: tuple[str, ...]) -> Feature:
    return {"dtype": dtype, "shape": [len(names)], "names": list(names)}


def _scalar(dtype: str) -> Feature:
    return {"dtype": dtype, "shape": [1], "names": None}


def _video(size: tuple[int, int], fps: int) -> Feature:
    height, width = size
    information = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": information}


def _arrow_type(feature: Feature) -> DataType:
    scalar = pa.string() if feature["dtype"] == "string" else getattr(pa, feature["dtype"])()
    (length,) = feature["shape"]
    return scalar if length == 1 else pa.list_(scalar, length)
