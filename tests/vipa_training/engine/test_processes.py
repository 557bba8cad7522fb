"""Two processes with FSDP2 learn what one does, and either goes on where the other was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fabricated_datasets import write_dataset
from safetensors.torch import load_file
from torch import Tensor

from tests.vipa_training.engine.training_process import REPOSITORY, train
from vipa_training.engine.metrics import read_metrics

STEPS = 20
pytestmark = pytest.mark.long


def train_on_two(dataset: Path, out: Path, *pairs: str) -> None:
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*launch, "tests.vipa_training.engine.training_process", str(dataset), str(out), *pairs]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, timeout=600, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """But for biases of keys, which move no attention: their gradients are rounding, which Adam makes large."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        part = slice(len(tensor) // 2, None) if name.endswith("key_value.bias") else ...
        assert float((found[name][part] - tensor[part]).abs().max()) < 1e-4, name


@pytest.mark.timeout(900)  # seconds on an idle machine
def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    options = (f"optimisation.steps={STEPS}", "engine.accumulation=2", "engine.ema=0.9", "engine.save_every=13")
    train(dataset, tmp_path / "one", *options)
    train_on_two(dataset, tmp_path / "two", *options)
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    for name in ("loss", "gradient_norm_backbone", "gradient_norm_action_head"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-4, abs=1e-4)
    assert len(one) == STEPS
    expected = load_file(tmp_path / "one" / "model.safetensors")
    assert_close(load_file(tmp_path / "two" / "model.safetensors"), expected)

    for path in (tmp_path / "two" / "state" / "step-00000020", tmp_path / "two" / "model.safetensors"):
        path.rename(tmp_path / path.name)
    trained = train(dataset, tmp_path / "two", *options)  # one process goes on where two were
    assert trained.first_step == 13
    assert_close(load_file(tmp_path / "two" / "model.safetensors"), expected)
