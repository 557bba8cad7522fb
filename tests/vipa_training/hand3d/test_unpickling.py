"""Pickles give data and run nothing."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.unpickling import load_array, load_pickle


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.float16])
def test_tensors_become_arrays(tmp_path: Path, dtype: torch.dtype) -> None:
    path, tensor = tmp_path / "a.pkl", torch.arange(12).reshape(3, 4).to(dtype)
    content = {"part": tensor[:, 1:3], "turned": tensor.T, "row": tensor[1], "same": np.arange(3)}
    path.write_bytes(pickle.dumps(content))
    found = load_pickle(path)
    assert found["part"].dtype == tensor.numpy().dtype
    np.testing.assert_array_equal(found["part"], tensor[:, 1:3].numpy())
    np.testing.assert_array_equal(found["turned"], tensor.T.numpy())
    np.testing.assert_array_equal(found["row"], tensor[1].numpy())
    np.testing.assert_array_equal(found["same"], np.arange(3))


def test_learned_tensors_and_parameters(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([torch.ones(3, requires_grad=True), torch.nn.Parameter(torch.zeros(2))]))
    learned, parameter = load_pickle(path)
    assert learned.tolist() == [1, 1, 1]
    assert parameter.tolist() == [0, 0]


class Command:
    """What an attacker would write."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Run a command."""
        return os.system, ("touch happened",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_with_a_command_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"hand": Command()}, protocol=protocol))
    with pytest.raises(Rejection, match="system is refused"):
        load_pickle(path)
    np.save(tmp_path / "a.npy", np.array({"hand": Command()}, dtype=object), allow_pickle=True)
    with pytest.raises(Rejection, match="system is refused"):
        load_array(tmp_path / "a.npy")
    assert not (tmp_path / "happened").exists()


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    tensor = torch.arange(4.0)
    rebuild, arguments = tensor.__reduce_ex__(2)[:2]

    class Wide:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return rebuild, (*arguments[:2], (1000,), (1,), *arguments[4:])

    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(Wide()))
    with pytest.raises(Rejection, match="beyond its storage"):
        load_pickle(path)


def test_arrays_with_and_without_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.eye(3, dtype=np.float32))
    np.save(tmp_path / "dict.npy", np.array({"right": {"rot": np.ones((2, 3))}}, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(load_array(tmp_path / "plain.npy"), np.eye(3))
    np.testing.assert_array_equal(load_array(tmp_path / "dict.npy")["right"]["rot"], np.ones((2, 3)))


@pytest.mark.parametrize("content", [b"", b"\x80", b"garbage", b"\x93NUMPY\x01\x00\x10\x00{'descr': 3}   \n"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    for load in (load_pickle, load_array):
        with pytest.raises(Rejection, match=r"no (pickle|array) of data"):
            load(path)
        with pytest.raises(Rejection, match="no such file"):
            load(tmp_path / "none")
