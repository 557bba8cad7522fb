"""Checkpoints: what is saved comes back, and whatever does not fit is named before anything is loaded."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_parts,
    read_config,
    save_checkpoint,
    save_part,
    statistics_hash,
    weights_hash,
)
from vipa_inference.config import PRESETS
from vipa_inference.model.vipa_vla import VipaVla

STATISTICS = {"action": {"mean": [0.1, 1e-17], "deviation": [1.0, 2.5]}, "proprioception": {"mean": [0.0]}}


@pytest.fixture(scope="module")
def model() -> VipaVla:
    torch.manual_seed(0)
    return VipaVla(TINY)


@pytest.fixture
def folder(model: VipaVla, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "tiny", model, TINY, STATISTICS)
    return tmp_path / "tiny"


def test_everything_comes_back(model: VipaVla, folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.config == TINY
    assert loaded.statistics == STATISTICS
    assert loaded.statistics_hash == statistics_hash(STATISTICS)
    assert loaded.weights_hash == weights_hash(folder)
    assert not loaded.model.training
    _same(loaded.model, model)
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors", "statistics.json"]


def test_loaded_model_computes_the_same(model: VipaVla, folder: Path) -> None:
    """Buffers that are not stored, such as rotary frequencies, must be there as well."""
    prompt = torch.tensor([[1, 2, 3]])
    images = torch.zeros(1, 0, 4, 32)
    with torch.no_grad():
        wanted = model.prefill(prompt, torch.ones_like(prompt), images)
        found = load_checkpoint(folder).model.prefill(prompt, torch.ones_like(prompt), images)
    assert torch.equal(found, wanted)


def test_tied_weights_are_stored_once_and_tied_again(folder: Path) -> None:
    keys = set(load_file(folder / "model.safetensors"))
    assert "internvl.model.language_model.embed_tokens.weight" in keys
    assert "internvl.lm_head.weight" not in keys
    internvl = load_checkpoint(folder).model.internvl
    assert internvl.lm_head.weight is internvl.get_input_embeddings().weight


@pytest.mark.parametrize("change", [{"spatial": None}, {"views": ("front",)}, {"frames": 4}])
def test_ablations_come_back(change: dict[str, Any], tmp_path: Path) -> None:
    config = replace(TINY, **change)
    model = VipaVla(config)
    save_checkpoint(tmp_path, model, config)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == config
    assert loaded.statistics is loaded.statistics_hash is None
    _same(loaded.model, model)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_come_back_from_json(name: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, torch.nn.Linear(1, 1), PRESETS[name])
    assert read_config(tmp_path) == PRESETS[name]


def test_motion_tokens_come_back(tmp_path: Path) -> None:
    model = VipaVla(TINY)
    model.add_motion_tokens()
    save_checkpoint(tmp_path, model, TINY)
    loaded = load_checkpoint(tmp_path).model
    assert loaded.internvl.get_input_embeddings().num_embeddings == 320
    assert loaded.internvl.lm_head.weight is loaded.internvl.get_input_embeddings().weight
    _same(loaded, model)


def test_precision_is_kept(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, VipaVla(TINY).to(torch.bfloat16), TINY)
    assert {parameter.dtype for parameter in load_checkpoint(tmp_path).model.parameters()} == {torch.bfloat16}


def test_hashes_change_with_what_they_are_of(model: VipaVla, folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "same", model, TINY)
    assert weights_hash(tmp_path / "same") == weights_hash(folder)
    with torch.no_grad():
        model.action_queries[0, 0, 0] += 1
        save_checkpoint(tmp_path / "other", model, TINY)
        model.action_queries[0, 0, 0] -= 1
    assert weights_hash(tmp_path / "other") != weights_hash(folder)
    assert statistics_hash(dict(reversed(STATISTICS.items()))) == statistics_hash(STATISTICS)
    assert statistics_hash({"mean": [0.1]}) != statistics_hash({"mean": [0.1 + 1e-16]})


def test_statistics_that_are_no_numbers_are_refused(model: VipaVla, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="statistics"):
        save_checkpoint(tmp_path, model, TINY, {"mean": [float("nan")]})


def _truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5])


def _foreign(folder: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, folder / "model.safetensors")


def _missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _list_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _newer(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content.update(format=2))


def _unknown_key(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"]["language"].update(colour="red"))


def _unknown_spatial_key(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"]["spatial"].update(depth=3))


def _wrong_type(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"].update(frames="two"))


def _out_of_range(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"]["spatial"].update(head="cubic"))


def _changed_statistics(folder: Path) -> None:
    _edit(folder / "statistics.json", lambda content: content["statistics"]["action"].update(mean=[0.2, 0.0]))


def _other_size(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"]["action"].update(horizon=7))


def _fewer_layers(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"]["language"].update(layers=1))


def _more_layers(folder: Path) -> None:
    _edit(folder / "config.json", lambda content: content["model"]["language"].update(layers=3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "truncated or no safetensors file"),
        (_header, "truncated or no safetensors file"),
        (_foreign, "truncated or no safetensors file"),
        (_missing, "model.safetensors: cannot be read: No such file"),
        (_no_config, "config.json: cannot be read: No such file"),
        (_broken_config, "config.json: no valid JSON"),
        (_list_config, "expected a JSON object"),
        (_newer, "format 2 is not 1"),
        (_unknown_key, "unknown option colour"),
        (_unknown_spatial_key, "unknown option depth"),
        (_wrong_type, "frames: expected int, found 'two'"),
        (_out_of_range, "spatial.head: 'cubic' is none of"),
        (_changed_statistics, "the statistics have the hash"),
        (_other_size, r"wrong shape: 1 \(action_head.position \(1, 7, 16\) instead of \(1, 8, 16\)\)"),
        (_fewer_layers, r"unused: 11 \(internvl.model.language_model.layers.1.\w+.*, …\)"),
        (_more_layers, r"missing: 11 \(internvl.model.language_model.layers.2.\w+.*, …\)"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_and_unused_keys_take_one_line_each(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for i in range(6):
        tensors[f"surplus.{i}"] = torch.zeros(1)
    del tensors["action_queries"]
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert [line.removeprefix(f"{file}: ") for line in str(caught.value).splitlines()] == [
        "missing: 1 (action_queries)",
        "unused: 6 (surplus.0, surplus.1, surplus.2, surplus.3, …)",
    ]


def test_parts_fill_their_part_only(model: VipaVla, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other, target = VipaVla(TINY), VipaVla(TINY)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = other.state_dict()
    del state["internvl.lm_head.weight"]
    files: list[Path] = []
    for part in ("internvl", "spatial_encoder"):
        files.append(tmp_path / f"{part}.safetensors")
        save_part(files[-1], {key: value for key, value in state.items() if key.startswith(part)})
    load_parts(target, files)
    for key, value in target.state_dict().items():
        source = other.state_dict()[key] if key.startswith(("internvl", "spatial_encoder")) else before[key]
        assert torch.equal(value, source), key

    save_part(files[0], {key: value for key, value in state.items() if "embed_tokens" in key})
    with pytest.raises(CheckpointError, match=r"missing: \d+ \(internvl"):
        load_parts(target, files[:1])


def test_a_folder_that_cannot_be_written_is_named(model: VipaVla, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "tiny", model, TINY)


def _edit(file: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _same(first: VipaVla, second: VipaVla) -> None:
    found, wanted = first.state_dict(), second.state_dict()
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(found[key], value), key
