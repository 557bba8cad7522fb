"""MANO's licensed files, which everybody has to get for themselves.

``MANO_RIGHT.pkl`` and ``MANO_LEFT.pkl`` are pickles of Python 2 that name chumpy and scipy; neither is needed here.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.unpickling import Kept, load_pickle

Array = NDArray[np.float64]
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
JOINTS = len(PARENTS)
SHAPES = 10  # coefficients; files hold up to 20
POSES = 3 * (JOINTS - 1)
_CURE = "Register at https://mano.is.tue.mpg.de, accept the licence, and put MANO_RIGHT and MANO_LEFT (.pkl) there"


@dataclass(frozen=True, eq=False)
class ManoModel:
    """The hand of one side; V vertices, 778 in the licensed files.

    Attributes:
        side: of the body.
        template: (V, 3) m.
        shapes: (V, 3, 10) m, how the template moves with each shape coefficient.
        pose_corrections: (V, 3, 135) m, with each element of the 15 rotation matrices less the identity.
        regressor: (16, V), joints from the vertices of the shaped template.
        weights: (V, 16), of the joints for each vertex.
        components: (45, 45), principal components of the pose, one in each row.
        mean: (45,) rad, mean pose.
    """

    side: Side
    template: Array
    shapes: Array
    pose_corrections: Array
    regressor: Array
    weights: Array
    components: Array
    mean: Array


def load_model(folder: Path, side: Side) -> ManoModel:
    """Read ``MANO_RIGHT`` or ``MANO_LEFT``, as ``.pkl`` or ``.npz``.

    Raises:
        Hand3DError: there is no such file, or it is no model of MANO.
    """
    name = f"MANO_{side.upper()}"
    path = next((folder / f"{name}{kind}" for kind in (".pkl", ".npz") if (folder / f"{name}{kind}").is_file()), None)
    if path is None:
        raise Hand3DError(f"{folder}: no {name}.pkl. {_CURE}")
    try:
        stored = _npz(path) if path.suffix == ".npz" else load_pickle(path)
        return _model({str(key): value for key, value in stored.items()}, side)
    except (Rejection, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise Hand3DError(f"{path}: no model of MANO: {error}. {_CURE}") from None


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None


def _model(stored: dict[str, Any], side: Side) -> ManoModel:
    parents = np.asarray(stored["kintree_table"])[0].astype(np.int64)
    if tuple(parents[1:]) != PARENTS[1:]:
        raise ValueError(f"another tree of joints: {parents.tolist()}")
    template = _dense(stored["v_template"])
    count = len(template)
    model = ManoModel(
        side,
        template,
        _dense(stored["shapedirs"])[..., :SHAPES],
        _dense(stored["posedirs"]),
        _dense(stored["J_regressor"]),
        _dense(stored["weights"]),
        _dense(stored["hands_components"]),
        _dense(stored["hands_mean"]),
    )
    expected = {
        "template": (count, 3),
        "shapes": (count, 3, SHAPES),
        "pose_corrections": (count, 3, 9 * (JOINTS - 1)),
        "regressor": (JOINTS, count),
        "weights": (count, JOINTS),
        "components": (POSES, POSES),
        "mean": (POSES,),
    }
    for name, shape in expected.items():
        values: Array = getattr(model, name)
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(f"{name} of shape {values.shape}, expected {shape}, all finite")
    return model


def _dense(stored: object) -> Array:
    """An array of what was stored: itself, chumpy's array or selection, or scipy's matrix by columns or rows."""
    if not isinstance(stored, Kept):
        return np.asarray(stored, np.float64)
    state = stored.state
    if "x" in state:
        return _dense(state["x"])
    if "idxs" in state:
        return _dense(state["a"]).ravel()[np.asarray(state["idxs"])].reshape(state["preferred_shape"])
    by_columns = stored.name.startswith("csc")
    shape = state.get("_shape", state.get("shape"))
    if shape is None or not stored.name.startswith(("csc", "csr")):
        raise ValueError(f"a {stored.name or 'nameless'} that is not understood")
    out = np.zeros(shape)
    starts = np.asarray(state["indptr"])
    outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    inner = np.asarray(state["indices"])
    out[(inner, outer) if by_columns else (outer, inner)] = state["data"]
    return out
