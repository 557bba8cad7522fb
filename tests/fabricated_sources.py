"""Tiny data sets of all nine sources, each in its published format, with a scene planted in it."""

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import openpyxl
import torch
import yaml
from fabricated_clip import camera_poses, hand_path
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector, quaternion_from_matrix, rotation_vector_from_matrix
from vipa_training.data.video import VideoWriter
from vipa_training.hand3d.clip import ManoParameters
from vipa_training.hand3d.geometry import intrinsics_of, inverse, pose_of, transformed
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.sources.egodex import joint_names
from vipa_training.hand3d.sources.fpha import EXTRINSICS, ORDER

Array = NDArray[np.float64]
COUNT = 60


@dataclass(frozen=True, eq=False)
class Scene:
    """What is planted; frames, units and signs are those of ``Clip``."""

    extrinsics: Array
    joints: Mapping[Side, Array]  # world
    mano: Mapping[Side, ManoParameters]  # world; conventions are the source's
    item: Array  # (T, 4, 4) object to world

    @property
    def seen(self) -> dict[Side, Array]:
        """Joints in the camera's frame."""
        return {side: transformed(self.extrinsics, joints) for side, joints in self.joints.items()}


def scene(count: int = COUNT) -> Scene:
    """Both hands and an object that moves."""
    time = np.arange(count) / 10.0
    turns = matrix_from_rotation_vector(np.stack([0.3 * np.sin(time), 0.2 * time, 0.1 * np.cos(time)], axis=1))
    places = np.stack([0.1 + 0.02 * time, 0.1 - 0.01 * time, 0.05 + 0.02 * np.sin(time)], axis=1)
    joints = {side: hand_path(count, side) for side in SIDES}
    return Scene(
        camera_poses(count), joints, {side: _mano(side, joints[side]) for side in SIDES}, pose_of(turns, places)
    )


def _mano(side: Side, joints: Array) -> ManoParameters:
    chance, count = np.random.default_rng(3 if side == "left" else 4), len(joints)
    pose = chance.normal(0.0, 0.02, (count, 45)).cumsum(0)
    shape = np.tile(chance.normal(0.0, 0.5, 10), (count, 1))
    orientation = chance.normal(0.0, 1.0, 3) + chance.normal(0.0, 0.03, (count, 3)).cumsum(0)
    return ManoParameters(orientation, pose, shape, joints[:, 0])


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _save(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(content), allow_pickle=True)


def _line(numbers: Array) -> str:
    return " ".join(f"{number:.12g}" for number in np.ravel(numbers)) + "\n"


def write_arctic(root: Path, planted: Scene) -> str:
    """Hands by side, world, m; objects in mm; world to camera."""
    hands = {
        side: {
            "rot": mano.orientation,
            "pose": mano.pose,
            "trans": mano.translation,
            "shape": mano.shape[0],
            "fitting_err": np.full(COUNT, 0.004),
        }
        for side, mano in planted.mano.items()
    }
    head = {
        "R_k_cam_np": planted.extrinsics[:, :3, :3],
        "T_k_cam_np": planted.extrinsics[:, :3, 3:],
        "intrinsics": intrinsics_of(2200.0, 2210.0, 1400.0, 1000.0),
        "dist8": np.zeros(8),
    }
    moves = np.concatenate(
        [np.zeros((COUNT, 1)), rotation_vector_from_matrix(planted.item[:, :3, :3]), planted.item[:, :3, 3] * 1000.0], 1
    )
    folder = root / "raw_seqs" / "s01"
    _save(folder / "box_grab_01.mano.npy", np.array(hands, dtype=object))
    _save(folder / "box_grab_01.egocam.dist.npy", np.array(head, dtype=object))
    _save(folder / "box_grab_01.object.npy", moves.astype(object))
    misc = {"s01": {"ioi_offset": 6, "image_size": [[2800, 2000]] * 9, "world2cam": [], "intris_mat": []}}
    _write(root / "meta" / "misc.json", json.dumps(misc))
    return "s01/box_grab_01"


