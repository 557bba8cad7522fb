"""A hand in MANO's format with invented numbers: the real one may not be passed on."""

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.mano.model_file import PARENTS

VERTICES = 778
_KNUCKLES = {
    1: (0.088, 0.0, 0.025),
    4: (0.092, 0.0, 0.0),
    7: (0.068, 0.0, -0.04),
    10: (0.082, 0.0, -0.02),
    13: (0.025, -0.01, 0.035),
}
_PHALANGES = {
    1: (0.033, 0.023, 0.022),
    4: (0.031, 0.025, 0.024),
    7: (0.019, 0.016, 0.019),
    10: (0.027, 0.025, 0.024),
    13: (0.034, 0.03, 0.028),
}
_TIP_VERTICES = {13: (744, 745), 1: (320, 317), 4: (443, 444, 445), 10: (554, 556), 7: (671, 673)}


def invented_hand(side: Side, seed: int = 0) -> dict[str, Any]:
    """The content of a file: plain arrays, and the regressor as scipy's matrix."""
    chance = np.random.default_rng(seed)
    joints = np.zeros((16, 3))
    tips: dict[int, Any] = {}
    for first, place in _KNUCKLES.items():
        along = np.array([0.7, -0.2, 0.6]) if first == 13 else np.array([1.0, 0.0, 0.0])
        along = along / np.linalg.norm(along)
        joints[first] = place
        for number in (1, 2):
            joints[first + number] = joints[first + number - 1] + along * _PHALANGES[first][number - 1]
        tips[first] = joints[first + 2] + along * _PHALANGES[first][2]
    mirror = np.array([1.0 if side == "right" else -1.0, 1.0, 1.0])
    owner = chance.integers(0, 16, VERTICES)
    owner[:128] = np.repeat(np.arange(16), 8)
    template = joints[owner] + chance.normal(0.0, 0.006, (VERTICES, 3))
    for first, vertices in _TIP_VERTICES.items():
        for number, vertex in enumerate(vertices):
            template[vertex], owner[vertex] = tips[first] + 0.001 * number, first + 2
    weights = np.full((VERTICES, 16), 0.0)
    weights[np.arange(VERTICES), owner] = 0.9
    weights[np.arange(VERTICES), np.maximum(np.array(PARENTS)[owner], 0)] += 0.1
    regressor = np.zeros((16, VERTICES))
    for joint in range(16):
        mine = np.arange(8 * joint, 8 * joint + 8)
        template[mine] += joints[joint] - template[mine].mean(0)
        regressor[joint, mine] = 1 / 8
    template *= mirror
    shapes = np.zeros((VERTICES, 3, 10))
    shapes[..., 0] = template * 0.05
    for number in range(1, 10):
        shapes[..., number] = chance.normal(0.0, 1.0, (16, 3))[owner] * 0.001
    tree = np.stack([np.array([2**32 - 1, *PARENTS[1:]]), np.arange(16)])
    return {
        "v_template": template,
        "shapedirs": shapes,
        "posedirs": chance.normal(0.0, 1e-4, (VERTICES, 3, 135)),
        "J_regressor": sparse.csc_matrix(regressor),
        "weights": weights,
        "kintree_table": tree,
        "hands_components": np.linalg.qr(chance.normal(size=(45, 45)))[0],
        "hands_mean": chance.normal(0.0, 0.1, 45),
        "f": chance.integers(0, VERTICES, (1538, 3)).astype(np.uint32),
        "bs_style": "lbs",
    }


def write_models(folder: Path) -> Path:
    """Both sides as pickles such as the licensed ones: protocol 2, shapes as chumpy's selection."""
    for number, side in enumerate(("right", "left")):
        content = invented_hand("right" if side == "right" else "left", number)
        with _chumpy() as (array, selection):
            wide = np.concatenate([content["shapedirs"], np.ones((VERTICES, 3, 10))], axis=2)
            order = np.arange(wide.size).reshape(wide.shape)[..., :10].ravel()
            content["shapedirs"] = selection(a=array(x=wide), idxs=order, preferred_shape=(VERTICES, 3, 10))
            content["posedirs"] = array(x=content["posedirs"])
            (folder / f"MANO_{side.upper()}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return folder


@contextmanager
def _chumpy() -> Iterator[tuple[Any, Any]]:
    """Stand-ins for chumpy's classes, importable only while files are written."""

    def keep(self: Any, **state: Any) -> None:
        self.__dict__.update(state)

    names = {"chumpy": (), "chumpy.ch": ("Ch",), "chumpy.reordering": ("Select",)}
    for module, classes in names.items():
        sys.modules[module] = types.ModuleType(module)
        for name in classes:
            kind = type(name, (), {"__init__": keep, "__module__": module})
            setattr(sys.modules[module], name, kind)
    try:
        yield vars(sys.modules["chumpy.ch"])["Ch"], vars(sys.modules["chumpy.reordering"])["Select"]
    finally:
        for module in names:
            del sys.modules[module]