def write_hoi4d(root: Path, planted: Scene) -> str:
    """The right hand and the object in the camera's frame; the trajectory leads from the camera."""
    name = "ZY20210800001/H1/C2/N19/S100/s02/T2"
    _write(root / "HOI4D_release" / name / "align_rgb" / "image.mp4", b"")
    annotations = root / "HOI4D_annotations" / name
    lines = [
        f"{n} {n} {n + 1}\n" + "".join(_line(row) for row in pose) for n, pose in enumerate(inverse(planted.extrinsics))
    ]
    _write(annotations / "3Dseg" / "output.log", "".join(lines))
    _save(root / "camera_params" / "ZY20210800001" / "intrin.npy", intrinsics_of(1060.0, 1061.0, 960.0, 540.0))
    mano, item = planted.mano["right"], planted.extrinsics @ planted.item
    for number in range(COUNT):
        if number == 5:
            continue  # hands out of sight have no file
        content = {
            "poseCoeff": np.concatenate([mano.orientation[number], mano.pose[number]]),
            "beta": mano.shape[number],
            "trans": mano.translation[number],
            "kps2D": np.zeros((21, 2)),
        }
        _write(
            root / "handpose" / "refinehandpose_right" / name / f"{number}.pickle", pickle.dumps(content, protocol=2)
        )
        place = dict(zip("xyz", item[number, :3, 3].tolist(), strict=True))
        turn = dict(zip("xyz", _intrinsic_angles(item[number, :3, :3]), strict=True))
        entry = {
            "label": "mug",
            "center": place,
            "rotation": turn,
            "dimensions": {"length": 1, "width": 1, "height": 1},
        }
        _write(annotations / "objpose" / f"{number}.json", json.dumps({"dataList": [entry]}))
    table = "Category ID,Category,T1,T2\nC2,Mug,Pick and place,Put it in the drawer\n"
    _write(root / "definitions" / "task" / "task_definitions.csv", table)
    return name


def _intrinsic_angles(matrix: Array) -> list[float]:
    """x, y, z with R = Rx Ry Rz, written out by hand."""
    y = np.arcsin(matrix[0, 2])
    return [float(np.arctan2(-matrix[1, 2], matrix[2, 2])), float(y), float(np.arctan2(-matrix[0, 1], matrix[0, 0]))]


def write_fpha(root: Path, planted: Scene) -> str:
    """The right hand in mm, in the frame of the depth camera, in the data set's own order."""
    world = transformed(inverse(EXTRINSICS), planted.seen["right"]) * 1000.0
    rows = np.zeros((COUNT, 64))
    rows[:, 0] = np.arange(COUNT)
    rows[:, 1:].reshape(COUNT, 21, 3)[:, ORDER] = world
    item = inverse(EXTRINSICS) @ planted.extrinsics @ planted.item
    item[:, :3, 3] *= 1000.0
    moves = [np.append(number, pose.T) for number, pose in enumerate(item)]
    name = "Subject_1/put_salt/1"
    _write(root / "Hand_pose_annotation_v1_1" / name / "skeleton.txt", "".join(_line(row) for row in rows))
    _write(root / "Object_6D_pose_annotation_v1" / name / "object_pose.txt", "".join(_line(row) for row in moves))
    return name


def write_h2o(root: Path, planted: Scene) -> str:
    """One file a frame: hands and objects in the camera's frame, the camera's pose in the world."""
    folder = root / "subject1" / "h1" / "0" / "cam4"
    seen, item = planted.seen, planted.extrinsics @ planted.item
    for number in range(COUNT):
        name = f"{number:06d}.txt"
        hands = np.concatenate([np.append(float(number != 5), seen[side][number]) for side in SIDES])
        _write(folder / "hand_pose" / name, _line(hands))
        _write(folder / "cam_pose" / name, _line(inverse(planted.extrinsics[number])))
        _write(folder / "obj_pose_RT" / name, _line(np.append(5.0, item[number])))
        _write(folder / "action_label" / name, f"{5 if number < 30 else 23}\n")
    _write(folder / "cam_intrinsics.txt", "636.66 636.25 635.28 366.87 1280 720\n")
    return "subject1/h1/0"


def write_oakink2(root: Path, planted: Scene) -> str:
    """Tensors of quaternions w, x, y, z at 120 frames a second, of which every fourth has a picture."""
    name, numbers = "scene_01__A001++seq__2023-04-27-19-17-39", [4 * number for number in range(COUNT)]
    hands: dict[int, dict[str, torch.Tensor]] = {}
    for row, number in enumerate(numbers):
        hands[number] = {}
        for side, prefix in (("right", "rh"), ("left", "lh")):
            mano = planted.mano["right" if side == "right" else "left"]
            turns = np.concatenate([mano.orientation[row], mano.pose[row]]).reshape(16, 3)
            quaternions = quaternion_from_matrix(matrix_from_rotation_vector(turns))[:, [3, 0, 1, 2]]
            hands[number][f"{prefix}__pose_coeffs"] = torch.tensor(quaternions[None], dtype=torch.float32)
            hands[number][f"{prefix}__tsl"] = torch.tensor(mano.translation[row][None], dtype=torch.float32)
            hands[number][f"{prefix}__betas"] = torch.tensor(mano.shape[row][None], dtype=torch.float32)
    intrinsics = intrinsics_of(610.0, 611.0, 424.0, 240.0)
    content = {
        "cam_def": {"104422070969": "egocentric", "104122063678": "allocentric_top"},
        "cam_selection": ["egocentric", "allocentric_top"],
        "frame_id_list": numbers,
        "cam_intr": {"egocentric": dict.fromkeys(numbers, intrinsics)},
        "cam_extr": {"egocentric": dict(zip(numbers, planted.extrinsics, strict=True))},
        "mocap_frame_id_list": list(range(4 * COUNT)),
        "obj_list": ["O02@0015@00001"],
        "obj_transf": {"O02@0015@00001": dict(zip(numbers, planted.item, strict=True))},
        "raw_smplx": {},
        "raw_mano": hands,
    }
    _write(root / "anno_preview" / f"{name}.pkl", pickle.dumps(content))
    _write(root / "object_raw" / "obj_desc.json", json.dumps({"O02@0015@00001": {"obj_id": "O02", "obj_name": "cup"}}))
    segments = {
        "(None, (120, 200))": {"seg_desc": "Put it down."},
        "((0, 100), (3, 110))": {"seg_desc": "Take the cup."},
    }
    _write(root / "program" / "desc_info" / f"{name}.json", json.dumps(segments))
    return name


def write_taco(root: Path, planted: Scene) -> str:
    """Tensors by frame, wrist at the translation; world to camera."""
    name = "(stir, spoon, bowl)/20231105_019"
    for side, mano in planted.mano.items():
        frames = {
            f"{number + 1:05d}": {
                "hand_pose": torch.tensor(np.append(mano.orientation[number], mano.pose[number]), dtype=torch.float32),
                "hand_trans": torch.tensor(mano.translation[number], dtype=torch.float32),
            }
            for number in range(COUNT)
        }
        shape = {"hand_shape": torch.tensor(mano.shape[0], dtype=torch.float32)}
        _write(root / "Hand_Poses" / name / f"{side}_hand.pkl", pickle.dumps(frames))
        _write(root / "Hand_Poses" / name / f"{side}_hand_shape.pkl", pickle.dumps(shape))
    camera = root / "Egocentric_Camera_Parameters" / name
    _save(camera / "egocentric_frame_extrinsic.npy", planted.extrinsics)
    _write(
        camera / "egocentric_intrinsic.txt", "".join(_line(row) for row in intrinsics_of(920.0, 921.0, 960.0, 540.0))
    )
    _save(root / "Object_Poses" / name / "tool_012.npy", planted.item)
    _save(root / "Object_Poses" / name / "target_031.npy", planted.item)
    return name


def write_dexycb(root: Path, planted: Scene) -> str:
    """A fixed camera: joints and objects in its frame, float32, -1 and 0 where there are none; camera to master."""
    sequence, serial = "20200709-subject-01/20200709_141754", "836212060125"
    folder, calibration = root / sequence / serial, root / "calibration"
    seen, item = planted.seen["right"][:, None], planted.extrinsics @ planted.item
    for number in range(COUNT):
        poses = np.zeros((2, 3, 4), np.float32)
        poses[1] = item[number, :3]
        joints = np.full((1, 21, 3), -1.0, np.float32) if number == 5 else seen[number].astype(np.float32)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / f"labels_{number:06d}.npz",
            seg=np.zeros((4, 4), np.uint8),
            pose_y=poses,
            pose_m=np.zeros((1, 51), np.float32),
            joint_3d=joints,
            joint_2d=np.zeros((1, 21, 2), np.float32),
        )
    about = {
        "serials": [serial],
        "num_frames": COUNT,
        "extrinsics": "20200702_151821",
        "ycb_ids": [2, 14],
        "ycb_grasp_ind": 1,
        "mano_sides": ["right"],
        "mano_calib": ["20200514-subject-01"],
    }
    _write(root / sequence / "meta.yml", yaml.safe_dump(about))
    colour = {"fx": 614.6, "fy": 614.7, "ppx": 313.0, "ppy": 239.0}
    _write(calibration / "intrinsics" / f"{serial}_640x480.yml", yaml.safe_dump({"color": colour, "depth": colour}))
    places = {serial: inverse(planted.extrinsics[0])[:3].ravel().tolist(), "apriltag": [0.0] * 12}
    content = {"master": serial, "extrinsics": places}
    _write(calibration / "extrinsics_20200702_151821" / "extrinsics.yml", yaml.safe_dump(content))
    return f"{sequence}/{serial}"


def write_egodex(root: Path, planted: Scene) -> str:
    """Transforms of joints and camera to the world, float32; the task can be undone, the second text is this one's."""
    path = root / "part1" / "add_remove_lid" / "0.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["transforms/camera"] = inverse(planted.extrinsics).astype(np.float32)
        file["camera/intrinsic"] = intrinsics_of(736.6339, 736.6339, 960.0, 540.0).astype(np.float32)
        for side, joints in planted.joints.items():
            for number, name in enumerate(joint_names(side)):
                turns = np.broadcast_to(np.eye(3), (COUNT, 3, 3))
                file[f"transforms/{name}"] = pose_of(turns, joints[:, number]).astype(np.float32)
        sure = np.ones(COUNT, np.float32)
        sure[5] = 0.0
        file["confidences/rightHand"] = sure
        file.attrs["llm_type"] = "reversible"
        file.attrs["llm_description"] = "Put the lid on the pot."
        file.attrs["llm_description2"] = "Take the lid off the pot."
        file.attrs["which_llm_description"] = "2"
    return "part1/add_remove_lid/0"


def write_taste_rob(root: Path, planted: Scene) -> str:
    """A video, its caption, and what HaWoR found, left hand first."""
    path = root / "DoubleHand" / "Kitchen" / "17.mp4"
    path.parent.mkdir(parents=True)
    video = VideoWriter(path, (48, 64), 30)
    for number in range(COUNT):
        video.add(np.full((48, 64, 3), 4 * number, np.uint8))
    video.close()
    both = [planted.mano[side] for side in SIDES]
    valid = np.ones((2, COUNT), np.bool_)
    valid[1, 5] = False
    (root / "hands" / "DoubleHand").mkdir(parents=True)
    np.savez(
        root / "hands" / "DoubleHand" / "17.npz",
        pred_trans=np.stack([mano.translation for mano in both]),
        pred_rot=np.stack([mano.orientation for mano in both]),
        pred_hand_pose=np.stack([mano.pose for mano in both]),
        pred_betas=np.stack([mano.shape for mano in both]),
        pred_valid=valid,
        R_w2c=planted.extrinsics[:, :3, :3],
        t_w2c=planted.extrinsics[:, :3, 3],
        img_focal=60.0,
    )
    book = openpyxl.Workbook()
    for sheet, row in (("Single-Hand", (17, "Bedroom", "Wave.")), ("Double-Hand", (17, "Kitchen", "Fold the cloth."))):
        page = book.create_sheet(sheet)
        page.append(("id", "scene", "caption"))
        page.append(row)
    book.save(root / "captions.xlsx")
    return "DoubleHand/Kitchen/17"


WRITERS: dict[str, Callable[[Path, Scene], str]] = {
    "arctic": write_arctic,
    "hoi4d": write_hoi4d,
    "fpha": write_fpha,
    "h2o": write_h2o,
    "oakink2": write_oakink2,
    "taco": write_taco,
    "dexycb": write_dexycb,
    "egodex": write_egodex,
    "taste_rob": write_taste_rob,
}
